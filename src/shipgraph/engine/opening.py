"""From a command's arguments to values: the project, git, the release, and the registry it goes to."""

from __future__ import annotations

import os
import secrets
import tempfile
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from shipgraph.channel.journal import Owner
from shipgraph.engine.workspace import Workspace
from shipgraph.errors import ConfigurationError
from shipgraph.github.event import read_event
from shipgraph.project.git import read_git, relation
from shipgraph.project.loader import load_project
from shipgraph.project.release import Release, parse_registry, plan_release
from shipgraph.project.trigger import Trigger
from shipgraph.promote.order import Standing
from shipgraph.promote.timing import Timing, default_timing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shipgraph.engine.pretending import Pretence
    from shipgraph.oci.platform import Platform
    from shipgraph.project.spec import Project
    from shipgraph.remote.store import RemoteStore

WRITES = 16
"""Tags written at the same time on a registry that is not GHCR: those of nine repositories go in two rounds."""

READS = 64
"""Reads at the same time: a large graph's tags are looked at twice while the journal is open."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user asked for on the command line, as it was written."""

    folder: Path
    registry: str | None = None
    channel: str | None = None
    version: str | None = None
    event: Path | None = None
    platforms: tuple[Platform, ...] = ()
    root: Path | None = None


async def open_release(asked: Asked, *, rehearsal: bool = False, view: bool = False) -> Release:
    """The release that was asked for, from the project's file, git, and the trigger.

    Raises:
        ConfigurationError, DirtyWorkTree, GitError
    """
    project = load_project(asked.folder)
    if asked.event is not None and (asked.channel or asked.version):
        raise ConfigurationError("--event says the channel and version; give it alone")
    trigger = read_event(asked.event, os.environ) if asked.event else Trigger.local(asked.channel, asked.version)
    host, namespace = parse_registry(asked.registry) if asked.registry else (None, None)
    git = await read_git(project.folder)
    return plan_release(
        project,
        git,
        trigger,
        registry=host,
        namespace=namespace,
        platforms=asked.platforms or None,
        rehearsal=rehearsal or asked.root is not None,
        view=view,
    )


async def open_view(folder: Path, registry: str | None, root: Path | None) -> Release:
    """A project's names for commands that look at channels or act on what is published, whatever is checked out.

    Raises:
        ConfigurationError, GitError
    """
    project = load_project(folder)
    host, namespace = parse_registry(registry) if registry else (None, None)
    git = await read_git(project.folder)
    channel = next((name for name, spec in project.channels.items() if not spec.takes_versions), None)
    version = None if channel else f"{next(iter(project.channels.values())).tag_prefixes[0]}0.0.0"
    trigger = Trigger.local(channel, version)
    return plan_release(
        project, git, trigger, registry=host, namespace=namespace, rehearsal=root is not None, view=True
    )


def target_root(release: Release, root: Path | None) -> Path | None:
    """The folder of the registry that is served for a command: a pull request's own, which leaves the machine alone."""
    return root if root is not None or release.publishes else Workspace.of(release.project.folder).registry


class MissingRoot(Enum):
    """What happens where the folder of a registry doesn't exist: an error, an empty one is made, or one is feigned."""

    REFUSED = auto()
    MADE = auto()
    EMPTY = auto()


@asynccontextmanager
async def open_target(
    host: str,
    project: Project,
    root: Path | None = None,
    *,
    missing: MissingRoot = MissingRoot.REFUSED,
    pretence: Pretence | None = None,
) -> AsyncIterator[tuple[RemoteStore, Timing, int]]:
    """The registry a release goes to, its timing, and how many tags may be written at the same time.

    With ``root`` it is the registry of that folder, served on loopback while the block runs. With ``pretence``, or
    where it did so before, it behaves as GHCR does.

    Raises:
        ConfigurationError: there is no such folder, or the transaction's timing can't be.
        RegistryUnavailable
    """
    # Imported here: commands that never talk to a registry start faster.
    from shipgraph.remote.manners import GHCR_SERVICE, GHCR_WRITES
    from shipgraph.remote.store import RemoteStore

    wanted = project.transaction
    async with AsyncExitStack() as stack:
        if root is not None:
            host = await stack.enter_async_context(_served(root, missing, pretence))
        store = RemoteStore(host, lag=wanted.lag, concurrency=READS, writes=wanted.concurrency)
        await stack.enter_async_context(store)
        manners = await store.manners()
        jobs = wanted.concurrency or (GHCR_WRITES if manners.is_ghcr else WRITES)
        timing = default_timing(
            GHCR_SERVICE if manners.is_ghcr else host, conditional=manners.conditional, lag=manners.told_lag
        )
        overrides = {
            name: value for name in ("lag", "gap", "settle", "margin") if (value := getattr(wanted, name)) is not None
        }
        try:
            timing = Timing(**{**_fields(timing), **overrides})
        except ValueError as error:
            raise ConfigurationError(str(error), key="transaction.settle") from error
        yield store, timing, jobs


@asynccontextmanager
async def _served(root: Path, missing: MissingRoot, pretence: Pretence | None) -> AsyncIterator[str]:
    from shipgraph.embedded.serving import serve
    from shipgraph.engine.pretending import pretend
    from shipgraph.remote.credentials import lent
    from shipgraph.store.disk import DiskStore

    with ExitStack() as stack:
        if missing is not MissingRoot.MADE and not await anyio.Path(root).is_dir():
            if missing is MissingRoot.REFUSED:
                raise ConfigurationError(
                    f"there is no registry in {root}", hint="`shipgraph rehearse` makes one, by default in .shipgraph"
                )
            root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="shipgraph-")))
        pretended = await pretend(root, pretence)
        ghcr, credentials = pretended or (None, None)
        async with serve(DiskStore(root), ghcr=ghcr) as address:
            with lent(address, credentials):
                yield address


def _fields(timing: Timing) -> dict[str, float]:
    return {name: getattr(timing, name) for name in Timing.__slots__}


def owner() -> Owner:
    """Who this process is in the journal: the run that it belongs to, and a nonce that is its own."""
    run = os.environ.get("GITHUB_RUN_ID")
    attempt = os.environ.get("GITHUB_RUN_ATTEMPT", "1")
    nonce = secrets.token_hex(16)
    return Owner(run=run or f"local-{nonce[:8]}", attempt=int(attempt) if attempt.isdecimal() else 1, nonce=nonce)


class GitAncestry:
    """Answers how two commits stand to each other, from the clone that is checked out."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def __call__(self, commit: str, other: str) -> Standing:
        """See ``Ancestry``."""
        found = await relation(self._folder, commit, other)
        return {
            "equal": Standing.EQUAL,
            "descendant": Standing.AHEAD,
            "ancestor": Standing.BEHIND,
            "diverged": Standing.DIVERGED,
        }.get(found.value, Standing.UNKNOWN)
