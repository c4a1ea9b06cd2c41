"""A storage root of shipgraph's own for buildah: its driver, its locks, and how it is kept clean and bounded.

::

    STATE/buildah/
        storage/ run/       buildah's graph root and run root: never the user's
        tmp/                TMPDIR of every build, so that a killed one leaves nothing elsewhere
        driver              the storage driver that works here, found once
        lock                shared by every build, and inherited by its process; exclusive while cleaning up

A build that was killed leaves working containers, unnamed images and temporary files. Nobody can tell them from those
of a build that runs, so they are removed only under the exclusive lock.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import anyio.to_thread
import msgspec

from shipgraph import process
from shipgraph.errors import ProcessFailed, ToolMissing
from shipgraph.events import Note

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from shipgraph.events import Emit

DEFAULT_LIMIT: Final = 30 << 30
"""Bytes of layers, unpacked, over which the whole storage starts afresh."""

_STORAGE_CONF: Final = '[storage]\ndriver = "{driver}"\n'
_PROBE_SECONDS: Final = 60.0


class BuildahStorage:
    """One storage root. ``limit`` bounds the layers that builds leave behind."""

    def __init__(self, state: Path, *, buildah: str, limit: int = DEFAULT_LIMIT) -> None:
        self._home = state / "buildah"
        self._buildah = buildah
        self._limit = limit
        self._driver = ""

    @property
    def driver(self) -> str:
        """``overlay``, or ``vfs`` where the kernel has no overlay for this place; empty before ``prepare``."""
        return self._driver

    @property
    def temporary(self) -> Path:
        """Where builds keep what they need while they run."""
        return self._home / "tmp"

    @property
    def ages(self) -> Path:
        """Where it is noted for which age epoch layers were made."""
        return self._home / "ages"

    def command(self, *arguments: str) -> list[str]:
        """A buildah command line on this storage."""
        storage = ["--root", str(self._home / "storage"), "--runroot", str(self._home / "run")]
        return [self._buildah, *storage, "--storage-driver", self._driver, *arguments]

    def environment(self) -> dict[str, str]:
        """The environment of every buildah command: the user's, without what would point at the user's storage."""
        foreign = {"STORAGE_DRIVER", "STORAGE_OPTS", "BUILDAH_LAYERS", "BUILDAH_FORMAT", "BUILDAH_HISTORY"}
        kept = {name: value for name, value in os.environ.items() if name not in foreign}
        return {
            **kept,
            "TMPDIR": str(self.temporary),
            "CONTAINERS_STORAGE_CONF": str(self._home / "storage.conf"),
            "BUILDAH_ISOLATION": "chroot",
        }

    @contextmanager
    def in_use(self) -> Iterator[int]:
        """Hold the shared lock. The yielded descriptor is for the build's process to inherit: the lock then lasts as
        long as the process does, even if shipgraph is killed before it."""
        with (self._home / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield lock.fileno()

    async def prepare(self, *, emit: Emit) -> None:
        """Make the folders, find the driver, and clean up if nobody else is building."""
        for name in ("storage", "run", "tmp"):
            (self._home / name).mkdir(parents=True, exist_ok=True)
        remembered = self._home / "driver"
        self._driver = remembered.read_text().strip() if remembered.exists() else ""
        if not self._driver:
            self._driver = await self._find_driver(emit)
            remembered.write_text(self._driver)
        (self._home / "storage.conf").write_text(_STORAGE_CONF.format(driver=self._driver))
        await self.clean()

    async def clean(self) -> bool:
        """Remove leftovers and unnamed images, and everything if it is too much; False if a build is going on."""
        with (self._home / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            if not (self._home / "storage" / f"{self._driver}-images").exists():
                return True  # never used: nothing to clean
            await self._quietly("rm", "--all")
            if self._size() > self._limit:
                await self._quietly("rmi", "--all", "--force")
            else:
                await self._quietly("rmi", "--prune")
            await anyio.to_thread.run_sync(_empty, self.temporary)
            return True

    def _size(self) -> int:
        """Bytes of all layers, unpacked, by the storage's own list."""
        try:
            content = (self._home / "storage" / f"{self._driver}-layers" / "layers.json").read_bytes()
            layers = msgspec.json.decode(content, type=list[dict[str, object]])
        except (OSError, msgspec.DecodeError):
            return 0
        sizes = (layer.get("diff-size", 0) for layer in layers)
        return sum(size for size in sizes if isinstance(size, int))

    async def _quietly(self, *arguments: str) -> None:
        await process.run(self.command(*arguments), env=self.environment(), check=False, timeout=300.0)

    async def _find_driver(self, emit: Emit) -> str:
        """``overlay`` if buildah can mount it here (it can't on top of another overlay, say), else ``vfs``."""
        reason = ""
        for self._driver in ("overlay", "vfs"):
            (self._home / "storage.conf").write_text(_STORAGE_CONF.format(driver=self._driver))
            try:
                await process.run(self.command("info"), env=self.environment(), timeout=_PROBE_SECONDS)
            except ProcessFailed as error:
                reason = error.tail.strip().rpartition("\n")[2] or str(error)
                await anyio.to_thread.run_sync(_empty, self._home / "storage")
                continue
            if self._driver == "vfs":
                text = f"buildah can't use overlay storage in {self._home} ({reason}); vfs is slow and takes much room"
                emit(Note(text, warning=True))
            return self._driver
        raise ToolMissing(
            f"buildah can't store images in {self._home}: {reason}",
            hint="run as root, or set up subordinate ids for this user (/etc/subuid, package uidmap)",
        )


def registries_conf(path: Path, prefixes: Mapping[str, str], *, own: Path | None) -> None:
    """Write a registries.conf that maps each prefix to a place on loopback, after the user's own settings.

    Args:
        prefixes: from a prefix of image names (an alias's host) to ``host:port[/path]``.
        own: the user's registries.conf, whose mirrors go on counting for other images; None if there is none.
    """
    text = "" if own is None else own.read_text(encoding="utf-8")
    if "[registries" in text:
        text = ""  # the format before version 2, which can't be mixed with it
    tables = [
        f'[[registry]]\nprefix = "{prefix}"\nlocation = "{location}"\ninsecure = true\n'
        for prefix, location in sorted(prefixes.items())
    ]
    path.write_text("\n".join([text.rstrip(), *tables]).lstrip(), encoding="utf-8")


def _empty(folder: Path) -> None:
    for item in folder.iterdir():
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item, ignore_errors=True)
        else:
            item.unlink(missing_ok=True)
