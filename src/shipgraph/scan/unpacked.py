"""An artifact's content as files on disk, for a scanner that reads nothing else; they are gone when the scan is.

Names come from the registry: a path is made of their harmless parts, and one that two files share gets a number.
"""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

import anyio

from shipgraph.errors import MalformedDocument
from shipgraph.layers.compression import Decompressed, find_compression
from shipgraph.layers.reading import Buffered, read_in_thread
from shipgraph.layers.tar import BLOCK, TarReader, looks_like_tar
from shipgraph.oci import media_types
from shipgraph.scan.finding import BOMB, UNSCANNABLE, Finding
from shipgraph.scan.limits import DEFAULT, Limits
from shipgraph.scan.severity import Severity
from shipgraph.store.content import read_blob

if TYPE_CHECKING:
    from pathlib import Path

    from shipgraph.layers.reading import Reader
    from shipgraph.oci.manifest import ImageManifest
    from shipgraph.store.protocols import Fetcher

FILES: Final = "files"
DESCRIBED: Final = "configuration"
"""The two folders: what the layers hold, and the manifest with its configuration."""
NAME_BYTES: Final = 200
PATH_CHARACTERS: Final = 800
PIECE: Final = 1 << 20


class TooMuch(Exception):
    """More comes out than may; the message says what."""


async def unpack_artifact(
    fetcher: Fetcher, repository: str, manifest: ImageManifest, folder: Path, *, limits: Limits = DEFAULT
) -> tuple[Finding, ...]:
    """Write an artifact's files below a folder; findings are what can't be written, and so can't be scanned.

    Raises:
        ContentError: something is not what its digest says.
        RegistryError
    """
    described = anyio.Path(folder / DESCRIBED)
    await described.mkdir(parents=True)
    await (described / "manifest.json").write_bytes(manifest.raw)
    await (described / "config.json").write_bytes(await read_blob(fetcher, repository, manifest.config))
    unpacking = _Unpacking(folder / FILES, limits)
    for layer in manifest.layers:
        title = layer.annotations.get(media_types.ANNOTATION_TITLE) or layer.digest.short
        await read_in_thread(fetcher, repository, layer, partial(unpacking.blob, title=title))
    return tuple(unpacking.problems)


class _Unpacking:
    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder, self._limits = folder, limits
        self._members = 0
        self._written = 0
        self._taken: dict[str, int] = {}
        self.problems: list[Finding] = []

    def blob(self, source: Reader, title: str) -> None:
        """Write one layer: the members of an archive, compressed or not, or the one file that it is."""
        try:
            blob = Buffered(source)
            kind = find_compression(blob.peek(16))
            content = Buffered(Decompressed(blob, kind)) if kind is not None else blob
            if looks_like_tar(content.peek(BLOCK)):
                tar = TarReader(content)
                for member in tar:
                    if member.remarks:
                        self._file(f"{member.path} (extended headers)", Buffered(_Nothing(), ahead=member.remarks))
                    if member.regular and member.size:
                        self._file(member.path, member)
                self._file(f"{title} (after the end)", tar.rest, skip_zeros=True)
            else:
                self._file(title, content)
        except TooMuch as error:
            self.problems.append(Finding.problem(BOMB, title, f"it is not scanned: {error}", Severity.HIGH))
        except MalformedDocument as error:
            self.problems.append(Finding.problem(UNSCANNABLE, title, f"it can't be scanned: {error}", Severity.HIGH))

    def _file(self, name: str, content: Reader, *, skip_zeros: bool = False) -> None:
        self._members += 1
        if self._members > self._limits.members:
            raise TooMuch("it holds too many files")
        place = None if skip_zeros else self._place(name)
        while piece := content.read(PIECE):
            self._written += len(piece)
            if self._written > self._limits.nested:
                raise TooMuch(f"more than {self._limits.nested >> 20} MB come out of it")
            if place is None:
                if not piece.strip(b"\0"):
                    continue
                place = self._place(name)
            with place.open("ab") as file:
                file.write(piece)

    def _place(self, name: str) -> Path:
        """A new file's path, below the folder whatever the name is."""
        parts = [_short(part) for part in PurePosixPath(_printable(name)).parts if part.strip("/. ")] or ["unnamed"]
        if sum(map(len, parts)) > PATH_CHARACTERS or not self._fits(parts):
            parts = [_short("~".join(parts))]
        wanted = "/".join(parts)
        while True:
            number = self._taken.get(wanted, 0)
            self._taken[wanted] = number + 1
            place = self._folder / (f"{wanted}~{number}" if number else wanted)
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                place.touch(exist_ok=False)
            except FileExistsError:  # a folder, or another file of just that name
                continue
            return place

    def _fits(self, parts: list[str]) -> bool:
        """Whether no file stands where the path needs a folder."""
        place = self._folder
        for part in parts[:-1]:
            place = place / part
            if not place.is_dir():
                return not place.exists()
        return True


class _Nothing:
    """A reader at its end."""

    def read(self, size: int, /) -> bytes:  # noqa: ARG002 (a reader's)
        return b""


def _printable(name: str) -> str:
    return "".join(letter if letter.isprintable() else "_" for letter in name)


def _short(part: str) -> str:
    """A name that a file system takes."""
    raw = part.encode()
    if len(raw) <= NAME_BYTES:
        return part
    return f"{raw[: NAME_BYTES // 2].decode('utf-8', 'ignore')}~{hashlib.sha256(raw).hexdigest()[:16]}"
