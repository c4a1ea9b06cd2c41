"""A clean-up that dies anywhere, and is run again: nothing that had to stay is lost, and the end is the same."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest
from tests.e2e.retention.kill_table import LONG_AFTER, rows, undisturbed
from tests.e2e.retention.world import world
from tests.e2e.transaction.project import PROGRAM, environment

from shipgraph.embedded.fault import Fault
from shipgraph.engine.pruning import Wish
from shipgraph.remote.store import RemoteStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize("first", [1, 30])
async def test_dead_at_any_request_over_the_packages_api_the_next_run_ends_in_the_same_state(
    first: int, tmp_path: Path, ghcr_history: Path
) -> None:
    """Every 60th request here; the command ``kill_table`` goes through all of them."""
    wanted = await undisturbed(tmp_path / "once", ghcr_history, ghcr=True)
    table = [row async for row in rows(tmp_path / "rows", ghcr_history, ghcr=True, first=first, every=60)]
    print("\n".join(map(str, table)))  # noqa: T201
    assert len(table) >= 8
    assert [row for row in table if row.lost or row.end != wanted] == []


async def test_dead_at_any_request_to_a_plain_registry_the_next_run_ends_in_the_same_state(
    tmp_path: Path, plain_history: Path
) -> None:
    wanted = await undisturbed(tmp_path / "once", plain_history, ghcr=False)
    table = [row async for row in rows(tmp_path / "rows", plain_history, ghcr=False, first=20, every=150)]
    print("\n".join(map(str, table)))  # noqa: T201
    assert len(table) >= 8
    assert [row for row in table if row.lost or row.end != wanted] == []


async def test_killed_between_two_deletions_it_leaves_only_garbage_and_the_next_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ghcr_history: Path, copied: Callable[[Path], Path]
) -> None:
    """The command itself, and SIGKILL."""
    async with world(tmp_path, monkeypatch, ghcr=True, root=copied(ghcr_history)) as w:
        w.hand.rules.append(
            lambda method, _: Fault(delay=60) if method == "DELETE" and len(w.hand.deletes) > 20 else None
        )
        victim = subprocess.Popen(  # noqa: ASYNC220 (it is only started here)
            [*PROGRAM, "prune", "--apply"],
            cwd=w.folder,
            env={**environment(), **w.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while len(w.hand.deletes) <= 20:
            assert victim.poll() is None
            await anyio.sleep(0.02)
        victim.kill()
        await anyio.to_thread.run_sync(victim.wait)
        w.hand.rules.clear()
        assert await w.walk() == []
        now = RemoteStore.now

        async def later(self: RemoteStore) -> float:
            return await now(self) + LONG_AFTER

        monkeypatch.setattr(RemoteStore, "now", later)
        async with w.cleaning() as cleaning:
            done = await cleaning.pruner.prune(Wish(apply=True))
        assert done.left == 0
        assert await w.walk() == []
        for number in (5, 6):
            assert await w.walk_release(w.release_of(number)) == []
        async with w.cleaning() as cleaning:  # the killed one's deletions are known too
            assert await cleaning.undoer.undo() is not None
            assert await cleaning.undoer.undo() is not None
        for number in range(1, 7):
            assert await w.walk_release(w.release_of(number)) == []
