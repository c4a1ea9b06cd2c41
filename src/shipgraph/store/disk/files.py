"""Files that are there whole or not at all: written aside, flushed, renamed; and what the system's errors mean."""

from __future__ import annotations

import errno
import os
import secrets
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from shipgraph.errors import Denied, DiskFull, RegistryUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


@contextmanager
def named_causes(what: str) -> Iterator[None]:
    """Turn the system's errors into shipgraph's; ``what`` says what was being done, as in "could not <what>".

    Raises:
        DiskFull: no room or quota left.
        Denied: no right to write, or a read-only file system.
        RegistryUnavailable: anything else (a broken disk, too many open files).
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _FULL:
            raise DiskFull(
                f"could not {what}: {reason}", hint="free some space on that file system, then run the same again"
            ) from error
        if error.errno in _FORBIDDEN:
            raise Denied(f"could not {what}", detail=reason, hint="check the owner and mode of that folder") from error
        raise RegistryUnavailable(
            f"could not {what}", detail=reason, hint="check the disk, then run the same again"
        ) from error


def sync_directory(path: Path) -> None:
    """Make names that were created in or moved into a directory last."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path, *, durable: bool) -> None:
    """Create a directory and what is missing above it."""
    if path.is_dir():
        return
    make_directory(path.parent, durable=durable)
    path.mkdir(exist_ok=True)
    if durable:
        sync_directory(path.parent)


def write_whole(path: Path, content: bytes, *, aside: Path, durable: bool) -> os.stat_result:
    """Create or replace a file atomically; ``aside`` is a directory on the same file system.

    The modification time gets the clock's full resolution (the kernel's own has milliseconds), so that two versions of
    one file never look alike. Returns the file's new status.
    """
    temporary = aside / f"{path.name[:80]}.{secrets.token_hex(8)}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        try:
            write_all(descriptor, [content])
            now = time.time_ns()
            os.utime(descriptor, ns=(now, now))
            if durable:
                os.fsync(descriptor)
            status = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    if durable:
        sync_directory(path.parent)
    return status


def write_all(descriptor: int, pieces: list[bytes]) -> None:
    """Write all of some pieces: a single ``write`` may stop short."""
    for start in range(0, len(pieces), 512):  # below IOV_MAX
        batch = pieces[start : start + 512]
        written = os.writev(descriptor, batch)
        if written == sum(map(len, batch)):
            continue
        rest = memoryview(b"".join(batch))[written:]
        while rest:
            rest = rest[os.write(descriptor, rest) :]
