"""The kill table: a clean-up dies at request 1, 2, 3 … to the last, and is run again; the end is always the same.

``python -m tests.e2e.retention.kill_table [--every N] [--plain]`` prints it. From the fatal request on the registry
answers nothing more to the process that died, be it that the request was carried out or not.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import anyio
import pytest
from tests.e2e.retention.world import World, world

from shipgraph.embedded.fault import Fault
from shipgraph.engine.pruning import Wish
from shipgraph.remote.store import RemoteStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.e2e.retention.world import Things

T = TypeVar("T")

LONG_AFTER = 100_000.0
"""Seconds; more than any lease."""
CUT = Fault(cut_request_after=0)


@dataclass(frozen=True)
class Row:
    """One row: which request was the last, whether it was carried out, what was lost right then, and the end."""

    number: int
    when: str
    request: str
    lost: list[str]
    end: Things

    def __str__(self) -> str:
        short = self.request.replace("/api/v3/orgs/acme/packages/container/", "…/")[:70]
        return f"{self.number:>4} {self.when:<6} {short:<70} {'whole' if not self.lost else f'LOST {self.lost}'}"


async def die(w: World, number: int, when: str, run: Callable[[], object]) -> str:
    """Run a command in this process until its n-th request, and no further; that request, or empty if it ended."""
    w.hand.requests.clear()
    dead = False

    def rule(method: str, path: str) -> Fault | None:
        nonlocal dead
        if len(w.hand.requests) < number:
            return None
        first, dead = not dead, True
        return Fault(cut_response_after=0) if first and when == "after" else CUT

    w.hand.rules.append(rule)
    async with anyio.create_task_group() as group:

        async def watch() -> None:
            while not dead:  # noqa: ASYNC110 (the server's thread says so)
                await anyio.sleep(0.001)
            group.cancel_scope.cancel()

        group.start_soon(watch)
        await run()  # type: ignore[misc]
        group.cancel_scope.cancel()
    w.hand.rules.remove(rule)
    return w.hand.requests[number - 1] if dead else ""


async def rows(folder: Path, history: Path, *, ghcr: bool, first: int = 1, every: int = 1) -> AsyncIterator[Row]:
    """The table's rows, one after the other."""
    with pytest.MonkeyPatch.context() as patch:
        late = 0.0
        now = RemoteStore.now

        async def later(self: RemoteStore) -> float:
            return await now(self) + late

        async def yes(self: RemoteStore) -> bool:
            return True  # there is no rival, so nobody has to wait for one

        patch.setattr(RemoteStore, "now", later)
        patch.setattr(RemoteStore, "conditional", yes)
        root = folder / "registry"

        async def each(act: Callable[[World], Awaitable[T]]) -> T:
            """Something in a fresh copy of the history, of which everything has been read once."""
            nonlocal late
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(history, root)
            async with world(folder, patch, ghcr=ghcr, root=root) as w:
                late = 0.0
                await _prepare(w, ghcr=ghcr)
                late = 0.0 if ghcr else 7200.0  # past the grace period
                return await act(w)

        async def row(number: int, when: str, w: World) -> Row:
            nonlocal late
            request = await die(w, number, when, partial(_prune, w))
            late += LONG_AFTER
            lost = await w.walk()
            await _prune(w)
            return Row(number, when, request or "(ended)", lost + await w.walk(), await w.things())

        for number in range(first, await each(_count) + 1, every):
            for when in ("before", "after"):
                yield await each(partial(row, number, when))


async def _prepare(w: World, *, ghcr: bool) -> None:
    """Everything is read once, and on a registry that tells no time, seen."""
    async with w.cleaning() as cleaning:
        await cleaning.pruner.prune(Wish(dry_run=ghcr))


async def _count(w: World) -> int:
    """How many requests a clean-up takes that nothing happens to."""
    w.hand.requests.clear()
    await _prune(w)
    return len(w.hand.requests)


async def _prune(w: World) -> None:
    async with w.cleaning() as cleaning:
        await cleaning.pruner.prune(Wish(apply=True))


async def undisturbed(folder: Path, history: Path, *, ghcr: bool) -> Things:
    """What is there after a clean-up that nothing happened to."""
    with pytest.MonkeyPatch.context() as patch:
        root = Path(shutil.copytree(history, folder / "undisturbed"))
        late = 0.0
        now = RemoteStore.now

        async def later(self: RemoteStore) -> float:
            return await now(self) + late

        patch.setattr(RemoteStore, "now", later)
        async with world(folder / "work", patch, ghcr=ghcr, root=root) as w:
            await _prepare(w, ghcr=ghcr)
            late = 0.0 if ghcr else 7200.0
            await _prune(w)
            return await w.things()


def main() -> int:
    from tests.e2e.retention.conftest import make_history

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--plain", action="store_true")
    wish = parser.parse_args()
    bad = count = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        history = make_history(folder / "history", ghcr=not wish.plain)

        async def run() -> None:
            nonlocal bad, count
            wanted = await undisturbed(folder / "once", history, ghcr=not wish.plain)
            table = rows(folder / "rows", history, ghcr=not wish.plain, first=wish.first, every=wish.every)
            async for row in table:
                same = row.end == wanted
                count += 1
                bad += bool(row.lost) or not same
                print(row, "same end" if same else "ANOTHER END", flush=True)  # noqa: T201

        anyio.run(run)
    print(f"{count} rows, {bad} bad")  # noqa: T201
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
