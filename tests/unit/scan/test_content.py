"""Content that was made to hurt: bombs, broken archives, hidden data; what can't be looked at never looks clean."""

from __future__ import annotations

import gzip
import io
import zipfile
from typing import TYPE_CHECKING

import pytest
from backports.zstd import ZstdCompressor
from tests.unit.scan.fake import WORD, WordScanner
from tests.unit.scan.images import packed, tar

from shipgraph.scan.content import AFTER_END, ContentScan
from shipgraph.scan.finding import BOMB, UNREADABLE, UNSCANNABLE
from shipgraph.scan.limits import Limits
from shipgraph.scan.severity import Severity

if TYPE_CHECKING:
    from collections.abc import Callable

MB = 1 << 20
SMALL = Limits(
    window=64 << 10, overlap=4 << 10, layer=8 * MB, ratio=50, free=MB, nested=4 * MB, nested_free=256 << 10,
    zipped=MB, directory=4096, members=50, depth=3, findings=20,
)  # fmt: skip


def scanned(content: bytes, *, limits: Limits = SMALL, title: str | None = None) -> ContentScan:
    scan = ContentScan(WordScanner(), limits)
    scan.blob(io.BytesIO(content), title)
    return scan


def rules(scan: ContentScan) -> set[str]:
    return {finding.rule for finding in scan.findings}


def word_paths(scan: ContentScan) -> list[str]:
    return sorted(finding.path for finding in scan.findings if finding.rule == "word")


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return out.getvalue()


@pytest.mark.parametrize(
    "pack",
    [
        lambda data: data,
        packed,
        lambda data: ZstdCompressor().compress(data, ZstdCompressor.FLUSH_FRAME),
        lambda data: packed(data[:700]) + packed(data[700:]),
    ],
    ids=["plain", "gzip", "zstd", "gzip in two members"],
)
def test_layers_in_every_form(pack: Callable[[bytes], bytes]) -> None:
    assert word_paths(scanned(pack(tar({"etc/x": WORD, "y": b"nothing"})))) == ["etc/x"]


def test_an_empty_layer_is_clean() -> None:
    assert not scanned(packed(tar({}))).findings
    assert not scanned(packed(bytes(1024))).findings


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (packed(tar({"x": bytes(3000)}))[:-20], UNSCANNABLE),
        (packed(tar({"x": b"abc" * 3000})[:2000]), UNSCANNABLE),
        (b"this is no archive" * 100, UNSCANNABLE),
        (b"7z\xbc\xaf\x27\x1c" + bytes(600), UNSCANNABLE),
        (packed(bytes(9 * MB)), BOMB),
    ],
    ids=["truncated gzip", "truncated tar", "text", "7z", "bomb"],
)
def test_a_layer_that_cant_be_scanned_fails(content: bytes, rule: str) -> None:
    scan = scanned(content)
    assert rules(scan) == {rule}
    assert all(finding.severity is Severity.HIGH for finding in scan.findings)


def test_a_bomb_of_zeros_in_a_file_of_a_layer_is_stopped_by_its_ratio() -> None:
    scan = scanned(tar({"big.gz": gzip.compress(bytes(3 * MB)), "after": WORD}))
    assert BOMB in rules(scan)
    assert word_paths(scan) == ["after"]  # the rest of the layer is still looked at


def test_nested_bombs() -> None:
    content = bytes(900 << 10)
    zipped_bomb = tar({"a.zip": zipped({f"{number}": content for number in range(8)})})
    assert BOMB in rules(scanned(zipped_bomb))
    deep = WORD
    for _ in range(6):
        deep = packed(deep)
    assert BOMB in rules(scanned(tar({"deep.gz": deep})))
    many = tar({"many.zip": zipped({f"{number}": b"x" for number in range(60)})})
    assert BOMB in rules(scanned(many, limits=Limits(members=50)))
    long_list = tar({"long.zip": zipped({"n" * 200 + str(number): b"x" for number in range(40)})})
    assert BOMB in rules(scanned(long_list))


def test_a_large_file_is_read_in_windows_and_a_secret_across_two_is_found() -> None:
    scanner = WordScanner()
    scan = ContentScan(scanner, SMALL)
    edge = SMALL.window - 10
    content = b"\n" * edge + WORD + b"a" * (5 * MB)
    scan.blob(io.BytesIO(tar({"big": content})))
    (finding,) = scan.findings
    assert (finding.path, finding.line) == ("big", edge + 1)
    assert scanner.largest <= SMALL.window
    assert scan.bytes == len(content) + 10 * 512 - 1024 or scan.bytes >= len(content)


def test_names_do_no_harm_and_are_printable() -> None:
    names = ("../../etc/passwd", "/abs", "a\x1b[31mred", "x" * 3000, f"dir/{WORD.decode()}")
    paths = word_paths(scanned(tar(dict.fromkeys(names, WORD))))
    assert len(paths) == 5
    assert "../../etc/passwd" in paths
    assert all(path.isprintable() and len(path) <= 520 and WORD.decode() not in path for path in paths)


def test_what_follows_the_end_of_an_archive_is_found() -> None:
    assert word_paths(scanned(tar({"x": b"y"}) + b"hidden " + WORD)) == [AFTER_END]
    assert word_paths(scanned(packed(tar({"x": b"y"})) + b"hidden " + WORD)) == [AFTER_END]


def test_free_text_in_headers_is_found() -> None:
    import tarfile

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("x")
        info.pax_headers = {"comment": WORD.decode()}
        archive.addfile(info, io.BytesIO(b""))
    assert word_paths(scanned(out.getvalue())) == ["x (extended headers)"]


def test_a_broken_archive_in_a_layer_is_scanned_as_it_is_and_does_not_fail() -> None:
    broken = zipped({"a": b"x" * 100}, zipfile.ZIP_STORED)[:-30] + WORD
    scan = scanned(tar({"a.zip": broken, "b.gz": b"\x1f\x8b\x08" + WORD, "c.tar.gz": packed(tar({"d": WORD}))[:-9]}))
    assert {finding.severity for finding in scan.findings if finding.rule == UNREADABLE} == {Severity.MEDIUM}
    assert {"a.zip", "b.gz"} <= set(word_paths(scan))


def test_an_encrypted_member_is_told() -> None:
    data = bytearray(zipped({"secret.txt": b"nothing"}))
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(magic) + offset] |= 1
    scan = scanned(tar({"a.zip": bytes(data)}))
    assert [(f.rule, f.path) for f in scan.findings] == [(UNREADABLE, "a.zip!secret.txt")]


def test_an_artifact_may_be_any_file() -> None:
    assert word_paths(scanned(b"{}" + WORD, title="sbom.json")) == ["sbom.json"]
    assert word_paths(scanned(packed(tar({"a": WORD})), title="payload.tar.gz")) == ["a"]


def test_too_many_findings_are_counted_and_one_secret_in_a_file_is_one() -> None:
    scan = scanned(tar({f"file-{number}": WORD + b"\n" + WORD for number in range(30)}))
    assert len(scan.findings) == 20
    assert scan.more == 10


def test_a_tar_header_that_asks_for_memory_is_refused() -> None:
    import tarfile

    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 3 * MB
    assert rules(scanned(info.tobuf() + bytes(3 * MB))) == {UNSCANNABLE}
