"""What is in the ledger's tables: packages and versions as values, and how they are read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

VERSION_BY_ID: Final = (
    "SELECT id, digest, downloads, created_at, updated_at, deleted_at, lost_tags FROM versions "
    "WHERE package = ? AND id = ?"
)
LIVE_VERSION: Final = (
    "SELECT id, digest, downloads, created_at, updated_at, deleted_at, lost_tags FROM versions "
    "WHERE package = ? AND digest = ? AND deleted_at IS NULL"
)
ACTIVE: Final = (
    "SELECT id, digest, downloads, created_at, updated_at, deleted_at, lost_tags FROM versions "
    "WHERE package = ? AND (deleted_at IS NULL OR deleted_at > ?) ORDER BY id DESC LIMIT ? OFFSET ?"
)
DELETED: Final = (
    "SELECT id, digest, downloads, created_at, updated_at, deleted_at, lost_tags FROM versions "
    "WHERE package = ? AND deleted_at > ? ORDER BY id DESC LIMIT ? OFFSET ?"
)
COUNT_ACTIVE: Final = "SELECT count(*) FROM versions WHERE package = ? AND (deleted_at IS NULL OR deleted_at > ?)"
COUNT_DELETED: Final = "SELECT count(*) FROM versions WHERE package = ? AND deleted_at > ?"


@dataclass(frozen=True, slots=True)
class Package:
    """A container package: what registries call a repository."""

    id: int
    full_name: str
    visibility: str
    repository: str | None
    created_at: float
    updated_at: float
    deleted_at: float | None
    grants: frozenset[str] = frozenset()
    """Repositories, in lower case, whose workflows were given access."""

    @property
    def owner(self) -> str:
        """The login of whom it belongs to."""
        return self.full_name.partition("/")[0]

    @property
    def name(self) -> str:
        """The name below the owner; it may hold slashes."""
        return self.full_name.partition("/")[2]


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a package: one manifest, with all the tags that point at it."""

    id: int
    digest: str
    tags: tuple[str, ...]
    downloads: int
    created_at: float
    updated_at: float
    deleted_at: float | None


def find_package(db: sqlite3.Connection, full_name: str) -> Package | None:
    """The package of that name that is there."""
    row = db.execute("SELECT id FROM packages WHERE full_name = ? AND deleted_at IS NULL", (full_name,)).fetchone()
    return None if row is None else load_package(db, row[0])


def load_package(db: sqlite3.Connection, identifier: int) -> Package:
    """A package by its number."""
    row = db.execute(
        "SELECT full_name, visibility, repository, created_at, updated_at, deleted_at FROM packages WHERE id = ?",
        (identifier,),
    ).fetchone()
    name, visibility, repository, created, updated, deleted = row
    grants = db.execute("SELECT repository FROM grants WHERE package = ?", (identifier,)).fetchall()
    granted = frozenset(grant[0] for grant in grants)
    return Package(identifier, name, visibility, repository, created, updated, deleted, granted)


def read_version(db: sqlite3.Connection, package: int, row: Sequence[Any]) -> Version:
    """A version from its row, with its tags."""
    identifier, digest, downloads, created, updated, deleted, lost = row
    if deleted is None:
        found = db.execute("SELECT tag FROM tags WHERE package = ? AND digest = ? ORDER BY tag", (package, digest))
        tags = tuple(tag[0] for tag in found)
    else:
        tags = tuple(json.loads(lost))
    return Version(identifier, digest, tags, downloads, created, updated, deleted)


def is_live(db: sqlite3.Connection, package: int, digest: str) -> bool:
    """Whether a digest is a version of the package."""
    query = "SELECT 1 FROM versions WHERE package = ? AND digest = ? AND deleted_at IS NULL"
    return db.execute(query, (package, digest)).fetchone() is not None


def digest_of_tag(db: sqlite3.Connection, package: int, tag: str) -> str | None:
    """What a tag points at."""
    row = db.execute("SELECT digest FROM tags WHERE package = ? AND tag = ?", (package, tag)).fetchone()
    return None if row is None else row[0]


def most_downloads(db: sqlite3.Connection, package: int) -> int:
    """How often the version of a package that was read most was read."""
    found: int = db.execute(
        "SELECT coalesce(max(downloads), 0) FROM versions WHERE package = ? AND deleted_at IS NULL", (package,)
    ).fetchone()[0]
    return found
