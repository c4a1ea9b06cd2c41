"""A payload's archive becomes a folder, or is refused: plain files and folders with plain names, within bounds.

Links, devices and everything else that isn't a file or a folder are refused, as is a path that is absolute, leads out,
or comes twice. ``SHA256SUMS`` must cover every other file, and every file must be as it says.
"""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from shipgraph.errors import MalformedDocument, Refused

if TYPE_CHECKING:
    from pathlib import Path
    from typing import IO

SUMS: Final = "SHA256SUMS"
IMAGES: Final = "images.json"
PIECE: Final = 1 << 20
_SUM: Final = re.compile(r"([0-9a-f]{64})  (.+)")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an archive may hold."""

    most_bytes: int = 8 << 30
    most_entries: int = 200_000
    most_times: int = 200
    longest_path: int = 1024
    small: int = 64 << 20
    """Bytes up to which the ratio of packed to unpacked does not matter."""


def unpack_payload(archive: Path, folder: Path, *, bounds: Bounds | None = None) -> None:
    """Unpack into an empty folder. What was written before a refusal is the caller's to remove.

    Raises:
        Refused: something in it is not what a payload may hold.
        MalformedDocument: it is no tar.gz.
    """
    from isal import igzip

    limits = bounds or Bounds()
    packed = archive.stat().st_size
    sums: dict[str, str] = {}
    try:
        with archive.open("rb") as file:
            plain = igzip.GzipFile(fileobj=file, mode="rb")  # type: ignore[no-untyped-call]
            bounded = _Bounded(cast("Any", plain), max(limits.small, packed * limits.most_times), limits)
            with tarfile.open(fileobj=cast("Any", bounded), mode="r|", errorlevel=1) as tar:
                for count, entry in enumerate(tar):
                    if count >= limits.most_entries:
                        raise Refused(f"the payload has more than {limits.most_entries} entries")
                    _unpack(tar, entry, folder, sums, limits)
                    tar.members.clear()  # type: ignore[attr-defined]
            while bounded.read(PIECE):
                pass
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise MalformedDocument(f"the payload is not a tar.gz: {error}") from error
    except OSError as error:
        if error.errno is None:  # a broken gzip stream
            raise MalformedDocument(f"the payload is not a tar.gz: {error}") from error
        raise
    _check_sums(folder, sums)


class _Bounded:
    """Reads on until there is more than an honest archive would hold."""

    def __init__(self, inner: IO[bytes], by_ratio: int, limits: Bounds) -> None:
        self._inner, self._most = inner, min(by_ratio, limits.most_bytes)
        self._size = 0

    def read(self, count: int = -1) -> bytes:
        piece = self._inner.read(count)
        self._size += len(piece)
        if self._size > self._most:
            raise Refused(f"the payload unpacks to more than {self._most} bytes: it may be a bomb")
        return piece


def _unpack(tar: tarfile.TarFile, entry: tarfile.TarInfo, folder: Path, sums: dict[str, str], limits: Bounds) -> None:
    shown = repr(entry.name[:200])
    parts = entry.name.rstrip("/").split("/")
    parts = parts[1:] if parts[0] == "." else parts
    if not parts and entry.isdir():
        return
    bad = not parts or any(part in ("", ".", "..") for part in parts)
    if bad or "\0" in entry.name or "\\" in entry.name or len(entry.name) > limits.longest_path:
        raise Refused(f"the payload has the path {shown}, which leads out of it or can't be")
    if any(not character.isprintable() for character in entry.name):
        raise Refused(f"the payload has the path {shown}, which can't be printed")
    place = folder.joinpath(*parts)
    if entry.isdir():
        place.mkdir(mode=0o755, parents=True, exist_ok=True)
        return
    if not entry.isfile() or entry.sparse is not None:
        kind = "a link" if entry.issym() or entry.islnk() else "a device or something else that is no file"
        raise Refused(f"the payload has {kind} at {shown}")
    name = "/".join(parts)
    if name in sums:
        raise Refused(f"the payload has {shown} twice")
    content = tar.extractfile(entry)
    assert content is not None  # noqa: S101 (it is a file)
    hasher = hashlib.sha256()
    try:
        place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with place.open("xb") as file:
            while piece := content.read(PIECE):
                hasher.update(piece)
                file.write(piece)
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise Refused(f"the payload has a file and a folder at {shown}") from None
    place.chmod(0o755 if entry.mode & 0o100 else 0o644)
    os.utime(place, (entry.mtime, entry.mtime))
    sums[name] = hasher.hexdigest()


def _check_sums(folder: Path, sums: dict[str, str]) -> None:
    if SUMS not in sums:
        raise Refused(f"the payload has no {SUMS}")
    said: dict[str, str] = {}
    for line in (folder / SUMS).read_text("utf-8", "replace").splitlines():
        match = _SUM.fullmatch(line)
        if match is None:
            raise Refused(f"{SUMS} of the payload has the line {line[:100]!r}")
        said[match[2]] = match[1]
    there = {name: value for name, value in sums.items() if name != SUMS}
    if said != there:
        wrong = sorted(name for name in said.keys() | there.keys() if said.get(name) != there.get(name))
        raise Refused(f"{SUMS} of the payload and its files disagree: {', '.join(wrong[:5])}")
