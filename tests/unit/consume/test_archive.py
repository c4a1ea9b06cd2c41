"""Payloads that must not be unpacked, and one that may."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from typing import TYPE_CHECKING

import pytest

from shipgraph.consume.archive import Bounds, unpack_payload
from shipgraph.errors import MalformedDocument, Refused, ShipgraphError

if TYPE_CHECKING:
    from pathlib import Path

Entry = tuple[tarfile.TarInfo, bytes]


def file(name: str, content: bytes = b"x", mode: int = 0o644) -> Entry:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    return entry, content


def special(name: str, kind: bytes, target: str = "") -> Entry:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry, b""


def sums(*entries: Entry) -> Entry:
    lines = [f"{hashlib.sha256(content).hexdigest()}  {entry.name}\n" for entry, content in entries]
    return file("SHA256SUMS", "".join(lines).encode())


def pack(place: Path, *entries: Entry) -> Path:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for entry, content in entries:
            tar.addfile(entry, io.BytesIO(content))
    place.write_bytes(gzip.compress(plain.getvalue()))
    return place


def unpack(tmp_path: Path, *entries: Entry, bounds: Bounds | None = None) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    unpack_payload(pack(tmp_path / "payload", *entries), folder, bounds=bounds)
    return folder


def test_an_honest_payload(tmp_path: Path) -> None:
    run, text = file("bin/run", b"#!/bin/sh\n", 0o755), file("text", b"text")
    folder = unpack(tmp_path, run, text, sums(run, text))
    assert (folder / "bin/run").stat().st_mode & 0o777 == 0o755
    assert (folder / "text").read_bytes() == b"text"


def test_rights_are_only_those_of_files_and_programs(tmp_path: Path) -> None:
    evil = file("evil", b"x", 0o6777)
    folder = unpack(tmp_path, evil, sums(evil))
    assert (folder / "evil").stat().st_mode & 0o7777 == 0o755


GOOD = file("good")


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([file("../evil")], "leads out"),
        ([file("/etc/evil")], "leads out"),
        ([file("a/../../evil")], "leads out"),
        ([file("a/./evil")], "leads out"),
        ([file("a//evil")], "leads out"),
        ([file("..")], "leads out"),
        ([file("a\\evil")], "leads out"),
        ([file("a\nevil")], "printed"),
        ([file("\x1b[31mevil")], "printed"),
        ([file("a/" * 600 + "evil")], "leads out"),
        ([special("evil", tarfile.SYMTYPE, "/etc/passwd")], "a link"),
        ([special("evil", tarfile.SYMTYPE, ".."), file("evil/x")], "a link"),
        ([GOOD, special("evil", tarfile.LNKTYPE, "good")], "a link"),
        ([special("evil", tarfile.CHRTYPE)], "a device"),
        ([special("evil", tarfile.BLKTYPE)], "a device"),
        ([special("evil", tarfile.FIFOTYPE)], "a device"),
        ([GOOD, GOOD], "twice"),
        ([GOOD, file("good/below")], "a file and a folder"),
        ([file("deep/x"), file("deep")], "a file and a folder"),
        ([GOOD], "no SHA256SUMS"),
        ([GOOD, sums()], "disagree: good"),
        ([GOOD, sums(GOOD, file("absent"))], "disagree: absent"),
        ([GOOD, sums(file("good", b"other"))], "disagree: good"),
        ([GOOD, file("SHA256SUMS", b"nonsense\n")], "has the line"),
    ],
)
def test_what_no_payload_may_hold_is_refused(tmp_path: Path, entries: list[Entry], said: str) -> None:
    with pytest.raises(Refused, match=said):
        unpack(tmp_path, *entries)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"folder", "payload"}


def test_bombs_are_bounded(tmp_path: Path) -> None:
    zeros = file("zeros", bytes(20 << 20))
    with pytest.raises(Refused, match="bomb"):
        unpack(tmp_path, zeros, sums(zeros), bounds=Bounds(small=1 << 20))
    (tmp_path / "folder").rename(tmp_path / "first")
    with pytest.raises(Refused, match="bomb"):
        unpack(tmp_path, zeros, sums(zeros), bounds=Bounds(most_bytes=1 << 20))
    (tmp_path / "folder").rename(tmp_path / "second")
    many = [file(f"f{number}") for number in range(20)]
    with pytest.raises(Refused, match="entries"):
        unpack(tmp_path, *many, sums(*many), bounds=Bounds(most_entries=10))


def test_a_bomb_behind_the_archives_end_is_bounded(tmp_path: Path) -> None:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for entry, content in (GOOD, sums(GOOD)):
            tar.addfile(entry, io.BytesIO(content))
    (tmp_path / "payload").write_bytes(gzip.compress(plain.getvalue() + bytes(20 << 20)))
    (tmp_path / "folder").mkdir()
    with pytest.raises(Refused, match="bomb"):
        unpack_payload(tmp_path / "payload", tmp_path / "folder", bounds=Bounds(small=1 << 20))


@pytest.mark.parametrize(
    "content",
    [b"", b"nonsense", gzip.compress(b"nonsense" * 200, mtime=0), gzip.compress(b"x", mtime=0)[:-4]],
    ids=range(4),
)
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "payload").write_bytes(content)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ShipgraphError) as raised:
        unpack_payload(tmp_path / "payload", tmp_path / "folder")
    assert isinstance(raised.value, (MalformedDocument, Refused))
