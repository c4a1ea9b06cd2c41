"""Uploads in progress: files in ``.shipgraph/uploads/`` that become blobs by a rename, once they are whole and right.

A session may be continued by another request, or by another process. Its file is locked while one of them writes; the
hash over what is there is kept in memory between requests, and computed again where it isn't known.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from shipgraph.errors import DigestMismatch, NotFound, Rejected
from shipgraph.oci.distribution import ErrorCode
from shipgraph.store.disk.files import make_directory, named_causes, sync_directory, write_all
from shipgraph.store.protocols import PIECE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from shipgraph.oci.digest import Digest
    from shipgraph.store.disk.repository import Repository

STALE: Final = 24 * 3600.0
"""Seconds after its last byte when an upload counts as given up."""

_PATIENCE: Final = 5.0  # seconds to wait for another request that still writes to the same upload
_REMEMBERED: Final = 256  # hashes of open uploads kept in memory
_IDENTIFIER: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)


class Upload:
    """One locked upload. ``offset`` is the number of bytes that are there."""

    def __init__(self, repository: Repository, path: Path, descriptor: int, hasher: hashlib._Hash | None) -> None:
        self.offset = os.fstat(descriptor).st_size
        self.hasher = hasher
        self.finished = False
        self._repository = repository
        self._path = path
        self._descriptor = descriptor

    async def append(self, chunks: AsyncIterator[bytes], *, limit: int | None = None, trusted: bool = False) -> None:
        """Write what comes, of any size each; what came before an error stays, so that the upload can go on.

        Args:
            limit: the offset that may not be passed.
            trusted: they are the whole blob, and whoever gives them out has checked them, so they are not hashed here.

        Raises:
            DigestMismatch: more than ``limit`` came.
            DiskFull, RegistryError
        """
        if trusted:
            self.hasher = None
        elif self.hasher is None:
            await anyio.to_thread.run_sync(self._hash_again)
        await _feed(chunks, lambda batch: self._write(batch, limit))

    async def commit(self, digest: Digest, *, trusted: bool = False) -> None:
        """Make it a blob, durably. The upload is over whatever comes of it.

        Args:
            trusted: its content has been checked already.

        Raises:
            DigestMismatch: the content is something else; it was thrown away.
            DiskFull, RegistryError
        """
        self.finished = True
        await anyio.to_thread.run_sync(self._commit, digest, trusted)

    async def discard(self) -> None:
        """Throw it away."""
        self.finished = True
        await anyio.to_thread.run_sync(self._unlink)

    def close(self) -> None:
        """Let go of the lock."""
        os.close(self._descriptor)

    def _write(self, batch: list[bytes], limit: int | None) -> None:
        size = sum(map(len, batch))
        if limit is not None and self.offset + size > limit:
            raise DigestMismatch(f"blob for {self._repository.name}", want=f"{limit} bytes", got="more")
        with named_causes(f"write {self._path}"):
            try:
                write_all(self._descriptor, batch)
            except OSError:
                os.ftruncate(self._descriptor, self.offset)  # back to what the hash says
                os.lseek(self._descriptor, self.offset, os.SEEK_SET)
                raise
        if self.hasher is not None:
            for piece in batch:
                self.hasher.update(piece)
        self.offset += size

    def _hash_again(self, algorithm: str = "sha256") -> None:
        self.hasher = hashlib.new(algorithm)
        position = 0
        while piece := os.pread(self._descriptor, PIECE, position):
            self.hasher.update(piece)
            position += len(piece)

    def _commit(self, digest: Digest, trusted: bool) -> None:
        try:
            if not trusted:
                self._check(digest)
            self._repository.create()
            target = self._repository.blob_path(digest)
            with named_causes(f"write {target}"):
                os.utime(self._descriptor)  # new to garbage collection, however long ago the last byte came
                if self._repository.durable:
                    os.fsync(self._descriptor)
                self._path.rename(target)
                if self._repository.durable:
                    sync_directory(target.parent)
        except BaseException:
            self._unlink()
            raise

    def _check(self, digest: Digest) -> None:
        if self.hasher is None or self.hasher.name != digest.algorithm:
            self._hash_again(digest.algorithm)
        assert self.hasher is not None  # noqa: S101 (just set)
        if self.hasher.hexdigest() != digest.hex:
            raise DigestMismatch(
                f"blob for {self._repository.name}",
                want=str(digest),
                got=f"{digest.algorithm}:{self.hasher.hexdigest()}",
            )

    def _unlink(self) -> None:
        with suppress(FileNotFoundError):
            self._path.unlink()


class Uploads:
    """All uploads below ``state/uploads``: ``<repository>/<identifier>``."""

    def __init__(self, state: Path) -> None:
        self._root = state / "uploads"
        self._hashers: dict[Path, tuple[int, hashlib._Hash]] = {}

    async def begin(self, repository: Repository) -> str:
        """Start an upload; its identifier."""
        return await anyio.to_thread.run_sync(self._begin, repository)

    @asynccontextmanager
    async def open(self, repository: Repository, identifier: str) -> AsyncIterator[Upload]:
        """Go on with an upload. It is kept when the block ends, unless it was committed or discarded.

        Raises:
            NotFound: there is none (any more).
            Rejected: another request is writing to it.
        """
        path = self._root / repository.flat_name / identifier
        if not _IDENTIFIER.fullmatch(identifier):
            raise _unknown(repository, identifier)
        deadline = time.monotonic() + _PATIENCE
        while (descriptor := await anyio.to_thread.run_sync(_lock, path)) is None:
            if time.monotonic() > deadline:
                raise Rejected(
                    f"upload {identifier} is in use by another request", codes=(ErrorCode.BLOB_UPLOAD_INVALID,)
                )
            await anyio.sleep(0.02)
        if descriptor < 0:
            raise _unknown(repository, identifier)
        offset, hasher = self._hashers.pop(path, (-1, None))
        upload = Upload(repository, path, descriptor, hasher)
        if upload.offset != offset:
            upload.hasher = None if upload.offset else hashlib.sha256()
        try:
            yield upload
        finally:
            if not upload.finished and upload.hasher is not None:
                while len(self._hashers) >= _REMEMBERED:
                    self._hashers.pop(next(iter(self._hashers)), None)
                self._hashers[path] = upload.offset, upload.hasher
            upload.close()

    def clean(self, *, older_than: float = STALE) -> int:
        """Remove uploads that nobody has written to for so many seconds; how many they were."""
        return remove_older(self._root, older_than)

    def _begin(self, repository: Repository) -> str:
        identifier = secrets.token_hex(16)
        directory = self._root / repository.flat_name
        with named_causes(f"begin an upload in {directory}"):
            make_directory(directory, durable=False)
            (directory / identifier).touch(exist_ok=False)
        return identifier


def remove_older(directory: Path, older_than: float) -> int:
    """Remove the files below a directory that nobody has written to for so many seconds; how many they were."""
    removed = 0
    horizon = time.time() - older_than
    for path in directory.glob("**/*"):
        with suppress(OSError):
            if path.is_file() and path.stat().st_mtime <= horizon:
                path.unlink()
                removed += 1
    return removed


def _unknown(repository: Repository, identifier: str) -> NotFound:
    return NotFound(
        f"upload {identifier[:64]!r} in {repository.name} is not there", codes=(ErrorCode.BLOB_UPLOAD_UNKNOWN,)
    )


def _lock(path: Path) -> int | None:
    """Open and lock an upload, at its end; None if it is in use, -1 if it is gone."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return -1
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever had it before may have made it a blob in the meantime: then this descriptor must not write.
        if os.stat(path).st_ino != os.fstat(descriptor).st_ino:  # noqa: PTH116 (a number is as good as a path)
            raise FileNotFoundError
        os.lseek(descriptor, 0, os.SEEK_END)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except FileNotFoundError:
        os.close(descriptor)
        return -1
    return descriptor


async def _feed(chunks: AsyncIterator[bytes], consume: Callable[[list[bytes]], None]) -> None:
    """Gather chunks into pieces and consume these in a thread while the next one is coming in."""
    send, receive = anyio.create_memory_object_stream[list[bytes]](1)
    failures: list[Exception] = []

    async def drain() -> None:
        async with receive:
            async for batch in receive:
                try:
                    await anyio.to_thread.run_sync(consume, batch)
                except Exception as error:  # raised below, without a group around it
                    failures.append(error)
                    return

    async with anyio.create_task_group() as group:
        group.start_soon(drain)
        batch: list[bytes] = []
        size = 0
        async with send:
            try:
                async for chunk in chunks:
                    batch.append(chunk)
                    size += len(chunk)
                    if size >= PIECE:
                        await send.send(batch)
                        batch, size = [], 0
            except anyio.BrokenResourceError:
                pass  # drain has failed
            except Exception as error:  # what came before it is kept
                failures.append(error)
            with suppress(anyio.BrokenResourceError):
                if batch:
                    await send.send(batch)
    if failures:
        raise failures[0]
