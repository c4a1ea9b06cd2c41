"""The kill table: finalize is killed at request 1, 2, 3 … to the last, then `resume`, which is killed and run again.

``python -m tests.e2e.transaction.kill_table [--first N] [--last N] [--every N] [--lag SECONDS] [--ghcr]`` prints it.
crane says what is there then. With ``--ghcr`` the registry asks for tokens, hides blobs behind redirects and lags as
GHCR does, and the project says nothing of it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.e2e.transaction.project import IMAGES, META, PAYLOAD, Control, Demo, copy, finish, make, registry
from tests.e2e.transaction.server import TOKEN
from tests.real.clients import crane

if TYPE_CHECKING:
    from collections.abc import Iterator

LONG_AFTER = 100_000.0
"""Seconds; more than any lease."""


@dataclass(frozen=True)
class View:
    """The channel as crane sees it: every moving tag's digest, and what the metadata and the journal say."""

    tags: tuple[str, ...]
    named: tuple[str, ...]
    same_metadata: bool
    state: str

    @property
    def whole(self) -> bool:
        """Whether the tags are what the metadata names, and nothing is open."""
        return self.tags == self.named and self.same_metadata and self.state in ("settled", "aborted")


def look(host: str) -> View:
    repositories = [*(f"{host}/acme/demo-{name}" for name in IMAGES), f"{host}/{PAYLOAD}"]
    tags = tuple(crane("digest", f"{repository}:dev").strip() for repository in repositories)
    metadata = document(f"{host}/{META}", "dev")
    named = {image["repository"].partition("/")[2]: image["digest"] for image in metadata["images"]}
    same = crane("digest", f"{host}/{META}:dev") == crane("digest", f"{host}/{META}:channels")
    digests = (*(named[f"acme/demo-{name}"] for name in IMAGES), metadata["payload"]["digest"])
    return View(tags, digests, same, document(f"{host}/{META}", "journal")["state"])


def document(repository: str, tag: str) -> dict[str, Any]:
    layer = json.loads(crane("manifest", f"{repository}:{tag}"))["layers"][0]["digest"]
    found: dict[str, Any] = json.loads(crane("blob", f"{repository}@{layer}"))
    return found


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    number: int
    when: str
    request: str
    resume_killed_at: str
    state: str
    view: View
    release: str

    def __str__(self) -> str:
        short = self.request.replace("/v2/acme/demo-", "").replace("/manifests/", ":").replace("/v2/", "/v2/")
        resumed = self.resume_killed_at.replace("/v2/acme/demo-", "").replace("/manifests/", ":")
        return (
            f"{self.number:>3} {self.when:<6} {short[:58]:<58} | {resumed[:44]:<44} | {self.state:<8} | "
            f"{self.release} {'whole' if self.view.whole else 'MIXED'}"
        )


class Table:
    """Everything for the rows: an old release that is published, a new one that is there and waits for finalize."""

    def __init__(self, folder: Path, control: Control, *, lag: float, ghcr: bool) -> None:
        self.folder, self.control, self.lag = folder, control, lag
        self.copies = itertools.count()
        self.work: Path | None = None
        timing = f"lag = {lag}\ngap = 1\nsettle = {1.05 + 2 * lag}\nmargin = 1" if lag else "margin = 1"
        self.snapshot = folder / "snapshot"
        self.demo: Demo = make(
            folder / "project", self.snapshot, control.host, "" if ghcr else timing, token=TOKEN if ghcr else ""
        )
        control.say(root=str(self.snapshot), hold=0, ghcr=ghcr)
        self.demo.commit(1)
        self.demo.run("payload")
        self.demo.run("finalize")
        self.old = look(control.host)
        self.demo.commit(2)
        self.demo.run("payload")
        self.reset(0)
        self.demo.run("finalize")
        self.requests = len(control.state()["requests"])
        control.say(lag=0.0)  # crane has no patience with a registry that still shows what was
        self.new = look(control.host)
        assert self.old.whole
        assert self.new.whole
        assert self.old.tags != self.new.tags

    def reset(self, hold: int, when: str = "before") -> None:
        """A fresh copy, always somewhere else: what the server holds open of the last one must not touch this one."""
        last, self.work = self.work, self.folder / f"work-{next(self.copies)}"
        copy(self.snapshot, self.work)
        self.control.say(root=str(self.work), hold=hold, when=when, clock=0.0, lag=self.lag)
        if last is not None:
            shutil.rmtree(last)

    def killed(self, *arguments: str) -> str:
        """Run a command until it is held, and kill it there; the request, or empty if it ended by itself."""
        victim = self.demo.start(*arguments)
        held = self.control.wait_held(victim)
        if held:
            victim.kill()
        victim.communicate()
        self.control.say(release=True, drop=True)
        return held

    def row(self, number: int, when: str) -> Row:
        self.reset(number, when)
        request = self.killed("finalize")
        again = 1 + number * 7 % 45
        self.control.say(hold=again, when="after" if when == "before" else "before", clock=LONG_AFTER)
        resumed = self.killed("resume")
        self.control.say(hold=0, clock=2 * LONG_AFTER)
        done = finish(self.demo.start("resume", "--json"))
        assert done.code == 0, done.err
        self.control.say(lag=0.0)
        view = look(self.control.host)
        release = {self.old.tags: "old", self.new.tags: "new"}.get(view.tags, "MIXED")
        return Row(number, when, request or "(ended)", resumed or "(ended)", str(done.json["state"]), view, release)


def rows(
    folder: Path, *, first: int = 1, last: int = 100_000, every: int = 1, lag: float = 0.0, ghcr: bool = False
) -> Iterator[Row]:
    """The table's rows, one after the other."""
    with registry(folder / "empty", folder / "server.log") as control:
        table = Table(folder, control, lag=lag, ghcr=ghcr)
        for number in range(first, min(last, table.requests) + 1, every):
            for when in ("before", "after"):
                yield table.row(number, when)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--last", type=int, default=100_000)
    parser.add_argument("--lag", type=float, default=0.0)
    parser.add_argument("--ghcr", action="store_true")
    wish = parser.parse_args()
    bad = count = 0
    with tempfile.TemporaryDirectory() as folder:
        for row in rows(Path(folder), first=wish.first, last=wish.last, every=wish.every, lag=wish.lag, ghcr=wish.ghcr):
            print(row, flush=True)  # noqa: T201
            count += 1
            bad += not row.view.whole or row.release == "MIXED"
    print(f"{count} rows, {bad} mixed")  # noqa: T201
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
