"""One repository on disk: where its files are, and how its index changes.

Several processes may change it at once. Rules:

1. ``index.json`` is only ever replaced whole, by the holder of the repository's lock (``.shipgraph/locks/``).
2. A manifest is listed after its blob has reached the disk, never before.
3. Whoever decides by what the index says (compare-and-swap, "all that it refers to is there") decides under the lock.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from shipgraph.errors import InvalidReference
from shipgraph.oci.reference import check_repository
from shipgraph.store.disk.files import make_directory, named_causes, write_whole
from shipgraph.store.disk.layout import OCI_LAYOUT, LayoutIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from shipgraph.oci.digest import Digest

Edit: TypeAlias = "Callable[[LayoutIndex], LayoutIndex]"

STATE: Final = ".shipgraph"
"""The folder of server state below the root; no repository can have this name."""

RENEWED: Final = 60.0
"""Seconds; a blob's time is not written more often than that."""

_RESERVED: Final = frozenset({"blobs", "index.json", "oci-layout"})
_EMPTY: Final = LayoutIndex()


def check_name(name: str) -> str:
    """The repository name itself, if it can be a folder of its own.

    Raises:
        InvalidReference: the specification refuses it, or it would lie inside another repository's layout.
    """
    check_repository(name)
    inside = _RESERVED.intersection(name.split("/")[1:])
    if inside:
        raise InvalidReference(
            f"{name!r} would lie inside another repository's image layout",
            allowed=f"no part named {', '.join(sorted(_RESERVED))} after the first",
        )
    return name


@dataclass(eq=False, slots=True)
class _Request:
    edit: Edit
    done: bool = False
    error: Exception | None = None


class Repository:
    """Files and index of one repository. All methods block; safe to use from several threads.

    Args:
        durable: whether what was written must outlive a power cut. (It outlives a killed process either way.)
        path: where the layout is, if not at ``root/name``.
    """

    def __init__(self, root: Path, name: str, *, durable: bool, path: Path | None = None) -> None:
        self.name = check_name(name)
        self.path = root / name if path is None else path
        self.durable = durable
        self.aside = root / STATE / "tmp"
        self.flat_name = name.replace("/", "+")  # one path component, and as unique as the name: it has no plus sign
        self._index_path = self.path / "index.json"
        self._lock_path = root / STATE / "locks" / self.flat_name
        self._cached: tuple[tuple[int, int, int], LayoutIndex] | None = None
        self._waiting: list[_Request] = []
        self._gate = threading.Lock()
        self._turn = threading.Lock()

    def blob_path(self, digest: Digest) -> Path:
        """Where a blob is, or would be."""
        return self.path / "blobs" / digest.algorithm / digest.hex

    def blob_size(self, digest: Digest) -> int | None:
        """Length of a blob that is there."""
        try:
            return self.blob_path(digest).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def asked_for(self, digest: Digest) -> int | None:
        """Like ``blob_size``, for those who will rely on it: garbage collection spares the blob for a while."""
        path = self.blob_path(digest)
        try:
            status = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        if time.time() - status.st_mtime > RENEWED:
            try:
                os.utime(path)
            except FileNotFoundError:
                return None
            except OSError:
                pass  # a folder that can only be read has no collection either
        return status.st_size

    def exists(self) -> bool:
        """Whether anything was ever stored here."""
        return (self.path / "oci-layout").exists()

    def index(self) -> LayoutIndex:
        """The index as it is now; parsed again only if the file has changed.

        Raises:
            MalformedDocument: another program broke it.
        """
        known = self.index_if_known()
        if known is not None:
            return known
        try:
            descriptor = os.open(self._index_path, os.O_RDONLY)
        except (FileNotFoundError, NotADirectoryError):
            return _EMPTY
        with os.fdopen(descriptor, "rb") as file:
            identity = _identity(os.fstat(file.fileno()))
            index = LayoutIndex.parse(file.read(), where=str(self._index_path))
        self._cached = identity, index
        return index

    def index_if_known(self) -> LayoutIndex | None:
        """The index as it is now, if that has been parsed already: quick enough for an event loop."""
        cached = self._cached
        if cached is not None:
            with suppress(OSError):
                if _identity(self._index_path.stat()) == cached[0]:
                    return cached[1]
        return None

    def create(self) -> None:
        """Make sure that the layout is there, so that blobs can be moved into it."""
        if self._index_path.exists() and (self.path / "blobs" / "sha256").is_dir():
            return
        with named_causes(f"create the repository {self.path}"):
            for directory in (self.aside, self.path / "blobs" / "sha256", self.path / "blobs" / "sha512"):
                make_directory(directory, durable=self.durable)
            with self.locked():
                if not self.exists():
                    write_whole(self.path / "oci-layout", OCI_LAYOUT, aside=self.aside, durable=self.durable)
                if not self._index_path.exists():
                    self._write(_EMPTY)

    def change(self, edit: Edit) -> None:
        """Replace the index by what ``edit`` makes of it, under the lock.

        Changes that wait for the lock at the same time are written together, so that they share the disk's flushes;
        an edit that raises takes only itself out.
        """
        request = _Request(edit)
        with self._gate:
            self._waiting.append(request)
        with self._turn:
            if not request.done:
                with self._gate:
                    batch, self._waiting = self._waiting, []
                self._commit(batch)
        if request.error is not None:
            raise request.error

    def _commit(self, batch: list[_Request]) -> None:
        try:
            with named_causes(f"write {self._index_path}"), self.locked():
                index = before = self.index()
                for request in batch:
                    try:
                        index = request.edit(index)
                    except Exception as error:  # it belongs to the one who asked
                        request.error = error
                if index is not before:
                    self._write(index)
        except Exception as error:  # nobody's change was written
            for request in batch:
                request.error = request.error or error
        finally:
            for request in batch:
                request.done = True

    def _write(self, index: LayoutIndex) -> None:
        status = write_whole(self._index_path, index.encode(), aside=self.aside, durable=self.durable)
        self._cached = _identity(status), index

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the repository's lock, against other threads and other processes."""
        make_directory(self._lock_path.parent, durable=False)
        descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    """Differs for each version of a file that ``write_whole`` wrote."""
    return status.st_mtime_ns, status.st_ino, status.st_size
