"""The small project on the stand-in for GitHub: never released, and with its first release behind it.

A release of all of it takes most of a minute, so it is run once; what comes after starts from a copy.
"""

from __future__ import annotations

import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.real.servers import free_port
from tests.real.tools import enable_arm64

from . import events
from .act import Event, Run, run
from .github import GitHub, github
from .project import WORKFLOW, Demo, make
from .sigstore import Authorities, authorities

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class World:
    """A stand-in for GitHub, the developer's clone of the project, and the runs so far."""

    folder: Path
    hub: GitHub
    demo: Demo
    runs: list[Run] = field(default_factory=list)

    def run(self, event: Event, **more: Any) -> Run:
        """Run the workflow for an event."""
        number = 1000 + len(self.runs)
        done = run(self.hub, event, self.folder / f"run-{number}", file=WORKFLOW, number=number, **more)
        self.runs.append(done)
        return done

    def push(self, message: str = "a change") -> Event:
        """Commit what was changed, and push it to main."""
        before = self.demo.git("rev-parse", "HEAD")
        commit = self.demo.commit(message)
        self.demo.push()
        return events.pushed(commit, before)

    def shipgraph(self, *arguments: str, code: int = 0) -> str:
        """The program on a machine without an account."""
        return self.demo.run(*arguments, environment={"DOCKER_CONFIG": str(self.folder / "nobody")}, code=code)


@dataclass(frozen=True)
class First:
    """What the first release left."""

    folder: Path
    commit: str
    run: Run
    ceremonies: int


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[GitHub]:
    """An empty GitHub."""
    with github(tmp_path / "hub") as found:
        yield found


@pytest.fixture(scope="session")
def sigstore() -> Iterator[Authorities]:
    """Sigstore's authorities."""
    with authorities() as found:
        yield found


@pytest.fixture(scope="session")
def port() -> int:
    """The registry's port in all worlds of this process; one at a time uses it."""
    enable_arm64()  # every world has images for it, and tests that run them
    return free_port()


@pytest.fixture(scope="session")
def first(tmp_path_factory: pytest.TempPathFactory, port: int, sigstore: Authorities) -> First:
    """The project is pushed for the first time, and nothing was in its namespace."""
    folder = tmp_path_factory.mktemp("first")
    with github(folder / "hub", port) as hub:
        demo = make(hub, folder / "demo", sigstore.trust)
        demo.run("workflow")
        world = World(folder, hub, demo)
        event = world.push("the workflow")
        before = sigstore.ceremonies
        done = world.run(event)
        return First(folder, event.commit, done, sigstore.ceremonies - before)


@contextmanager
def copied(first: First, folder: Path, port: int) -> Iterator[World]:
    """A world with the first release behind it."""
    shutil.copytree(first.folder / "hub", folder / "hub")
    shutil.copytree(first.folder / "demo", folder / "demo", ignore=shutil.ignore_patterns(".shipgraph"))
    with github(folder / "hub", port) as hub:
        demo = Demo(folder / "demo" / "clone")
        demo.push_to(hub)
        yield World(folder, hub, demo)
    _unmount(folder)


@pytest.fixture
def world(first: First, tmp_path: Path, port: int) -> Iterator[World]:
    """The project after its first release."""
    first.run.check()
    with copied(first, tmp_path, port) as made:
        yield made


@pytest.fixture(scope="session", autouse=True)
def nothing_stays_mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """buildah leaves its storage mounted where a job was killed; pytest could not delete the folder."""
    yield
    _unmount(tmp_path_factory.getbasetemp())


def _unmount(folder: Path) -> None:
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in reversed(mounts):
        if Path(mount).is_relative_to(folder):
            subprocess.run(["umount", "--lazy", mount], check=False)
