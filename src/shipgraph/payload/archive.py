"""A tar.gz that is the same to the byte whenever, wherever and by whomever it is packed."""

from __future__ import annotations

import hashlib
import io
import tarfile
from typing import IO, TYPE_CHECKING, Any, Final

from isal import igzip_threaded

from shipgraph.errors import DigestMismatch
from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from shipgraph.payload.files import Member

LEVEL: Final = 2
BLOCK: Final = 1 << 20
"""Bytes; igzip's output depends on the sizes in which it is fed, so they are fixed."""


class _Hashing(io.RawIOBase):
    """A file that knows the size and digest of what was written to it."""

    def __init__(self, target: IO[bytes]) -> None:
        self._target = target
        self._hash = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._target.write(data)
        self._hash.update(data)
        self.size += len(data)
        return len(data)

    @property
    def digest(self) -> Digest:
        """The sha256 digest so far."""
        return Digest("sha256", self._hash.hexdigest())


def pack(members: Sequence[Member], target: Path, *, media_type: str, mtime: int) -> Descriptor:
    """Write the archive and return its descriptor. Runs in a thread: it computes and blocks.

    Every member is a regular file of owner 0:0 and mode 0644 or 0755; ``mtime`` is in seconds since the epoch.

    Raises:
        DigestMismatch: a file changed while it was being packed.
    """
    with target.open("wb") as file:
        hashing = _Hashing(file)
        opened = igzip_threaded.open(  # type: ignore[no-untyped-call]  # the library has no types
            hashing, "wb", compresslevel=LEVEL, threads=1, block_size=BLOCK
        )
        # In stream mode tarfile writes pieces of exactly `bufsize`.
        with (
            opened as packed,
            tarfile.open(mode="w|", fileobj=packed, bufsize=BLOCK, format=tarfile.PAX_FORMAT) as tar,
        ):
            for member in members:
                _add(tar, member, mtime)
    return Descriptor(media_type, hashing.digest, hashing.size)


def _add(tar: tarfile.TarFile, member: Member, mtime: int) -> None:
    info = tarfile.TarInfo(member.path)
    info.size, info.mtime, info.mode = member.size, mtime, 0o755 if member.executable else 0o644
    content = io.BytesIO(member.content) if member.source is None else member.source.open("rb")
    with content:
        checked = _Checked(content)
        tar.addfile(info, checked)
        if checked.read(1) or checked.sha256 != member.sha256:
            raise DigestMismatch(
                f"payload file {member.path}", want=member.sha256, got=f"{checked.sha256} while packing"
            )


class _Checked(io.RawIOBase):
    """A file that hashes what is read from it."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._hash = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self._hash.update(data)
        return data

    @property
    def sha256(self) -> str:
        """Of what was read so far, in hexadecimal digits."""
        return self._hash.hexdigest()
