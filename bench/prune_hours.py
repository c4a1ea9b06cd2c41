"""How long GitHub's limits let a large clean-up take: the real code, the rehearsal's Packages API, and a calendar.

    python -m bench.prune_hours [--versions 3000] [--limit 1000] [--stops N]

Nobody waits: each request to the API takes a fifth of a second on a clock of its own, and what the client sleeps is
added to it. With ``--stops`` the clean-up is stopped N times at random between two deletions, and run again.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import pytest
from tests.e2e.retention.world import ACCOUNTS, WORKFLOW, Hand, World, make_project

from shipgraph.embedded.ghcr.habits import DAY, Habits
from shipgraph.embedded.ghcr.state import Ghcr
from shipgraph.embedded.serving import serve
from shipgraph.engine.batches import Claims
from shipgraph.engine.finalizing import Transacting
from shipgraph.engine.opening import open_target, open_view, owner
from shipgraph.engine.pruning import Pruner, Wish
from shipgraph.errors import RegistryUnavailable, Stopped
from shipgraph.events import silent
from shipgraph.github.api import GitHubApi
from shipgraph.promote.stage import Wishes
from shipgraph.remote.retry import RetryPolicy
from shipgraph.remote.store import RemoteStore
from shipgraph.retain.contents import Contents
from shipgraph.retain.memory import ContentMemory
from shipgraph.retain.packages_api import PackagesShelf
from shipgraph.retain.policy import policy_of
from shipgraph.store.disk import DiskStore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from shipgraph.embedded.fault import Fault
ROUND_TRIP: Final = 0.2
PACKAGES: Final = ("acme/demo-app", "acme/demo-base", "acme/demo-tool")
RETENTION: Final = '\n[retention]\nkeep = { default = 2 }\ngrace = "1h"\n'


class Calendar:
    """The clock of GitHub and of its client."""

    def __init__(self) -> None:
        self.seconds = time.time() - 60 * DAY

    def __call__(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class Counting(Hand):
    """Lets the calendar go on with each request to the API."""

    def __init__(self, calendar: Calendar) -> None:
        super().__init__()
        self.calendar, self.calls, self.deletes_sent = calendar, 0, 0

    def __call__(self, method: str, path: str, headers: Mapping[str, str]) -> Fault | None:  # noqa: ARG002
        if path.startswith("/api/v3"):
            self.calls += 1
            self.deletes_sent += method == "DELETE"
            self.calendar.seconds += ROUND_TRIP
        return None


async def fill(w: World, count: int) -> None:
    """A history of two releases, and that many versions which nothing needs."""
    for number in (1, 2):
        await w.release(number)
    for place in PACKAGES:
        await w.fill(place, count // len(PACKAGES))


async def prune(w: World, calendar: Calendar, memory: ContentMemory, stop: Callable[[], bool]) -> int:
    """One clean-up, as the command does it; how many versions are left."""
    view = await open_view(w.folder, None, None)
    transacting = Transacting(Wishes(), stop=stop)
    async with open_target(view.registry, view.project) as (store, timing, _):
        policy = policy_of(view)
        contents = Contents(store, memory, policy.types)
        retries = RetryPolicy(sleep=calendar.sleep)
        base = f"http://{w.host}/api/v3"
        async with GitHubApi(WORKFLOW, base=base, retries=retries, clock=calendar) as api:
            me = owner()
            claims = Claims(view, store, timing, transacting, me, emit=silent)
            pruner = Pruner(
                view, store, PackagesShelf(api, store), contents, policy, claims, transacting, by=me.run, emit=silent
            )
            return (await pruner.prune(Wish(apply=True))).left


async def measure(folder: Path, versions: int, limit: int, stops: int) -> int:
    calendar, dice = Calendar(), random.Random(1)
    hand = Counting(calendar)
    root = folder / "registry"
    root.mkdir()
    habits = Habits(clock=calendar, write_rate=0, read_rate=0, api_limit_workflow=limit, token_life=1e9)
    mode = Ghcr(root / ".shipgraph", ACCOUNTS, habits=habits)
    async with serve(DiskStore(root, durable=False), ghcr=mode, on_request=hand) as host:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in make_project(folder / "project", host, RETENTION).items():
                patch.setenv(name, value)
            patch.setattr(RemoteStore, "conditional", _yes)  # nobody else writes, so nobody has to be waited for
            view = await open_view(folder / "project", None, None)
            w = World(folder / "project", root, host, hand, mode, [0.0], view, {})
            await fill(w, versions)
            calendar.seconds = began = time.time()
            memory = ContentMemory(folder / "memory")
            print(f"{'run':>4} {'hour':>7} {'requests':>9} {'deleted':>8} {'left':>6}")
            runs = deleted = 0
            left = 1
            while left:
                runs += 1
                calls, sent, at = hand.calls, hand.deletes_sent, calendar.seconds
                cut = sent + dice.randrange(1, limit // 3) if runs <= stops else 1 << 40
                try:
                    left = await prune(w, calendar, memory, partial(_reached, hand, cut))
                    why = ""
                except Stopped:
                    why = "stopped"
                except RegistryUnavailable:
                    why = "the hour's limit"
                gone = hand.deletes_sent - sent
                deleted += gone
                hour = (at - began) / 3600
                print(f"{runs:>4} {hour:>7.2f} {hand.calls - calls:>9} {gone:>8} {left:>6} {why}")
                if left and not why:
                    calendar.seconds += 3600  # a workflow would be started again in the next hour
            lost = await w.walk()
            hours = (calendar.seconds - began) / 3600
            print(f"{deleted} versions in {hours:.1f} h; {hand.calls} requests; lost: {lost or 'nothing'}")
            return 1 if lost else 0


def _reached(hand: Counting, cut: int) -> bool:
    return hand.deletes_sent >= cut


async def _yes(self: RemoteStore) -> bool:  # noqa: ARG001 (a method)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--versions", type=int, default=3000)
    parser.add_argument("--limit", type=int, default=1000)
    parser.add_argument("--stops", type=int, default=0)
    wish = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        return anyio.run(measure, Path(name), wish.versions, wish.limit, wish.stops)


if __name__ == "__main__":
    sys.exit(main())
