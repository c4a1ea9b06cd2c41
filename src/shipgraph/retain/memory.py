"""Content that was read once, kept on this disk by digest: a file that saves requests, and is never believed.

Each body is hashed when it is taken out; one that is wrong counts as missing and is thrown away. A file that SQLite
can't read is thrown away as a whole, and a disk that won't take it is no reason to fail.
"""

from __future__ import annotations

import sqlite3
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from shipgraph.errors import InvalidReference
from shipgraph.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FILE: Final = "manifests.sqlite"
_SCHEMA: Final = "CREATE TABLE IF NOT EXISTS content (digest TEXT PRIMARY KEY, kind TEXT NOT NULL, body BLOB NOT NULL)"
_PATIENCE: Final = 30.0


class ContentMemory:
    """Bodies and their media types by digest. All methods block; any number of threads and processes may use one file.

    Args:
        folder: where the file is; None: nothing outlives the process.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / FILE
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def get(self, digests: Iterable[str]) -> dict[str, tuple[str, bytes]]:
        """Those that are remembered, as media type and body."""
        found: dict[str, tuple[str, bytes]] = {}
        wrong: list[tuple[str]] = []
        with self._lock:
            database = self._open()
            try:
                for digest in digests:
                    row = database.execute("SELECT kind, body FROM content WHERE digest = ?", (digest,)).fetchone()
                    if row is None:
                        continue
                    if _is_right(digest, row[1]):
                        found[digest] = row[0], row[1]
                    else:
                        wrong.append((digest,))
                if wrong:
                    database.executemany("DELETE FROM content WHERE digest = ?", wrong)
            except sqlite3.Error:
                self._start_anew()
        return found

    def put(self, contents: Iterable[tuple[str, str, bytes]]) -> None:
        """Remember bodies: digest, media type, body."""
        with self._lock:
            database = self._open()
            try:
                database.execute("BEGIN IMMEDIATE")
                database.executemany("INSERT OR REPLACE INTO content VALUES (?, ?, ?)", contents)
                database.execute("COMMIT")
            except sqlite3.Error:
                with suppress(sqlite3.Error):
                    database.execute("ROLLBACK")

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            try:
                self._connection = self._connect()
            except (sqlite3.Error, OSError):
                self._start_anew()
        assert self._connection is not None  # noqa: S101 (there is always one in memory)
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        if self._path is None:
            return _prepared(":memory:")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return _prepared(str(self._path))

    def _start_anew(self) -> None:
        """Throw a broken file away; if that doesn't help either, remember in memory."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
        try:
            if self._path is not None:
                for ending in ("", "-wal", "-shm"):
                    self._path.with_name(self._path.name + ending).unlink(missing_ok=True)
            self._connection = self._connect()
        except (sqlite3.Error, OSError):
            self._path = None
            self._connection = self._connect()


def _prepared(name: str) -> sqlite3.Connection:
    database = sqlite3.connect(name, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute(_SCHEMA)
    except BaseException:
        database.close()
        raise
    return database


def _is_right(digest: str, body: object) -> bool:
    try:
        wanted = Digest.parse(digest)
    except InvalidReference:
        return False
    if not isinstance(body, bytes):
        return False
    hasher = wanted.hasher()
    hasher.update(body)
    return bool(hasher.hexdigest() == wanted.hex)
