"""The tar reader beside the standard library's, and on archives that were made to hurt."""

from __future__ import annotations

import io
import tarfile
import zlib
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shipgraph.errors import MalformedDocument
from shipgraph.layers.compression import Compression, Decompressed
from shipgraph.layers.tar import TarReader, looks_like_tar

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=60)
FILES = st.dictionaries(st.lists(NAMES, min_size=1, max_size=6).map("/".join), st.binary(max_size=1500), max_size=5)


def read(data: bytes) -> dict[str, bytes]:
    out = {}
    for member in TarReader(io.BytesIO(data)):
        content = b""
        while piece := member.read(100):
            content += piece
        if member.regular:
            out[member.path] = content
    return out


@settings(max_examples=60, deadline=None)
@given(FILES, st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]))
def test_it_reads_what_the_standard_library_writes(files: dict[str, bytes], form: int) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    assert read(out.getvalue()) == files
    assert looks_like_tar(out.getvalue())


def header(**fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo("x")
    for name, value in fields.items():
        setattr(info, name, value)
    return info


def test_members_that_are_not_read_are_skipped_and_links_have_no_content() -> None:
    data = (
        header(name="link", type=tarfile.SYMTYPE, linkname="/etc/shadow", size=5000).tobuf()
        + header(name="skipped", size=700).tobuf() + bytes(1024)
        + header(name="last", size=3).tobuf() + b"end".ljust(512, b"\0")
        + bytes(1024)
    )  # fmt: skip
    members = [(member.path, member.regular, member.size) for member in TarReader(io.BytesIO(data))]
    assert members == [("link", False, 0), ("skipped", True, 700), ("last", True, 3)]


def test_one_block_of_zeros_is_no_end() -> None:
    one = header(name="a", size=0).tobuf()
    assert list(read(one + bytes(512) + header(name="b").tobuf() + bytes(1024))) == ["a", "b"]


@pytest.mark.parametrize(
    "data",
    [
        b"\1" * 512,
        header(size=5000).tobuf() + b"x" * 100,
        header().tobuf()[:300],
        header(type=tarfile.XHDTYPE, size=1 << 30).tobuf(),
        header(type=tarfile.XHDTYPE, size=20).tobuf() + b"99999 path=x\n".ljust(512, b"\0"),
        header(type=tarfile.XHDTYPE, size=13).tobuf() + b"13 size=-123\n".ljust(512, b"\0") + header().tobuf(),
        header(type=tarfile.XGLTYPE, size=10).tobuf() + b"10 size=9\n".ljust(512, b"\0"),
        header(type=tarfile.GNUTYPE_LONGNAME, size=1 << 30).tobuf(),
    ],
    ids=["noise", "cut file", "cut header", "huge pax", "bad pax", "negative size", "global size", "huge name"],
)
def test_hostile_archives(data: bytes) -> None:
    with pytest.raises(MalformedDocument):
        read(data)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=2048))
def test_noise_never_does_anything_else(data: bytes) -> None:
    with suppress(MalformedDocument):
        read(data)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=3000), st.integers(1, 500), st.integers(0, 100))
def test_a_damaged_gzip_stream_is_an_error_or_the_content(content: bytes, piece: int, cut: int) -> None:
    packer = zlib.compressobj(wbits=31)
    data = packer.compress(content) + packer.flush()

    def unpacked(data: bytes) -> bytes:
        reader, out = Decompressed(io.BytesIO(data), Compression.GZIP), b""
        while part := reader.read(piece):
            out += part
        return out

    assert unpacked(data) == content
    assert unpacked(data + data) == content * 2
    if 0 < cut < len(data):
        with pytest.raises(MalformedDocument):
            unpacked(data[:-cut])
