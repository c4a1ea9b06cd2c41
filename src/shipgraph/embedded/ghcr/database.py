"""The ledger's file: its tables, and how it is opened."""

from __future__ import annotations

import secrets
import sqlite3
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_PATIENCE: Final = 60.0  # seconds that one process waits for another's transaction

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS packages (
  id INTEGER PRIMARY KEY AUTOINCREMENT, full_name TEXT NOT NULL, visibility TEXT NOT NULL, repository TEXT,
  created_at REAL NOT NULL, updated_at REAL NOT NULL, deleted_at REAL);
CREATE UNIQUE INDEX IF NOT EXISTS live_packages ON packages (full_name) WHERE deleted_at IS NULL;
CREATE TABLE IF NOT EXISTS grants (
  package INTEGER NOT NULL, repository TEXT NOT NULL, PRIMARY KEY (package, repository)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS versions (
  id INTEGER PRIMARY KEY AUTOINCREMENT, package INTEGER NOT NULL, digest TEXT NOT NULL, downloads INTEGER NOT NULL,
  created_at REAL NOT NULL, updated_at REAL NOT NULL, deleted_at REAL, lost_tags TEXT NOT NULL DEFAULT '[]');
CREATE UNIQUE INDEX IF NOT EXISTS live_versions ON versions (package, digest) WHERE deleted_at IS NULL;
CREATE INDEX IF NOT EXISTS versions_by_package ON versions (package, id);
CREATE TABLE IF NOT EXISTS tags (
  package INTEGER NOT NULL, tag TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (package, tag)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tags_by_digest ON tags (package, digest);
CREATE TABLE IF NOT EXISTS moves (
  id INTEGER PRIMARY KEY, package INTEGER NOT NULL, tag TEXT NOT NULL, was TEXT, became TEXT, at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS moves_by_tag ON moves (package, tag, id);
CREATE TABLE IF NOT EXISTS blobs (
  name TEXT NOT NULL, digest TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (name, digest)) WITHOUT ROWID;
"""


def open_database(path: Path) -> sqlite3.Connection:
    """Open the file, and make what is missing of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # several threads use it, one at a time
    db = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.executescript(_SCHEMA)
    except BaseException:
        db.close()
        raise
    return db


def secret_of(db: sqlite3.Connection) -> bytes:
    """A key known to all who use the file; made by the first."""
    db.execute("INSERT OR IGNORE INTO facts VALUES ('secret', ?)", (secrets.token_bytes(32),))
    found: bytes = db.execute("SELECT value FROM facts WHERE key = 'secret'").fetchone()[0]
    return found
