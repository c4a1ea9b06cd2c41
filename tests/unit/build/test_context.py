"""A context's hash: what counts and what doesn't."""

from __future__ import annotations

import os
import shutil
import socket
from typing import TYPE_CHECKING

import pytest

from shipgraph.build.context import read_context, scan_context
from shipgraph.errors import ConfigurationError
from shipgraph.events import Event, Note, Progressed

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    (folder / "src").mkdir(parents=True)
    (folder / "Dockerfile").write_text("FROM scratch\n")
    (folder / "src" / "a").write_text("a")
    (folder / "src" / "run").write_text("#!/bin/sh\n")
    (folder / "src" / "run").chmod(0o755)
    (folder / "link").symlink_to("src/a")
    return folder


async def hashed(folder: Path) -> str:
    return (await read_context(folder, folder / "Dockerfile")).hash


async def test_a_copy_elsewhere_with_other_times_and_umask_is_the_same(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other, symlinks=True)
    for path in other.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    (other / "src" / "a").chmod(0o600)
    assert await hashed(folder) == await hashed(other)


async def test_everything_that_an_image_would_see_counts(folder: Path) -> None:
    seen = {await hashed(folder)}

    async def changed() -> None:
        value = await hashed(folder)
        assert value not in seen
        seen.add(value)

    (folder / "src" / "a").write_text("b")
    await changed()
    (folder / "src" / "a").chmod(0o755)
    await changed()
    (folder / "link").unlink()
    (folder / "link").symlink_to("src/run")
    await changed()
    (folder / "src" / "a").rename(folder / "src" / "b")
    await changed()
    (folder / "empty").mkdir()
    await changed()


async def test_ignored_files_do_not_count(folder: Path) -> None:
    (folder / ".dockerignore").write_text("cache\n*.log\n.dockerignore\n")
    before = await hashed(folder)
    (folder / "cache").mkdir()
    (folder / "cache" / "x").write_text("x")
    (folder / "a.log").write_text("x")
    assert await hashed(folder) == before
    assert [entry.path for entry in scan_context(folder, folder / ".dockerignore")] == [
        "Dockerfile", "link", "src", "src/a", "src/run",
    ]  # fmt: skip


async def test_names_that_are_not_text(folder: Path) -> None:
    before = await hashed(folder)
    (folder / os.fsdecode(b"\xff")).write_text("x")
    assert await hashed(folder) != before


async def test_sockets_and_pipes_are_refused(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(ConfigurationError, match="pipe in the build context is a socket"):
        await hashed(folder)
    (folder / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "s"))
        with pytest.raises(ConfigurationError, match="socket, pipe or device"):
            await hashed(folder)
        (folder / ".dockerignore").write_text("s")
        await hashed(folder)


async def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is not a folder"):
        await hashed(tmp_path / "nothing")


async def test_a_large_context_is_worth_a_word(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shipgraph.build.context.LARGE", 5)
    monkeypatch.setattr("shipgraph.build.context._BATCH", 5)
    events: list[Event] = []
    context = await read_context(folder, folder / "Dockerfile", emit=events.append, task="t")
    assert any(isinstance(event, Note) and ".dockerignore" in event.text for event in events)
    assert [event for event in events if isinstance(event, Progressed)][-1] == Progressed(
        "t", context.size, context.size
    )
    assert context.files == 3
