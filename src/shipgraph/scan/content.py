"""Scans one blob from front to back: a layer's files, the files in archives among them, and what hides after its end.

Everything is read as a stream in windows of a few megabytes; only a zip file, whose list of members stands at its end,
is kept whole, in memory or, if it is large, in an unnamed temporary file. What is too large, too deep or broken becomes
a finding, so it never looks clean.
"""

from __future__ import annotations

import tempfile
import zipfile
from typing import IO, TYPE_CHECKING, Final

from shipgraph.errors import MalformedDocument
from shipgraph.layers.compression import Decompressed, find_compression
from shipgraph.layers.reading import Buffered
from shipgraph.layers.tar import BLOCK, TarReader, looks_like_tar
from shipgraph.scan.finding import BOMB, UNREADABLE, UNSCANNABLE, Finding, clean_path
from shipgraph.scan.limits import DEFAULT, Limits
from shipgraph.scan.scanner import is_code
from shipgraph.scan.severity import Severity

if TYPE_CHECKING:
    from shipgraph.layers.reading import Reader
    from shipgraph.scan.scanner import ContentScanner

AFTER_END: Final = "(after the end of the archive)"
LAYER: Final = "(layer)"
HEADERS: Final = "(extended headers)"
SPOOL: Final = 16 << 20
"""Bytes of a zip file that are kept in memory."""
_ZIP: Final = b"PK\x03\x04"
_ZIP_END: Final = b"PK\x05\x06"
_FLAG_ENCRYPTED: Final = 1


class TooMuch(Exception):
    """A limit was passed; the message says which. Never leaves this module."""


class _Budget:
    """What may still come out of one blob or one file; ``fed`` counts what went in."""

    def __init__(self, *, most: int, ratio: int, free: int, members: int) -> None:
        self.most, self.ratio, self.free, self.members = most, ratio, free, members
        self.out = 0
        self.fed = 0

    def take(self, size: int) -> None:
        self.out += size
        if self.out > self.most:
            raise TooMuch(f"more than {self.most >> 20} MB come out of it")
        if self.out > self.free and self.out > self.ratio * max(self.fed, 1):
            raise TooMuch(f"it unpacks to more than {self.ratio} times its size")

    def member(self) -> None:
        self.members -= 1
        if self.members < 0:
            raise TooMuch("it holds too many files")


class _Counted:
    """A reader that tells a budget what it hands out."""

    def __init__(self, source: Reader, budget: _Budget) -> None:
        self._source, self._budget = source, budget

    def read(self, size: int, /) -> bytes:
        data = self._source.read(size)
        self._budget.fed += len(data)
        return data


class ContentScan:
    """One blob's scan; ``findings``, ``files``, ``bytes`` and ``more`` grow while it runs. Belongs to one thread."""

    def __init__(self, scanner: ContentScanner, limits: Limits = DEFAULT) -> None:
        self.findings: dict[Finding, None] = {}
        self.files = 0
        self.bytes = 0
        self.more = 0
        self._scanner = scanner
        self._limits = limits
        self._known: set[tuple[str, str, str]] = set()

    def blob(self, source: Reader, title: str | None = None) -> None:
        """Scan a layer: a tar archive, compressed or not. One that can't be read is a finding that fails.

        With a ``title`` it may be a file of any kind, of that name (an artifact's layer).
        """
        limits = self._limits
        budget = _Budget(most=limits.layer, ratio=limits.ratio, free=limits.free, members=1 << 62)
        blob = Buffered(_Counted(source, budget))
        try:
            packed = self._decompressed(blob, budget)
            content = Buffered(packed or blob)
            head = content.peek(BLOCK)
            if looks_like_tar(head) or (not head and title is None):
                self._tar("", content, 0)
            elif title is not None:
                self._file(title, content, 0, None)
            else:
                raise MalformedDocument("it is no tar archive, and not compressed in a known way")
            if packed is not None:
                self._windows(AFTER_END, _After(packed.rest, blob))
        except TooMuch as error:
            self._problem(BOMB, LAYER, f"it is scanned only in part: {error}", Severity.HIGH)
        except MalformedDocument as error:
            self._problem(UNSCANNABLE, LAYER, f"it can't be scanned: {error}", Severity.HIGH)

    def _decompressed(self, source: Buffered, budget: _Budget) -> Decompressed | None:
        kind = find_compression(source.peek(16))
        return None if kind is None else Decompressed(source, kind, observe=budget.take)

    def _file(self, path: str, source: Reader, depth: int, budget: _Budget | None) -> None:
        content = Buffered(source)
        head = content.peek(BLOCK)
        packed = head.startswith(_ZIP) or find_compression(head) is not None or looks_like_tar(head)
        if not packed or head[:BLOCK] == bytes(BLOCK):
            self.files += 1
            self._windows(path, content)
        elif depth >= self._limits.depth:
            self._problem(BOMB, path, f"archives in archives, more than {self._limits.depth} deep", Severity.HIGH)
        elif budget is None:
            self._packed_file(path, content)
        else:
            self._unpack(path, content, depth, budget)

    def _packed_file(self, path: str, content: Buffered) -> None:
        """An archive that isn't itself in one: it gets a budget."""
        limits = self._limits
        budget = _Budget(most=limits.nested, ratio=limits.ratio, free=limits.nested_free, members=limits.members)
        try:
            self._unpack(path, Buffered(_Counted(content, budget)), 0, budget)
        except TooMuch as error:
            self._problem(BOMB, path, f"an archive is scanned only in part: {error}", Severity.HIGH)

    def _unpack(self, path: str, content: Buffered, depth: int, budget: _Budget) -> None:
        head = content.peek(self._limits.window)
        try:
            if head.startswith(_ZIP):
                self._zip(path, content, depth, budget)
            elif (inner := self._decompressed(content, budget)) is not None:
                self._file(_unpacked_name(path), inner, depth + 1, budget)
                self._windows(f"{path}!{AFTER_END}", _After(inner.rest, content))
            else:
                self._tar(f"{path}!", content, depth + 1, budget)
        except MalformedDocument as error:
            # It may be no archive at all: what is at hand of it is scanned as it is.
            self._problem(UNREADABLE, path, f"an archive can't be read to its end: {error}", Severity.MEDIUM)
            self._windows(path, Buffered(content, ahead=head))

    def _tar(self, prefix: str, content: Buffered, depth: int, budget: _Budget | None = None) -> None:
        tar = TarReader(content)
        for member in tar:
            path = prefix + member.path.removeprefix("./")
            if budget is not None:
                budget.member()
            if member.remarks:
                self._scan(f"{path} {HEADERS}", member.remarks, 1)
            if member.regular and member.size:
                self._file(path, member, depth, budget)
        self._windows(prefix + AFTER_END, tar.rest)

    def _zip(self, path: str, content: Buffered, depth: int, budget: _Budget) -> None:
        with tempfile.SpooledTemporaryFile(max_size=SPOOL) as spool:
            size = 0
            while piece := content.read(1 << 20):
                size += len(piece)
                if size > self._limits.zipped:
                    raise TooMuch(f"a zip file of more than {self._limits.zipped >> 20} MB")
                spool.write(piece)
            self._check_directory(spool, size)
            spool.seek(0)
            try:
                with zipfile.ZipFile(spool) as archive:
                    for info in archive.infolist():
                        budget.member()
                        if not info.is_dir():
                            self._zip_member(f"{path}!{info.filename}", archive, info, depth, budget)
            except (zipfile.BadZipFile, OSError, ValueError, UnicodeError, NotImplementedError) as error:
                raise MalformedDocument(f"{error}") from None
            finally:
                # Also as it is: a zip file may hold more than its list of members says.
                spool.seek(0)
                self._windows(path, spool)

    def _zip_member(
        self, path: str, archive: zipfile.ZipFile, info: zipfile.ZipInfo, depth: int, budget: _Budget
    ) -> None:
        if info.flag_bits & _FLAG_ENCRYPTED:
            self._problem(UNREADABLE, path, "a file in an archive is encrypted", Severity.MEDIUM)
            return
        try:
            with archive.open(info) as member:
                self._file(path, _Taking(member, budget), depth + 1, budget)
        except (TooMuch, MalformedDocument, MemoryError):
            raise
        except Exception as error:  # zipfile and its decompressors raise many kinds on broken members
            what = f"a file in an archive can't be read: {type(error).__name__}"
            self._problem(UNREADABLE, path, what, Severity.MEDIUM)

    def _check_directory(self, spool: IO[bytes], size: int) -> None:
        """Refuse a list of members that would not fit into memory, before anybody reads it."""
        tail = min(size, (64 << 10) + 22)
        spool.seek(size - tail)
        data = spool.read(tail)
        at = data.rfind(_ZIP_END)
        length = int.from_bytes(data[at + 12 : at + 16], "little") if at >= 0 else 0
        if length == 0xFFFFFFFF:  # zip64 says it elsewhere; it can't be longer than what stands before it
            length = size
        if length > self._limits.directory:
            raise TooMuch("its list of members is too long")

    def _windows(self, path: str, source: Reader) -> None:
        """Scan to the end, in windows that overlap, so that no secret is cut in two."""
        content = source if isinstance(source, Buffered) else Buffered(source)
        window, overlap = self._limits.window, self._limits.overlap
        line, data = 1, content.take(window)
        self.bytes += len(data)
        while data:
            more = content.take(window - overlap) if len(data) == window else b""
            self._scan(path, data, line)
            self.bytes += len(more)
            if not more:
                return
            # In machine code nobody counts lines.
            line = 0 if not line or is_code(data) else line + data.count(b"\n", 0, len(data) - overlap)
            data = data[-overlap:] + more

    def _scan(self, path: str, data: bytes, line: int) -> None:
        if not data.strip(b"\0"):
            return
        for hit in self._scanner.scan(path, data):
            # The same secret in one file once: windows overlap, and a line is enough to find it.
            known = (hit.rule, clean_path(path), hit.secret)
            if known in self._known:
                continue
            self._known.add(known)
            if len(self.findings) >= self._limits.findings:
                self.more += 1
            else:
                self.findings[Finding.of(hit, path, first_line=line)] = None

    def _problem(self, rule: str, path: str, what: str, severity: Severity) -> None:
        if len(self.findings) >= self._limits.findings and not severity.fails:
            self.more += 1
        else:
            self.findings[Finding.problem(rule, path, what, severity)] = None


class _After:
    """What a decompressor has left over, then the rest of its source."""

    def __init__(self, rest: bytes, source: Reader) -> None:
        self._rest, self._source = rest, source

    def read(self, size: int, /) -> bytes:
        if self._rest:
            taken, self._rest = self._rest[:size], self._rest[size:]
            return taken
        return self._source.read(size)


class _Taking:
    """A reader whose output counts against a budget."""

    def __init__(self, source: IO[bytes], budget: _Budget) -> None:
        self._source, self._budget = source, budget

    def read(self, size: int, /) -> bytes:
        data = self._source.read(min(size, 1 << 20))
        self._budget.take(len(data))
        return data


def _unpacked_name(path: str) -> str:
    """``a.tar.gz!a.tar``."""
    name = path.rpartition("!")[2].rpartition("/")[2]
    stem, _, ending = name.rpartition(".")
    if ending.lower() == "tgz":
        return f"{path}!{stem}.tar"
    return f"{path}!{stem or name}"
