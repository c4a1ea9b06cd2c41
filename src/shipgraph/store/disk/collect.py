"""Garbage collection: blobs that no listed manifest refers to, and uploads that were given up.

Any number of processes may go on reading and writing meanwhile, and it may be killed at any moment. Rules:

1. Only what has been left alone for the grace period goes. A blob's modification time is when it was stored, mounted or
   last asked for, so whoever was just told that a blob is there has that long to push the manifest that needs it.
2. What goes is decided, and removed, under the repository's lock, as is whether a manifest is complete: so no manifest
   is ever listed of which a blob is missing.
3. Listed manifests stay, tagged or not (an untagged one may be anybody's by its digest), unless ``untagged`` says
   otherwise; then a manifest goes that no tag reaches, be it through an index or as what refers to it.
4. A manifest is delisted before its bytes go. Whatever a killed collection leaves is garbage for the next.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from shipgraph.errors import ContentError, InvalidReference, MalformedDocument, NotFound
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import ImageIndex, ImageManifest
from shipgraph.store.disk.files import named_causes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from shipgraph.store.disk.layout import LayoutIndex
    from shipgraph.store.disk.repository import Repository

DAY: Final = 24 * 3600.0
BATCH: Final = 200
"""Blobs removed in one go; the repository's lock is free in between."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What was removed, or would be: manifests delisted, blobs, and their bytes (of a mounted blob: of each link)."""

    manifests: int = 0
    blobs: int = 0
    bytes: int = 0

    def __add__(self, other: Collected) -> Collected:
        return Collected(self.manifests + other.manifests, self.blobs + other.blobs, self.bytes + other.bytes)


class Collection:
    """One collection in one repository.

    Args:
        read: gives the manifest of a digest that is listed.
    """

    def __init__(
        self, repository: Repository, read: Callable[[Digest], ImageManifest | ImageIndex], *, grace: float
    ) -> None:
        self._repository, self._read = repository, read
        self._horizon = time.time() - grace
        self._needed: set[str] = set()
        self._known: dict[str, ImageManifest | ImageIndex | None] = {}

    def run(self, *, untagged: bool = False, dry_run: bool = False) -> Collected:
        """Collect.

        Raises:
            ContentError: a listed manifest can't be read, so what it needs is unknown; nothing was removed.
            Denied, RegistryError
        """
        repository = self._repository
        if not repository.exists():
            return Collected()
        index = repository.index()
        dropped = self._unreachable(index) if untagged else []
        if dropped and not dry_run:
            repository.change(self._drop)
            index = repository.index()
        gone = set(dropped)
        self._learn(digest for digest in index.manifests if digest not in gone)
        old = [path for path in self._blobs() if self._is_old(path) and self._name(path) not in self._needed]
        if dry_run:
            return Collected(len(dropped), len(old), sum(path.stat().st_size for path in old))
        total = Collected(len(dropped))
        for start in range(0, len(old), BATCH):
            with named_causes(f"collect garbage in {repository.path}"), repository.locked():
                self._learn(repository.index().manifests)  # what was listed since
                total += self._remove(old[start : start + BATCH])
        return total

    def _drop(self, index: LayoutIndex) -> LayoutIndex:
        for digest in self._unreachable(index):
            index = index.without_manifest(digest)
        return index

    def _unreachable(self, index: LayoutIndex) -> list[str]:
        """The old manifests that no tag, and nothing young, reaches."""
        young = (digest for digest in index.manifests if not self._is_old(self._path(digest)))
        reached: set[str] = set()
        new = {*index.tags.values(), *(entry.digest for entry in index.foreign), *young}
        manifests = {digest: self._manifest(digest) for digest in index.manifests}
        referring: dict[str, list[str]] = {}
        for digest, manifest in manifests.items():
            if manifest is not None and manifest.subject is not None:
                referring.setdefault(str(manifest.subject.digest), []).append(digest)
        while new:
            reached |= new
            following: set[str] = set()
            for digest in new:
                manifest = manifests.get(digest)
                if isinstance(manifest, ImageIndex):
                    following |= {str(child.digest) for child in manifest.manifests}
                following |= set(referring.get(digest, ()))
            new = following - reached
        return [digest for digest in manifests if digest not in reached]

    def _learn(self, listed: Iterable[str]) -> None:
        """What the listed manifests need."""
        for digest in listed:
            if digest in self._needed and digest in self._known:
                continue
            self._needed.add(digest)
            manifest = self._manifest(digest)
            if isinstance(manifest, ImageManifest):
                self._needed |= {str(blob.digest) for blob in manifest.blobs}
            elif manifest is not None:
                self._needed |= {str(child.digest) for child in manifest.manifests}

    def _manifest(self, digest: str) -> ImageManifest | ImageIndex | None:
        if digest not in self._known:
            try:
                self._known[digest] = self._read(Digest.parse(digest))
            except NotFound:
                self._known[digest] = None  # listed, but its bytes are lost: it needs nothing
            except ContentError as error:
                raise MalformedDocument(f"{error}; so no garbage is collected in {self._repository.name}") from error
        return self._known[digest]

    def _blobs(self) -> Iterator[Path]:
        for algorithm in ("sha256", "sha512"):
            with suppress(FileNotFoundError), os.scandir(self._repository.path / "blobs" / algorithm) as entries:
                for entry in entries:
                    path = self._repository.path / "blobs" / algorithm / entry.name
                    with suppress(InvalidReference):  # no blob: not ours to remove
                        Digest.parse(self._name(path))
                        yield path

    def _remove(self, paths: list[Path]) -> Collected:
        """Remove those that are still garbage; the lock is held."""
        blobs = size = 0
        for path in paths:
            if self._name(path) in self._needed or not self._is_old(path):
                continue
            with suppress(FileNotFoundError):
                length = path.stat().st_size
                path.unlink()
                blobs, size = blobs + 1, size + length
        return Collected(0, blobs, size)

    def _is_old(self, path: Path) -> bool:
        try:
            return path.stat().st_mtime <= self._horizon
        except FileNotFoundError:
            return True

    def _path(self, digest: str) -> Path:
        return self._repository.blob_path(Digest.parse(digest))

    @staticmethod
    def _name(path: Path) -> str:
        return f"{path.parent.name}:{path.name}"
