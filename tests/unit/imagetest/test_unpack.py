"""Layers become a tree, and nothing outside of it, whatever is in them."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import io
import os
import stat
import tarfile
from typing import TYPE_CHECKING

import pytest
from backports.zstd import ZstdCompressor

from shipgraph.errors import DigestMismatch, MalformedDocument
from shipgraph.imagetest.unpack import unpack_layer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Entry = tuple[str, bytes | str | int, str]


def file(name: str, content: bytes = b"", mode: int = 0o644) -> tuple[tarfile.TarInfo, bytes]:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = len(content), mode, 1_700_000_000
    return entry, content


def special(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.mode = kind, target, 0o755
    return entry, b""


def folder(name: str, mode: int = 0o755) -> tuple[tarfile.TarInfo, bytes]:
    entry, _ = special(name, tarfile.DIRTYPE)
    entry.mode = mode
    return entry, b""


def link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return special(name, tarfile.SYMTYPE, target)


def hard(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return special(name, tarfile.LNKTYPE, target)


class Tree:
    """A root, and what is beside it, which nothing may touch."""

    def __init__(self, place: Path) -> None:
        self.root, self.beside = place / "root", place / "beside"
        self.root.mkdir()
        self.beside.write_text("untouched")
        self._archive = place / "layer"

    def layer(self, *entries: tuple[tarfile.TarInfo, bytes], pack: Callable[[bytes], bytes] = gzip.compress) -> None:
        plain = io.BytesIO()
        with tarfile.open(fileobj=plain, mode="w") as tar:
            for entry, content in entries:
                entry.uid = entry.gid = os.geteuid()
                tar.addfile(entry, io.BytesIO(content))
        content = plain.getvalue()
        self._archive.write_bytes(pack(content))
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        unpack_layer(self._archive, self.root, diff_id=digest, where="layer")

    def names(self) -> set[str]:
        return {str(path.relative_to(self.root)) for path in self.root.rglob("*")}


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def zstd(content: bytes) -> bytes:
    return ZstdCompressor().compress(content, ZstdCompressor.FLUSH_FRAME)


@pytest.mark.parametrize("pack", [gzip.compress, zstd, bytes], ids=["gzip", "zstd", "plain"])
def test_files_folders_links(tree: Tree, pack: Callable[[bytes], bytes]) -> None:
    tree.layer(
        folder("./usr"), folder("usr/bin"), file("usr/bin/tool", b"#!", 0o4755), link("bin", "usr/bin"),
        hard("usr/bin/same", "usr/bin/tool"), special("pipe", tarfile.FIFOTYPE), pack=pack,
    )  # fmt: skip
    assert (tree.root / "bin" / "tool").read_bytes() == b"#!"
    found = (tree.root / "usr/bin/tool").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_nlink, found.st_mtime) == (0o4755, 2, 1_700_000_000)
    assert stat.S_ISFIFO((tree.root / "pipe").stat().st_mode)


def test_a_later_layer_goes_through_links_as_the_container_sees_them(tree: Tree) -> None:
    tree.layer(folder("usr"), folder("usr/bin"), link("bin", "/usr/bin"), link("up", "../../../../usr"))
    tree.layer(file("bin/one"), file("up/bin/two"))
    assert {"usr/bin/one", "usr/bin/two"} <= tree.names()
    assert (tree.root / "bin").is_symlink()


def test_whiteouts_remove_what_is_below_them(tree: Tree) -> None:
    tree.layer(
        folder("a"), file("a/one"), file("a/two"), folder("a/deep"), file("a/deep/x"), folder("b"), file("b/old")
    )
    tree.layer(file("a/.wh.one"), file("a/.wh.deep"), folder("b"), file("b/new"), file("b/.wh..wh..opq"))
    assert tree.names() == {"a", "a/two", "b", "b/new"}


def test_a_file_takes_a_folders_place_and_a_folder_a_links(tree: Tree) -> None:
    tree.layer(folder("a"), file("a/x"), link("b", "a"), file("c"))
    tree.layer(file("a", b"now a file"), folder("b"), folder("c"))
    assert (tree.root / "a").read_bytes() == b"now a file"
    assert (tree.root / "b").is_dir()
    assert not (tree.root / "b").is_symlink()


@pytest.mark.parametrize(
    "entries",
    [
        [file("../beside", b"evil")],
        [file("a/../../beside", b"evil")],
        [hard("x", "../beside"), file("x", b"evil")],
        [hard("x", "nothing")],
        [file(".wh...")],
        [file(".wh..")],
        [link("a", "b"), link("b", "a"), file("a/x", b"evil")],
    ],
)
def test_what_leads_out_or_nowhere_is_refused(tree: Tree, entries: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    with pytest.raises(MalformedDocument):
        tree.layer(*entries)
    assert tree.beside.read_text() == "untouched"


@pytest.mark.parametrize("target", ["..", "../..", "../beside", "/../beside", "/"])
def test_links_that_lead_out_stay_within(tree: Tree, target: str) -> None:
    tree.layer(link("x", target))
    with contextlib.suppress(MalformedDocument):
        tree.layer(file("x/beside", b"evil"), file("x", b"evil"))
    assert tree.beside.read_text() == "untouched"
    assert not (tree.beside.parent / "beside.new").exists()


def test_a_link_is_replaced_and_not_written_through(tree: Tree) -> None:
    tree.layer(link("x", str(tree.beside)))
    tree.layer(file("x", b"evil"))
    assert tree.beside.read_text() == "untouched"


def test_devices_are_left_out(tree: Tree) -> None:
    tree.layer(special("null", tarfile.CHRTYPE), special("disk", tarfile.BLKTYPE))
    assert tree.names() == set()


def test_another_content_than_the_configuration_says_is_refused(tree: Tree, tmp_path: Path) -> None:
    tree.layer(file("a"))
    with pytest.raises(DigestMismatch):
        unpack_layer(tmp_path / "layer", tree.root, diff_id="sha256:" + "0" * 64, where="layer")


@pytest.mark.parametrize(
    "content",
    [
        b"not a tar" * 200,
        gzip.compress(b"not a tar" * 200, mtime=0),
        b"\x1f\x8b\x08 broken",
        zstd(bytes(4096))[:-3],
        bz2.compress(bytes(4096)),
    ],
    ids=["text", "text in gzip", "broken gzip", "cut zstd", "bzip2"],
)
def test_what_is_no_layer_is_refused(tree: Tree, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "layer").write_bytes(content)
    with pytest.raises(MalformedDocument):
        unpack_layer(tmp_path / "layer", tree.root, diff_id="sha256:" + "0" * 64, where="layer")


def test_a_bomb_is_bounded(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shipgraph.imagetest.unpack.MOST_BYTES", 1 << 16)
    with pytest.raises(MalformedDocument, match="more than"):
        tree.layer(file("zeros", bytes(1 << 20)))
    monkeypatch.setattr("shipgraph.imagetest.unpack.MOST_BYTES", 1 << 30)
    monkeypatch.setattr("shipgraph.imagetest.unpack.MOST_ENTRIES", 10)
    with pytest.raises(MalformedDocument, match="entries"):
        tree.layer(*(file(f"f{number}") for number in range(11)))
