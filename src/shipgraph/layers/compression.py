"""Decompression in bounded memory: gzip, zstd, bzip2 and xz, told apart by their first bytes."""

from __future__ import annotations

import bz2
import lzma
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from shipgraph.errors import MalformedDocument

if TYPE_CHECKING:
    from collections.abc import Callable

    from shipgraph.layers.reading import Reader

PIECE: Final = 1 << 20
"""Bytes; no more than this is decompressed at a time."""
INPUT: Final = 1 << 16
MEMORY: Final = 128 << 20
"""Bytes of window that a zstd or xz stream may ask for (zstd's own default: --ultra needs more, images never do)."""


class Compression(StrEnum):
    """A way of compressing a stream."""

    GZIP = "gzip"
    ZSTD = "zstd"
    BZIP2 = "bzip2"
    XZ = "xz"


_MAGIC: Final = (
    (b"\x1f\x8b\x08", Compression.GZIP),
    (b"\x28\xb5\x2f\xfd", Compression.ZSTD),
    (b"BZh", Compression.BZIP2),
    (b"\xfd7zXZ\x00", Compression.XZ),
)


def find_compression(head: bytes) -> Compression | None:
    """How a stream that begins like this is compressed; None where it isn't, or in a way that is unknown here."""
    found = next((kind for magic, kind in _MAGIC if head.startswith(magic)), None)
    if found is Compression.BZIP2 and (head[3:4] not in b"123456789" or head[4:10] != b"1AY&SY"):
        return None
    return found


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /, max_length: int = -1) -> bytes: ...


class _Gzip:
    """isal's object with the interface of the others (it is several times as fast as zlib)."""

    def __init__(self) -> None:
        from isal import isal_zlib

        self._inner = isal_zlib.decompressobj(wbits=31)
        self._tail = b""

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def needs_input(self) -> bool:
        return not self._tail

    @property
    def unused_data(self) -> bytes:
        return bytes(self._inner.unused_data)

    def decompress(self, data: bytes, /, max_length: int = -1) -> bytes:
        out = self._inner.decompress(self._tail + data, max_length)
        self._tail = self._inner.unconsumed_tail
        return bytes(out)


def _zstd() -> _Decompressor:
    if sys.version_info >= (3, 14):
        from compression.zstd import DecompressionParameter, ZstdDecompressor
    else:
        from backports.zstd import DecompressionParameter, ZstdDecompressor

    return ZstdDecompressor(options={DecompressionParameter.window_log_max: MEMORY.bit_length() - 1})


_MAKERS: Final[dict[Compression, Callable[[], _Decompressor]]] = {
    Compression.GZIP: _Gzip,
    Compression.ZSTD: _zstd,
    Compression.BZIP2: bz2.BZ2Decompressor,
    Compression.XZ: lambda: lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=MEMORY),
}


class Decompressed:
    """A reader over what a compressed stream holds; several streams one after the other count as one.

    After the end ``rest`` is what follows the last stream and isn't one (nothing, in a good file).
    """

    def __init__(self, source: Reader, kind: Compression, *, observe: Callable[[int], None] | None = None) -> None:
        self.kind = kind
        self.rest = b""
        self._source = source
        self._observe = observe
        self._inner: _Decompressor | None = _MAKERS[kind]()
        self._broken = ""
        self._out = b""
        self._at = 0

    def read(self, size: int, /) -> bytes:
        """See ``Reader``.

        Raises:
            MalformedDocument: the stream is broken, or ends before its end.
        """
        if self._at >= len(self._out):
            self._out, self._at = self._more(), 0
            if self._observe is not None:
                self._observe(len(self._out))
        start, self._at = self._at, min(self._at + size, len(self._out))
        return self._out if start == 0 and self._at == len(self._out) else self._out[start : self._at]

    def _more(self) -> bytes:
        if self._broken:
            raise MalformedDocument(self._broken)
        while self._inner is not None:
            if self._inner.eof:
                self._next_stream(self._inner.unused_data)
                continue
            data = self._source.read(INPUT) if self._inner.needs_input else b""
            ended = self._inner.needs_input and not data
            if out := self._decompress(data):  # at the end too: something may still be in its buffers
                return out
            if ended and not self._inner.eof:
                self._broken = f"the {self.kind} stream ends before its end"
                raise MalformedDocument(self._broken)
        return b""

    def _decompress(self, data: bytes) -> bytes:
        assert self._inner is not None  # noqa: S101 (its caller looked)
        try:
            return self._inner.decompress(data, PIECE)
        except Exception as error:  # five libraries, each with errors of its own, in C throughout
            if isinstance(error, MemoryError):
                raise
            self._broken = f"the {self.kind} stream is broken: {error}"
            raise MalformedDocument(self._broken) from None

    def _next_stream(self, rest: bytes) -> None:
        while len(rest) < 16 and (more := self._source.read(INPUT)):
            rest += more
        if find_compression(rest) is self.kind:
            self._inner = _MAKERS[self.kind]()
            self._out = b""
            self._source = _Before(rest, self._source)
        else:
            self._inner, self.rest = None, rest


class _Before:
    """Some bytes, then another reader."""

    def __init__(self, first: bytes, then: Reader) -> None:
        self._first, self._then = first, then

    def read(self, size: int, /) -> bytes:
        if self._first:
            taken, self._first = self._first[:size], self._first[size:]
            return taken
        return self._then.read(size)
