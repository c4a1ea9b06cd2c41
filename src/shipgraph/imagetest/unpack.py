"""Layers become a file system: safely, whatever is in the archive (image specification 1.1, layer.md).

Every entry's parent is followed link by link inside of the root, as the container itself would see it, so no path leads
out of it. Devices are left out: a container gets its own. What an archive may hold is bounded.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tarfile
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, Final, cast

from shipgraph.errors import DigestMismatch, MalformedDocument
from shipgraph.layers.compression import Compression, Decompressed, find_compression

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from shipgraph.layers.reading import Reader

WHITEOUT: Final = ".wh."
OPAQUE: Final = ".wh..wh..opq"
MOST_ENTRIES: Final = 2_000_000
MOST_BYTES: Final = 64 << 30
MOST_LINKS: Final = 40
PIECE: Final = 1 << 20
COMPRESSIONS: Final = (Compression.GZIP, Compression.ZSTD)
"""What the image specification knows."""


def unpack_layer(archive: Path, root: Path, *, diff_id: str, where: str) -> None:
    """Apply a layer (a tar, plain or compressed with gzip or zstd) to a tree.

    Args:
        diff_id: what the uncompressed archive must hash to.

    Raises:
        MalformedDocument: it is not a layer, or too big.
        DigestMismatch: its content is not what the image's configuration says.
    """
    with archive.open("rb") as file:
        reader = _Hashing(_decompressed(file, where), where)
        try:
            with tarfile.open(fileobj=cast("Any", reader), mode="r|", errorlevel=1) as tar:
                _Applying(root, where).apply(tar)
        except (tarfile.TarError, EOFError, ValueError) as error:
            raise MalformedDocument(f"{where} is not a layer: {error}") from error
        except OSError as error:
            if isinstance(error, NotADirectoryError):  # a file stands where the archive wants a folder
                raise MalformedDocument(f"{where} is not a layer: {error}") from error
            raise
        while reader.read(PIECE):
            pass
    if f"sha256:{reader.hasher.hexdigest()}" != diff_id:
        raise DigestMismatch(where, want=diff_id, got=f"sha256:{reader.hasher.hexdigest()}")


def _decompressed(file: IO[bytes], where: str) -> Reader:
    head = file.read(16)
    file.seek(0)
    kind = find_compression(head)
    if kind is None:
        return file
    if kind not in COMPRESSIONS:
        raise MalformedDocument(f"{where} is compressed with {kind}, which is no compression of layers")
    return Decompressed(file, kind)


class _Hashing:
    """Reads on, counts and hashes."""

    def __init__(self, inner: Reader, where: str) -> None:
        self._inner, self._where = inner, where
        self.hasher = hashlib.sha256()
        self._size = 0

    def read(self, count: int = PIECE) -> bytes:
        try:
            piece = self._inner.read(count)
        except MalformedDocument as error:
            raise MalformedDocument(f"{self._where} is not a layer: {error}") from error
        self.hasher.update(piece)
        self._size += len(piece)
        if self._size > MOST_BYTES:
            raise MalformedDocument(f"a layer unpacks to more than {MOST_BYTES >> 30} GB")
        return piece


class _Applying:
    """One layer on its way into a tree."""

    def __init__(self, root: Path, where: str) -> None:
        self._root, self._where = root, where
        self._made: set[Path] = set()
        self._folders: list[tuple[Path, tarfile.TarInfo]] = []
        self._privileged = os.geteuid() == 0

    def apply(self, tar: tarfile.TarFile) -> None:
        for count, entry in enumerate(tar):
            if count >= MOST_ENTRIES:
                raise MalformedDocument(f"{self._where} has more than {MOST_ENTRIES} entries")
            self._entry(tar, entry)
            tar.members.clear()  # type: ignore[attr-defined]
        for place, entry in reversed(self._folders):
            if place.is_dir() and not place.is_symlink():
                os.utime(place, (entry.mtime, entry.mtime))

    def _entry(self, tar: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
        parts = _parts(entry.name, self._where)
        if not parts:
            if entry.isdir():
                self._attributes(self._root, entry)
            return
        *above, name = parts
        parent = self._folder(above)
        if name == OPAQUE:
            for inner in list(parent.iterdir()):
                if inner not in self._made:
                    _remove(inner)
            return
        if name.startswith(WHITEOUT):
            gone = name.removeprefix(WHITEOUT)
            if gone in ("", ".", "..") or "/" in gone:
                raise MalformedDocument(f"{self._where} has the whiteout {entry.name[:200]!r}")
            _remove(parent / gone)
            return
        place = parent / name
        self._write(tar, entry, place)
        self._made.update((place, *self._ancestors(place)))

    def _ancestors(self, place: Path) -> Iterator[Path]:
        for above in place.parents:
            if above == self._root or above in self._made:
                return
            yield above

    def _write(self, tar: tarfile.TarFile, entry: tarfile.TarInfo, place: Path) -> None:
        if entry.isdir():
            if place.is_symlink() or not place.is_dir():
                _remove(place)
                place.mkdir()
            self._attributes(place, entry)
            self._folders.append((place, entry))
            return
        if entry.isfile() or entry.issym():
            _remove(place)
            if entry.issym():
                os.symlink(entry.linkname, place)  # noqa: PTH211 (a target is text, not a path of ours)
            else:
                content = tar.extractfile(entry)
                assert content is not None  # noqa: S101 (it is a file)
                with place.open("xb") as file:
                    shutil.copyfileobj(content, file, PIECE)
            self._attributes(place, entry)
        elif entry.islnk():
            *above, name = _parts(entry.linkname, self._where) or [""]
            source = self._folder(above) / name
            if not name or not os.path.lexists(source) or (source.is_dir() and not source.is_symlink()):
                raise MalformedDocument(f"{self._where} links {entry.name[:200]!r} to what is not there")
            if source != place:
                _remove(place)
                os.link(source, place, follow_symlinks=False)
        elif entry.isfifo():
            _remove(place)
            os.mkfifo(place)
            self._attributes(place, entry)
        elif not (entry.ischr() or entry.isblk()):
            raise MalformedDocument(f"{self._where} has an entry of unknown type: {entry.name[:200]!r}")

    def _attributes(self, place: Path, entry: tarfile.TarInfo) -> None:
        if self._privileged:
            os.chown(place, entry.uid, entry.gid, follow_symlinks=False)
        if entry.issym():
            return
        place.chmod(stat.S_IMODE(entry.mode))
        for key, value in entry.pax_headers.items():
            if key == "SCHILY.xattr.security.capability" and self._privileged:
                with suppress(OSError):
                    os.setxattr(place, "security.capability", value.encode("utf-8", "surrogateescape"))
        if not entry.isdir():
            os.utime(place, (entry.mtime, entry.mtime))

    def _folder(self, parts: list[str]) -> Path:
        """The folder that a path leads to as the container would see it; what is missing of it is made."""
        place = follow(self._root, parts, self._where)
        if not place.is_dir():
            missing = [place]
            while not os.path.lexists(missing[-1].parent):
                missing.append(missing[-1].parent)
            for folder in reversed(missing):
                if os.path.lexists(folder):
                    _remove(folder)
                folder.mkdir()
        return place


def follow(root: Path, parts: list[str], where: str) -> Path:
    """Where a path leads, links followed, never out of the root; it need not exist."""
    place, rest, links = root, list(reversed(parts)), 0
    while rest:
        part = rest.pop()
        if part in ("", "."):
            continue
        if part == "..":
            place = place if place == root else place.parent
            continue
        step = place / part
        if step.is_symlink():
            links += 1
            if links > MOST_LINKS:
                raise MalformedDocument(f"{where} has links in circles at {'/'.join(parts)[:200]!r}")
            target = str(os.readlink(step))  # noqa: PTH115 (a target is text, not a path of ours)
            if target.startswith("/"):
                place = root
            rest.extend(reversed(target.split("/")))
        else:
            place = step
    return place


def _parts(name: str, where: str) -> list[str]:
    if "\0" in name:
        raise MalformedDocument(f"{where} has a name with a null byte")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise MalformedDocument(f"{where} has the path {name[:200]!r}, which leads out of it")
    return parts


def _remove(place: Path) -> None:
    """Whatever is there; fine if nothing is."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
