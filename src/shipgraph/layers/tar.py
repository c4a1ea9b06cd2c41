"""Tar members as a stream: POSIX ustar and pax, GNU's long names and sparse files, in bounded memory.

The standard library's reader keeps whole extended headers in memory and every member that it has seen; what comes from
a registry may be made to fill it. Nothing here follows a path or a link, so no name can do harm.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from shipgraph.errors import MalformedDocument
from shipgraph.layers.reading import Buffered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shipgraph.layers.reading import Reader

BLOCK: Final = 512
HEADER_LIMIT: Final = 1 << 20
"""Bytes of one extended header or long name."""
SPARSE_LIMIT: Final = 4096
"""Blocks of one sparse map."""
_ZEROS: Final = bytes(BLOCK)
_REGULAR: Final = frozenset(b"0\x007S")
_NO_CONTENT: Final = frozenset(b"123456")  # links, devices, folders: their size says nothing
_TOLD: Final = frozenset(
    {"path", "linkpath", "size", "uid", "gid", "uname", "gname", "mtime", "atime", "ctime", "charset", "hdrcharset"}
)


@dataclass(slots=True)
class Member:
    """One entry. ``path`` is what the archive says, whatever that is; ``remarks`` are pax records with free text.

    ``read`` gives the content of a regular file, until the next member is asked for.
    """

    path: str
    regular: bool
    folder: bool
    size: int
    remarks: bytes = b""
    _source: Buffered | None = field(default=None, repr=False)
    _left: int = field(default=0, repr=False)

    def read(self, size: int, /) -> bytes:
        """See ``Reader``.

        Raises:
            MalformedDocument: the archive ends in the middle of the file.
        """
        if not self._left or self._source is None:
            return b""
        data = self._source.read(min(size, self._left))
        if not data:
            raise MalformedDocument("the archive ends in the middle of a file")
        self._left -= len(data)
        return data


def looks_like_tar(head: bytes) -> bool:
    """Whether a stream that begins with these bytes (512 are needed) is a tar archive, an empty one included."""
    if len(head) < BLOCK:
        return False
    return head[:BLOCK] == _ZEROS[:BLOCK] if not head[0] else _checksum_is_right(head[:BLOCK])


class TarReader:
    """The members of an archive, one after the other; after the last one, ``rest`` reads what follows its end."""

    def __init__(self, source: Reader) -> None:
        self._source = source if isinstance(source, Buffered) else Buffered(source)

    @property
    def rest(self) -> Reader:
        """What follows the end of the archive: padding, or something that was hidden there."""
        return self._source

    def __iter__(self) -> Iterator[Member]:
        """Iterate.

        Raises:
            MalformedDocument: this is no tar archive, or it ends in the middle.
        """
        long_name, told, remarks = "", dict[str, str](), b""
        while (block := self._header()) is not None:
            kind = block[156]
            size = _number(block[124:136])
            if kind in b"LK":
                text = _text(self._extended(size))
                long_name = text if kind == ord("L") else long_name
                continue
            if kind in b"xg":
                records, free = _pax(self._extended(size))
                remarks += free[: HEADER_LIMIT - len(remarks)]
                if kind == ord("g"):
                    if "size" in records:
                        raise MalformedDocument("a global pax header gives every file the same size")
                    continue
                told = records
                continue
            if "size" in told:
                size = _decimal(told["size"])
            path = told.get("path") or long_name or _name(block)
            if kind == ord("S"):
                self._skip_sparse_map(block)
            content = 0 if kind in _NO_CONTENT else size
            member = Member(
                path=path,
                regular=kind in _REGULAR and not path.endswith("/"),
                folder=kind == ord("5") or (kind in b"0\0" and path.endswith("/")),
                size=content,
                remarks=remarks,
                _source=self._source,
                _left=content,
            )
            yield member
            left = member._left  # noqa: SLF001 (its own reader)
            padding = -content % BLOCK
            if self._source.skip(left) != left:
                raise MalformedDocument("the archive ends in the middle of a file")
            self._source.skip(padding)
            long_name, told, remarks = "", {}, b""

    def _header(self) -> bytes | None:
        """The next header block; None at the end of the archive."""
        block = self._source.take(BLOCK)
        if not block:
            return None
        if block == _ZEROS:
            # one block of zeros is no end for every reader: go on if something follows
            following = self._source.peek(BLOCK)
            if len(following) < BLOCK or following == _ZEROS or not _checksum_is_right(following):
                return None
            block = self._source.take(BLOCK)
        if len(block) < BLOCK:
            raise MalformedDocument("the archive ends in the middle of a header")
        if not _checksum_is_right(block):
            raise MalformedDocument("a header's checksum is wrong: this is no tar archive, or a broken one")
        return block

    def _extended(self, size: int) -> bytes:
        if size > HEADER_LIMIT:
            raise MalformedDocument(f"an extended header has {size} bytes, more than {HEADER_LIMIT}")
        data = self._source.take(size)
        if len(data) < size:
            raise MalformedDocument("the archive ends in the middle of a header")
        self._source.skip(-size % BLOCK)
        return data

    def _skip_sparse_map(self, header: bytes) -> None:
        more, blocks = bool(header[482]), 0
        while more:
            block = self._source.take(BLOCK)
            blocks += 1
            if len(block) < BLOCK or blocks > SPARSE_LIMIT:
                raise MalformedDocument("a sparse file's map is too long")
            more = bool(block[504])


def _checksum_is_right(block: bytes) -> bool:
    try:
        told = _number(block[148:156])
    except MalformedDocument:
        return False
    total = sum(block) - sum(block[148:156]) + 8 * 32
    if told == total:
        return True
    signed = total - 256 * sum(byte > 127 for byte in block[:148] + block[156:])
    return told == signed


def _number(data: bytes) -> int:
    """An octal number, or GNU's base 256."""
    if data[0] & 0x80:
        value = int.from_bytes(data, "big") & ((1 << (8 * len(data) - 1)) - 1)
        if data[0] & 0x40 or value >= 1 << 63:
            raise MalformedDocument("a size in a header is negative or too large")
        return value
    text = data.split(b"\0", 1)[0].strip()
    try:
        return int(text, 8) if text else 0
    except ValueError:
        raise MalformedDocument("a number in a header is not octal") from None


def _decimal(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise MalformedDocument("a size in a pax header is not a number")
    return int(text)


def _text(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")


def _name(block: bytes) -> str:
    name = _text(block[:100])
    prefix = _text(block[345:500]) if block[257:263] == b"ustar\0" else ""
    return f"{prefix}/{name}" if prefix else name


def _pax(data: bytes) -> tuple[dict[str, str], bytes]:
    """The records that say something about the file, and the content of all others as lines."""
    records: dict[str, str] = {}
    free: list[bytes] = []
    at = 0
    while at < len(data) and data[at : at + 1] != b"\0":
        space = data.find(b" ", at, at + 20)
        digits = data[at:space] if space > 0 else b""
        if not digits.isdigit() or int(digits) < len(digits) + 4 or at + int(digits) > len(data):
            raise MalformedDocument("a pax header is malformed")
        key, equals, value = data[space + 1 : at + int(digits) - 1].partition(b"=")
        if not equals:
            raise MalformedDocument("a pax header is malformed")
        name = _text(key)
        if name == "GNU.sparse.name":
            name = "path"
        if name in _TOLD:
            records[name] = value.decode("utf-8", "backslashreplace")
        elif not name.startswith("GNU.sparse."):
            free.append(key + b"=" + value + b"\n")
        at += int(digits)
    return records, b"".join(free)
