"""What building needs on this machine, opened only when something is built: a builder, and the job's registry."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from shipgraph.build.secrets import default_secrets

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from shipgraph.build.builder import Builder
    from shipgraph.engine.workspace import Workspace
    from shipgraph.events import Emit
    from shipgraph.project.spec import BuildSpec
    from shipgraph.store.disk import DiskStore

LOCK = "lock"


@dataclass(frozen=True, slots=True)
class JobRegistry:
    """The job's own registry: as a store, and as the loopback address that builders push to."""

    store: DiskStore
    address: str


class Workshop:
    """Opens its parts at their first use and closes them with the block that ``open_workshop`` makes."""

    def __init__(
        self, workspace: Workspace, build: BuildSpec, target_host: str, stack: AsyncExitStack, emit: Emit
    ) -> None:
        self.workspace = workspace
        self.target_host = target_host
        self.jobs = anyio.CapacityLimiter(build.jobs or os.cpu_count() or 1)
        self.secrets: Mapping[str, Path] = default_secrets()
        self._choice = build.builder
        self._stack, self._emit = stack, emit
        self._lock = anyio.Lock()
        self._builder: Builder | None = None
        self._registry: JobRegistry | None = None

    async def builder(self) -> Builder:
        """The builder that the project wants, or the best that works here.

        Raises:
            ToolMissing: there is none.
        """
        async with self._lock:
            if self._builder is None:
                from shipgraph.build.select import select_builder

                self._builder = await select_builder(self._choice, self.workspace.builder, emit=self._emit)
            return self._builder

    async def registry(self) -> JobRegistry:
        """The job's registry, served on loopback; it goes when the job ends."""
        async with self._lock:
            if self._registry is None:
                from shipgraph.embedded.serving import serve
                from shipgraph.store.disk import DiskStore

                folder = await self._stack.enter_async_context(_job_folder(self.workspace.jobs))
                store = DiskStore(folder, durable=False)
                address = await self._stack.enter_async_context(serve(store))
                self._registry = JobRegistry(store, address)
            return self._registry


@asynccontextmanager
async def open_workshop(
    workspace: Workspace, build: BuildSpec, *, target_host: str, emit: Emit
) -> AsyncIterator[Workshop]:
    """A workshop whose parts are closed at the end.

    Args:
        build: the builder, and how many builds may run at a time (None: the number of cores).
        target_host: the registry that the release goes to, as this machine reaches it; a cache may be there.
    """
    workspace.prepare()
    await anyio.to_thread.run_sync(_remove_leftovers, workspace.jobs)
    async with AsyncExitStack() as stack:
        yield Workshop(workspace, build, target_host, stack, emit)


@asynccontextmanager
async def _job_folder(folder: Path) -> AsyncIterator[Path]:
    """A folder that is locked while the job runs; a later run removes those of killed ones."""
    await anyio.Path(folder).mkdir(parents=True, exist_ok=True)
    mine, handle = _make_locked(folder)
    try:
        root = mine / "registry"
        root.mkdir()
        yield root
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(lambda: shutil.rmtree(mine, ignore_errors=True))
        os.close(handle)


def _make_locked(folder: Path) -> tuple[Path, int]:
    """A new folder and the handle that locks it; it gets the name by which a clean-up knows it once it is locked."""
    fresh = Path(tempfile.mkdtemp(prefix="new-", dir=folder))
    handle = os.open(fresh / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(handle, fcntl.LOCK_EX)
    return fresh.rename(folder / fresh.name.replace("new-", "job-", 1)), handle


def _remove_leftovers(folder: Path) -> None:
    for job in folder.glob("job-*"):
        with suppress(OSError):
            handle = os.open(job / LOCK, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(job, ignore_errors=True)
            finally:
                os.close(handle)
