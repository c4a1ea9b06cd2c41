"""A build's context as one hash: paths, executable bits, link targets and contents, nothing of the machine."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio.to_thread
import msgspec

from shipgraph.build.dockerignore import Ignore, ignore_file
from shipgraph.errors import ConfigurationError
from shipgraph.events import Note, Progressed, silent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from shipgraph.events import Emit

LARGE: Final = 512 << 20
"""Bytes; a context over this is worth a word: it is usually a forgotten folder."""
_BATCH: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, folder or link of a context; ``path`` is relative, ``size`` 0 for all but files."""

    path: str
    kind: str
    size: int = 0
    target: str = ""
    executable: bool = False


@dataclass(frozen=True, slots=True)
class Context:
    """A context that has been read: what it hashes to, how many files and bytes it has, and its ignore file."""

    folder: Path
    hash: str
    files: int
    size: int
    ignore_file: Path | None


async def read_context(folder: Path, dockerfile: Path, *, emit: Emit = silent, task: str = "context") -> Context:
    """Walk and hash the files that a builder would be given.

    Raises:
        ConfigurationError: the folder isn't there, something in it can't be read or is no file, folder or link.
    """
    found = ignore_file(folder, dockerfile)
    entries = await anyio.to_thread.run_sync(scan_context, folder, found)
    total = sum(entry.size for entry in entries)
    if total > LARGE:
        text = f"{folder} is a large build context: {total >> 20} MiB; leave out what the image doesn't use in {{}}"
        emit(Note(text.format(found or folder / ".dockerignore"), warning=True))
    hasher = hashlib.sha256()
    done = 0
    for batch in _batches(entries):
        lines = await anyio.to_thread.run_sync(_lines, folder, batch)
        hasher.update(lines)
        done += sum(entry.size for entry in batch)
        if total > _BATCH:
            emit(Progressed(task, done, total))
    return Context(folder, hasher.hexdigest(), sum(entry.kind == "file" for entry in entries), total, found)


def scan_context(folder: Path, ignore: Path | None) -> list[Entry]:
    """The context's entries, sorted by path.

    Raises:
        ConfigurationError: see ``read_context``.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"the build context {folder} is not a folder")
    rules = Ignore()
    if ignore is not None:
        rules = Ignore.parse(ignore.read_text(encoding="utf-8", errors="surrogateescape"), file=str(ignore))
    try:
        return sorted(_walk(folder, "", rules), key=lambda entry: entry.path)
    except OSError as error:
        raise ConfigurationError(f"the build context can't be read: {error.filename}: {error.strerror}") from error


def _walk(folder: Path, prefix: str, rules: Ignore) -> Iterator[Entry]:
    with os.scandir(folder) as listing:
        for item in listing:
            path = prefix + item.name
            covered = rules.covers(path)
            if item.is_dir(follow_symlinks=False):
                if not covered:
                    yield Entry(path, "folder")
                if not covered or rules.may_hold(path):
                    yield from _walk(folder / item.name, path + "/", rules)
            elif not covered:
                yield _entry(item, path)


def _entry(item: os.DirEntry[str], path: str) -> Entry:
    if item.is_symlink():
        return Entry(path, "link", target=os.readlink(item.path))  # noqa: PTH115 (an entry of scandir)
    info = item.stat(follow_symlinks=False)
    if not stat.S_ISREG(info.st_mode):
        raise ConfigurationError(
            f"{item.path} in the build context is a socket, pipe or device, which no image can hold",
            hint="remove it, or name it in .dockerignore",
        )
    return Entry(path, "file", size=info.st_size, executable=bool(info.st_mode & 0o111))


def _batches(entries: list[Entry]) -> Iterator[list[Entry]]:
    """Pieces of work that keep the event loop awake: some 64 MiB, or some thousand files, at a time."""
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        batch.append(entry)
        size += entry.size
        if size >= _BATCH or len(batch) >= 4096:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _lines(folder: Path, entries: list[Entry]) -> bytes:
    out = []
    for entry in entries:
        content = ""
        if entry.kind == "file":
            try:
                with (folder / entry.path).open("rb") as file:
                    content = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                raise ConfigurationError(
                    f"the build context can't be read: {error.filename}: {error.strerror}"
                ) from error
        name = entry.path.encode("utf-8", "surrogateescape").hex()
        target = entry.target.encode("utf-8", "surrogateescape").hex()
        out.append(msgspec.json.encode([name, entry.kind, entry.executable, content or target]))
    return b"".join(line + b"\n" for line in out)
