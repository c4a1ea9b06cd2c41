"""Two `finalize` at once, from two processes, as often as you like: always one whole winner.

``python -m tests.e2e.transaction.two_writers [--times N] [--lag SECONDS]``
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.e2e.transaction.kill_table import look
from tests.e2e.transaction.project import Demo, copy, finish, make, registry

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFLICT = 4


@dataclass(frozen=True)
class Race:
    """How one race ended: both exit codes, both serials (0: none), and whether the channel is whole."""

    codes: tuple[int, int]
    serials: tuple[int, int]
    whole: bool
    release: str

    @property
    def good(self) -> bool:
        """The newer release is there, whole; the older one came before it, or was refused."""
        older, newer = self.codes
        if not self.whole or newer != 0 or self.release != "newer":
            return False
        return (older == 0 and self.serials == (2, 3)) or (older == CONFLICT and self.serials == (0, self.serials[1]))

    def __str__(self) -> str:
        older = f"older first, as serial {self.serials[0]}" if self.codes[0] == 0 else f"older: exit {self.codes[0]}"
        return f"{older}; newer: exit {self.codes[1]}, serial {self.serials[1]}; {'whole' if self.whole else 'MIXED'}"


def races(folder: Path, times: int, *, lag: float = 0.0) -> Iterator[Race]:
    """Two releases of one channel, finalized at the same moment by two processes that wait for each other."""
    timing = f"lag = {lag}\ngap = 1\nsettle = {1.05 + 2 * lag}\nmargin = 1" if lag else "margin = 1"
    with registry(folder / "empty", folder / "log") as control:
        snapshot, work = folder / "snapshot", folder / "work"
        demo = make(folder / "older", snapshot, control.host, timing)
        control.say(root=str(snapshot), hold=0)
        for number in (1, 2, 3):
            demo.commit(number)
            demo.run("payload")
            if number == 1:
                demo.run("finalize")
        copy(demo.folder, folder / "newer")
        newer = Demo(folder / "newer", demo.root, demo.host, demo.commits)
        demo.git("checkout", "--quiet", demo.commits[2])
        for _ in range(times):
            copy(snapshot, work)
            control.say(root=str(work), hold=0, lag=lag)
            both = [one.start("finalize", "--channel", "dev", "--wait", "--json") for one in (demo, newer)]
            done = [finish(process) for process in both]
            serials = [one.json["serial"] if one.code == 0 else 0 for one in done]
            control.say(lag=0.0)
            view = look(control.host)
            index = demo_digest(newer, demo.commits[3])
            release = "newer" if view.tags[0] == index else "older"
            yield Race((done[0].code, done[1].code), (serials[0], serials[1]), view.whole, release)


def demo_digest(demo: Demo, commit: str) -> str:
    """The base image of a commit."""
    from tests.real.clients import crane

    return crane("digest", f"{demo.host}/acme/demo-base:sha-{commit}").strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--lag", type=float, default=0.0)
    wish = parser.parse_args()
    found: Counter[str] = Counter()
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        for race in races(Path(folder), wish.times, lag=wish.lag):
            found[str(race)] += 1
            bad += not race.good
    for text, count in found.most_common():
        print(f"{count:>4} × {text}")  # noqa: T201
    print(f"{found.total()} races, {bad} bad")  # noqa: T201
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
