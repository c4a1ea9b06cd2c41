"""What changes in the ledger, each in the transaction of whoever asks: pushes, moves of tags, deletion, restoring."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from shipgraph.embedded.ghcr.habits import RESTORABLE, Habits
from shipgraph.embedded.ghcr.rows import (
    LIVE_VERSION,
    VERSION_BY_ID,
    Package,
    Version,
    digest_of_tag,
    find_package,
    is_live,
    read_version,
)

if TYPE_CHECKING:
    import sqlite3

SUPPORT: Final = "cannot be deleted. Contact GitHub support for further assistance."


class Undeletable(Exception):
    """What GitHub says where a version may not be deleted."""


class Changes:
    """The changes, by a registry's habits."""

    def __init__(self, habits: Habits) -> None:
        self._habits = habits

    def _now(self) -> float:
        return self._habits.clock()

    def create(self, db: sqlite3.Connection, full_name: str, visibility: str, repository: str | None) -> Package:
        """Make a package, unless there is one."""
        found = find_package(db, full_name)
        if found is None:
            now = self._now()
            db.execute(
                "INSERT INTO packages (full_name, visibility, repository, created_at, updated_at) "
                "VALUES (?, ?, ?, ?, ?)",
                (full_name, visibility, repository, now, now),
            )
            found = find_package(db, full_name)
        assert found is not None  # noqa: S101 (just made)
        return found

    def store(self, db: sqlite3.Connection, package: int, digest: str, tag: str | None) -> Version:
        """A manifest was pushed, by its digest or under a tag."""
        now = self._now()
        if not is_live(db, package, digest):
            db.execute(
                "INSERT INTO versions (package, digest, downloads, created_at, updated_at) VALUES (?, ?, 0, ?, ?)",
                (package, digest, now, now),
            )
            db.execute("UPDATE packages SET updated_at = ? WHERE id = ?", (now, package))
        if tag is not None and digest_of_tag(db, package, tag) != digest:
            self.move(db, package, tag, digest)
            db.execute("UPDATE packages SET updated_at = ? WHERE id = ?", (now, package))
        row = db.execute(LIVE_VERSION, (package, digest)).fetchone()
        return read_version(db, package, row)

    def move(self, db: sqlite3.Connection, package: int, tag: str, digest: str | None) -> None:
        """Let a tag point elsewhere (None: nowhere). Both versions that it concerns count as updated."""
        now, old = self._now(), digest_of_tag(db, package, tag)
        if digest is None:
            db.execute("DELETE FROM tags WHERE package = ? AND tag = ?", (package, tag))
        else:
            db.execute("INSERT OR REPLACE INTO tags VALUES (?, ?, ?)", (package, tag, digest))
        db.execute(
            "UPDATE versions SET updated_at = ? WHERE package = ? AND digest IN (?, ?) AND deleted_at IS NULL",
            (now, package, old, digest),
        )
        if self._habits.lag:
            db.execute("DELETE FROM moves WHERE at <= ?", (now - self._habits.lag,))
            db.execute(
                "INSERT INTO moves (package, tag, was, became, at) VALUES (?, ?, ?, ?, ?)",
                (package, tag, old, digest, now),
            )

    def behind(self, db: sqlite3.Connection, package: int, tag: str) -> tuple[str | None] | None:
        """What a tag was as long ago as the lag; None if it has not changed since then."""
        if not self._habits.lag:
            return None
        row = db.execute(
            "SELECT was FROM moves WHERE package = ? AND tag = ? AND at > ? ORDER BY id LIMIT 1",
            (package, tag, self._now() - self._habits.lag),
        ).fetchone()
        return None if row is None else (row[0],)

    def delete(self, db: sqlite3.Connection, package: Package, identifier: int) -> Version | None:
        """Mark a version as deleted, with its tags; None if it is not there.

        Raises:
            Undeletable: GitHub refuses.
        """
        row = db.execute(VERSION_BY_ID, (package.id, identifier)).fetchone()
        version = None if row is None else read_version(db, package.id, row)
        if version is None or version.deleted_at is not None:
            return None
        limit = self._habits.max_downloads
        if package.visibility == "public" and version.downloads > limit:
            raise Undeletable(f"Publicly visible package versions with more than {limit} downloads {SUPPORT}")
        instead = "You must delete the package instead."
        others = "SELECT 1 FROM versions WHERE package = ? AND id != ? AND deleted_at IS NULL LIMIT 1"
        if db.execute(others, (package.id, identifier)).fetchone() is None:
            raise Undeletable(f"You cannot delete the last version of a package. {instead}")
        tagged = "SELECT 1 FROM tags WHERE package = ? AND digest != ? LIMIT 1"
        if version.tags and db.execute(tagged, (package.id, version.digest)).fetchone() is None:
            raise Undeletable(f"You cannot delete the last tagged version of a package. {instead}")
        for tag in version.tags:
            self.move(db, package.id, tag, None)
        now = self._now()
        db.execute(
            "UPDATE versions SET deleted_at = ?, updated_at = ?, lost_tags = ? WHERE id = ?",
            (now, now, json.dumps(version.tags), identifier),
        )
        db.execute("UPDATE packages SET updated_at = ? WHERE id = ?", (now, package.id))
        return version

    def restore(self, db: sqlite3.Connection, package: Package, identifier: int) -> Version | None:
        """Bring a version back with those of its tags that are free; None where that can't be."""
        row = db.execute(
            "SELECT digest, lost_tags FROM versions WHERE package = ? AND id = ? AND deleted_at > ?",
            (package.id, identifier, self._now() - RESTORABLE),
        ).fetchone()
        if row is None or is_live(db, package.id, row[0]):
            return None
        now = self._now()
        db.execute(
            "UPDATE versions SET deleted_at = NULL, updated_at = ?, lost_tags = '[]' WHERE id = ?",
            (now, identifier),
        )
        for tag in json.loads(row[1]):
            if digest_of_tag(db, package.id, tag) is None:
                self.move(db, package.id, tag, row[0])
        db.execute("UPDATE packages SET updated_at = ? WHERE id = ?", (now, package.id))
        found = db.execute(VERSION_BY_ID, (package.id, identifier)).fetchone()
        return read_version(db, package.id, found)
