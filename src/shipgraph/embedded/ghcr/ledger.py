"""What GHCR knows beyond bytes: packages, versions with their ids and times, tags, downloads, and what was deleted.

It is an SQLite file in the registry's state folder, so any number of processes may serve one root. Rules:

1. The ledger alone says which tags and versions a package has. The image layouts hold the bytes, and their tags follow.
2. Deleting only marks: for 30 days everything can come back, whatever the order. So a deleted manifest's bytes stay.
3. A version is written here after its bytes have reached the store; a crash between the two leaves unseen bytes.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio
import anyio.to_thread

from shipgraph.embedded.ghcr.habits import RESTORABLE, Habits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

T = TypeVar("T")

FILE: Final = "ghcr.sqlite"
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

_VERSION_BY_ID: Final = (
    "SELECT id, digest, downloads, created_at, updated_at, deleted_at, lost_tags FROM versions "
    "WHERE package = ? AND id = ?"
)
_LIVE_VERSION: Final = (
    "SELECT id, digest, downloads, created_at, updated_at, deleted_at, lost_tags FROM versions "
    "WHERE package = ? AND digest = ? AND deleted_at IS NULL"
)
_ACTIVE: Final = (
    "SELECT id, digest, downloads, created_at, updated_at, deleted_at, lost_tags FROM versions "
    "WHERE package = ? AND (deleted_at IS NULL OR deleted_at > ?) ORDER BY id DESC LIMIT ? OFFSET ?"
)
_DELETED: Final = (
    "SELECT id, digest, downloads, created_at, updated_at, deleted_at, lost_tags FROM versions "
    "WHERE package = ? AND deleted_at > ? ORDER BY id DESC LIMIT ? OFFSET ?"
)
_COUNT_ACTIVE: Final = "SELECT count(*) FROM versions WHERE package = ? AND (deleted_at IS NULL OR deleted_at > ?)"
_COUNT_DELETED: Final = "SELECT count(*) FROM versions WHERE package = ? AND deleted_at > ?"
_SUPPORT: Final = "cannot be deleted. Contact GitHub support for further assistance."


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


class Undeletable(Exception):
    """What GitHub says where a version may not be deleted."""


class Ledger:
    """All of it. Methods are async and may be called from any event loop; each is one transaction."""

    def __init__(self, path: Path, habits: Habits) -> None:
        self._path, self._habits = path, habits
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._secret = b""

    def close(self) -> None:
        """Let go of the file; it is opened again where it is needed."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    # --- packages

    async def secret(self) -> bytes:
        """A key known to all processes over this root."""
        if not self._secret:
            self._secret = await self._run(_secret, writes=True)
        return self._secret

    async def package(self, full_name: str) -> Package | None:
        """A package that is there."""
        return await self._run(lambda db: _package(db, full_name))

    async def ever(self, full_name: str) -> bool:
        """Whether a package of that name was ever known, even if it is deleted."""
        return await self._run(
            lambda db: db.execute("SELECT 1 FROM packages WHERE full_name = ?", (full_name,)).fetchone() is not None
        )

    async def packages(self, owner: str) -> list[Package]:
        """An owner's packages, by name; deleted ones too as long as listings lag."""

        def find(db: sqlite3.Connection) -> list[Package]:
            rows = db.execute(
                "SELECT id FROM packages WHERE full_name >= ? AND full_name < ? "
                "AND (deleted_at IS NULL OR deleted_at > ?) ORDER BY full_name, id",
                (f"{owner}/", f"{owner}0", self._now() - self._habits.listing_lag),
            ).fetchall()
            return [_load(db, row[0]) for row in rows]

        return await self._run(find)

    async def repositories(self) -> list[str]:
        """The repositories of source code that packages are connected to, the one with the most packages first."""
        query = (
            "SELECT repository FROM packages WHERE repository IS NOT NULL AND deleted_at IS NULL "
            "GROUP BY repository ORDER BY count(*) DESC, repository"
        )
        return await self._run(lambda db: [row[0] for row in db.execute(query).fetchall()])

    async def create(self, full_name: str, visibility: str, repository: str | None) -> Package:
        """Make a package, unless somebody else just did."""
        return await self._run(lambda db: self._create(db, full_name, visibility, repository), writes=True)

    async def change(
        self, full_name: str, *, visibility: str | None = None, repository: str | None = None, grant: str | None = None
    ) -> bool:
        """What people do on a package's settings page; whether there is such a package."""

        def change(db: sqlite3.Connection) -> bool:
            package = _package(db, full_name)
            if package is None:
                return False
            if visibility is not None:
                db.execute("UPDATE packages SET visibility = ? WHERE id = ?", (visibility, package.id))
            if repository is not None:
                db.execute("UPDATE packages SET repository = ? WHERE id = ?", (repository or None, package.id))
            if grant is not None:
                db.execute("INSERT OR IGNORE INTO grants VALUES (?, ?)", (package.id, grant.lower()))
            return True

        return await self._run(change, writes=True)

    async def delete_package(self, package: Package) -> None:
        """Delete a package with all that is in it."""

        def delete(db: sqlite3.Connection) -> None:
            limit = self._habits.max_downloads
            if package.visibility == "public" and _most(db, package.id) > limit:
                raise Undeletable(f"Publicly visible packages with more than {limit} downloads {_SUPPORT}")
            db.execute(
                "UPDATE packages SET deleted_at = ? WHERE id = ? AND deleted_at IS NULL", (self._now(), package.id)
            )

        await self._run(delete, writes=True)

    async def deleted_package(self, full_name: str) -> Package | None:
        """The package of that name that was deleted last, if it can still be restored."""

        def find(db: sqlite3.Connection) -> Package | None:
            row = db.execute(
                "SELECT id FROM packages WHERE full_name = ? AND deleted_at > ? "
                "ORDER BY deleted_at DESC, id DESC LIMIT 1",
                (full_name, self._now() - RESTORABLE),
            ).fetchone()
            return None if row is None else _load(db, row[0])

        return await self._run(find)

    async def restore_package(self, package: Package) -> bool:
        """Bring a package back, unless its name is in use again."""

        def restore(db: sqlite3.Connection) -> bool:
            if _package(db, package.full_name) is not None:
                return False
            db.execute("UPDATE packages SET deleted_at = NULL, updated_at = ? WHERE id = ?", (self._now(), package.id))
            return True

        return await self._run(restore, writes=True)

    # --- versions

    async def store(self, package: Package, digest: str, tag: str | None) -> Version:
        """A manifest was pushed, by its digest or under a tag."""
        return await self._run(lambda db: self._store(db, package.id, digest, tag), writes=True)

    async def live(self, package: Package, digests: Sequence[str]) -> set[str]:
        """Those of some digests that are versions of the package."""

        def find(db: sqlite3.Connection) -> set[str]:
            query = "SELECT 1 FROM versions WHERE package = ? AND digest = ? AND deleted_at IS NULL"
            return {digest for digest in digests if db.execute(query, (package.id, digest)).fetchone()}

        return await self._run(find)

    async def version(self, package: Package, identifier: int, *, deleted: bool = False) -> Version | None:
        """A version by its id: one that is there, or one that is deleted and can be restored."""

        def find(db: sqlite3.Connection) -> Version | None:
            row = db.execute(_VERSION_BY_ID, (package.id, identifier)).fetchone()
            found = None if row is None else _version(db, package.id, row)
            if found is None or (found.deleted_at is not None) != deleted:
                return None
            restorable = found.deleted_at is None or found.deleted_at > self._now() - RESTORABLE
            return found if restorable else None

        return await self._run(find)

    async def count(self, package: Package) -> int:
        """How many versions a package has."""
        query = "SELECT count(*) FROM versions WHERE package = ? AND deleted_at IS NULL"
        return await self._run(lambda db: int(db.execute(query, (package.id,)).fetchone()[0]))

    async def versions(self, package: Package, *, deleted: bool, limit: int, offset: int) -> tuple[list[Version], int]:
        """A page of versions, the newest first, and how many there are."""
        horizon = self._now() - (RESTORABLE if deleted else self._habits.listing_lag)

        def find(db: sqlite3.Connection) -> tuple[list[Version], int]:
            count = db.execute(_COUNT_DELETED if deleted else _COUNT_ACTIVE, (package.id, horizon)).fetchone()[0]
            page = (package.id, horizon, limit, offset)
            rows = db.execute(_DELETED if deleted else _ACTIVE, page).fetchall()
            return [_version(db, package.id, row) for row in rows], count

        return await self._run(find)

    async def downloaded(self, package: Package, digest: str, times: int = 1) -> None:
        """Somebody read a manifest."""
        await self._run(
            lambda db: db.execute(
                "UPDATE versions SET downloads = downloads + ? WHERE package = ? AND digest = ? AND deleted_at IS NULL",
                (times, package.id, digest),
            ),
            writes=True,
        )

    async def delete_version(self, package: Package, identifier: int) -> Version | None:
        """Delete a version with all its tags; None if it is not there.

        Raises:
            Undeletable: GitHub refuses.
        """
        return await self._run(lambda db: self._delete_version(db, package, identifier), writes=True)

    async def restore_version(self, package: Package, identifier: int) -> Version | None:
        """Bring a version back with those of its tags that are not in use; None where that can't be.

        It can't where 30 days are over, or the same manifest was pushed again.
        """

        def restore(db: sqlite3.Connection) -> Version | None:
            row = db.execute(
                "SELECT digest, lost_tags FROM versions WHERE package = ? AND id = ? AND deleted_at > ?",
                (package.id, identifier, self._now() - RESTORABLE),
            ).fetchone()
            if row is None or _is_live(db, package.id, row[0]):
                return None
            now = self._now()
            db.execute(
                "UPDATE versions SET deleted_at = NULL, updated_at = ?, lost_tags = '[]' WHERE id = ?",
                (now, identifier),
            )
            for tag in json.loads(row[1]):
                if _digest(db, package.id, tag) is None:
                    self._move(db, package.id, tag, row[0])
            db.execute("UPDATE packages SET updated_at = ? WHERE id = ?", (now, package.id))
            found = db.execute(_VERSION_BY_ID, (package.id, identifier)).fetchone()
            return _version(db, package.id, found)

        return await self._run(restore, writes=True)

    # --- tags

    async def tag(self, package: Package, tag: str) -> str | None:
        """The digest that a tag really points at."""
        return await self._run(lambda db: _digest(db, package.id, tag))

    async def seen_tag(self, package: Package, tag: str, knows: Callable[[], bool]) -> str | None:
        """The digest that a reader sees, who may be behind. ``knows``: whether this server has heard of the change."""

        def find(db: sqlite3.Connection) -> str | None:
            found = None if knows() else self._behind(db, package.id, tag)
            return _digest(db, package.id, tag) if found is None else found[0]

        return await self._run(find)

    async def seen_tags(self, package: Package) -> list[str]:
        """The tags that a reader sees, oldest first as far as that is known."""

        def find(db: sqlite3.Connection) -> list[str]:
            rows = db.execute(
                "SELECT tag FROM tags LEFT JOIN versions ON versions.package = tags.package "
                "AND versions.digest = tags.digest AND versions.deleted_at IS NULL "
                "WHERE tags.package = ? ORDER BY versions.id, tag",
                (package.id,),
            ).fetchall()
            names = [row[0] for row in rows]
            if not self._habits.lag:
                return names
            moved = {
                row[0]
                for row in db.execute(
                    "SELECT DISTINCT tag FROM moves WHERE package = ? AND at > ?",
                    (package.id, self._now() - self._habits.lag),
                )
            }
            behind = {tag: self._behind(db, package.id, tag) for tag in moved}
            hidden = {tag for tag, found in behind.items() if found is not None and found[0] is None}
            shown = [tag for tag, found in behind.items() if found is not None and found[0] is not None]
            return [*(tag for tag in names if tag not in hidden), *(tag for tag in shown if tag not in names)]

        return await self._run(find)

    # --- blobs

    async def uploaded(self, full_name: str, digest: str) -> None:
        """A blob has come; needed only where blobs lag."""
        if self._habits.blob_lag:
            await self._run(
                lambda db: db.execute(
                    "INSERT OR REPLACE INTO blobs VALUES (?, ?, ?)", (full_name, digest, self._now())
                ),
                writes=True,
            )

    async def unseen_blobs(self, full_name: str, digests: Iterable[str]) -> list[str]:
        """Those of some blobs that came so lately that not all servers have them."""
        if not self._habits.blob_lag:
            return []

        def find(db: sqlite3.Connection) -> list[str]:
            horizon = self._now() - self._habits.blob_lag
            query = "SELECT 1 FROM blobs WHERE name = ? AND digest = ? AND at > ?"
            return [digest for digest in digests if db.execute(query, (full_name, digest, horizon)).fetchone()]

        return await self._run(find)

    # --- the blocking half

    def _now(self) -> float:
        return self._habits.clock()

    async def _run(self, work: Callable[[sqlite3.Connection], T], *, writes: bool = False) -> T:
        def locked() -> T:
            with self._lock, self._transaction(writes=writes) as db:
                return work(db)

        return await anyio.to_thread.run_sync(locked)

    @contextmanager
    def _transaction(self, *, writes: bool) -> Iterator[sqlite3.Connection]:
        db = self._connection
        if db is None:
            db = self._connection = _open(self._path)
        db.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
        try:
            yield db
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")

    def _create(self, db: sqlite3.Connection, full_name: str, visibility: str, repository: str | None) -> Package:
        found = _package(db, full_name)
        if found is None:
            now = self._now()
            db.execute(
                "INSERT INTO packages (full_name, visibility, repository, created_at, updated_at) "
                "VALUES (?, ?, ?, ?, ?)",
                (full_name, visibility, repository, now, now),
            )
            found = _package(db, full_name)
        assert found is not None  # noqa: S101 (just made)
        return found

    def _store(self, db: sqlite3.Connection, package: int, digest: str, tag: str | None) -> Version:
        now = self._now()
        if not _is_live(db, package, digest):
            db.execute(
                "INSERT INTO versions (package, digest, downloads, created_at, updated_at) VALUES (?, ?, 0, ?, ?)",
                (package, digest, now, now),
            )
            db.execute("UPDATE packages SET updated_at = ? WHERE id = ?", (now, package))
        if tag is not None and _digest(db, package, tag) != digest:
            self._move(db, package, tag, digest)
            db.execute("UPDATE packages SET updated_at = ? WHERE id = ?", (now, package))
        row = db.execute(_LIVE_VERSION, (package, digest)).fetchone()
        return _version(db, package, row)

    def _move(self, db: sqlite3.Connection, package: int, tag: str, digest: str | None) -> None:
        """Let a tag point elsewhere (None: nowhere). Both versions that it concerns count as updated."""
        now, old = self._now(), _digest(db, package, tag)
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

    def _behind(self, db: sqlite3.Connection, package: int, tag: str) -> tuple[str | None] | None:
        """What a tag was as long ago as the lag; None if it has not changed since then."""
        if not self._habits.lag:
            return None
        row = db.execute(
            "SELECT was FROM moves WHERE package = ? AND tag = ? AND at > ? ORDER BY id LIMIT 1",
            (package, tag, self._now() - self._habits.lag),
        ).fetchone()
        return None if row is None else (row[0],)

    def _delete_version(self, db: sqlite3.Connection, package: Package, identifier: int) -> Version | None:
        row = db.execute(_VERSION_BY_ID, (package.id, identifier)).fetchone()
        version = None if row is None else _version(db, package.id, row)
        if version is None or version.deleted_at is not None:
            return None
        limit = self._habits.max_downloads
        if package.visibility == "public" and version.downloads > limit:
            raise Undeletable(f"Publicly visible package versions with more than {limit} downloads {_SUPPORT}")
        instead = "You must delete the package instead."
        others = "SELECT 1 FROM versions WHERE package = ? AND id != ? AND deleted_at IS NULL LIMIT 1"
        if db.execute(others, (package.id, identifier)).fetchone() is None:
            raise Undeletable(f"You cannot delete the last version of a package. {instead}")
        tagged = "SELECT 1 FROM tags WHERE package = ? AND digest != ? LIMIT 1"
        if version.tags and db.execute(tagged, (package.id, version.digest)).fetchone() is None:
            raise Undeletable(f"You cannot delete the last tagged version of a package. {instead}")
        for tag in version.tags:
            self._move(db, package.id, tag, None)
        now = self._now()
        db.execute(
            "UPDATE versions SET deleted_at = ?, updated_at = ?, lost_tags = ? WHERE id = ?",
            (now, now, json.dumps(version.tags), identifier),
        )
        db.execute("UPDATE packages SET updated_at = ? WHERE id = ?", (now, package.id))
        return version


def _open(path: Path) -> sqlite3.Connection:
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


def _secret(db: sqlite3.Connection) -> bytes:
    db.execute("INSERT OR IGNORE INTO facts VALUES ('secret', ?)", (secrets.token_bytes(32),))
    found: bytes = db.execute("SELECT value FROM facts WHERE key = 'secret'").fetchone()[0]
    return found


def _package(db: sqlite3.Connection, full_name: str) -> Package | None:
    row = db.execute("SELECT id FROM packages WHERE full_name = ? AND deleted_at IS NULL", (full_name,)).fetchone()
    return None if row is None else _load(db, row[0])


def _load(db: sqlite3.Connection, identifier: int) -> Package:
    row = db.execute(
        "SELECT full_name, visibility, repository, created_at, updated_at, deleted_at FROM packages WHERE id = ?",
        (identifier,),
    ).fetchone()
    name, visibility, repository, created, updated, deleted = row
    grants = db.execute("SELECT repository FROM grants WHERE package = ?", (identifier,)).fetchall()
    granted = frozenset(grant[0] for grant in grants)
    return Package(identifier, name, visibility, repository, created, updated, deleted, granted)


def _version(db: sqlite3.Connection, package: int, row: Sequence[Any]) -> Version:
    identifier, digest, downloads, created, updated, deleted, lost = row
    if deleted is None:
        found = db.execute("SELECT tag FROM tags WHERE package = ? AND digest = ? ORDER BY tag", (package, digest))
        tags = tuple(tag[0] for tag in found)
    else:
        tags = tuple(json.loads(lost))
    return Version(identifier, digest, tags, downloads, created, updated, deleted)


def _is_live(db: sqlite3.Connection, package: int, digest: str) -> bool:
    query = "SELECT 1 FROM versions WHERE package = ? AND digest = ? AND deleted_at IS NULL"
    return db.execute(query, (package, digest)).fetchone() is not None


def _digest(db: sqlite3.Connection, package: int, tag: str) -> str | None:
    row = db.execute("SELECT digest FROM tags WHERE package = ? AND tag = ?", (package, tag)).fetchone()
    return None if row is None else row[0]


def _most(db: sqlite3.Connection, package: int) -> int:
    found: int = db.execute(
        "SELECT coalesce(max(downloads), 0) FROM versions WHERE package = ? AND deleted_at IS NULL", (package,)
    ).fetchone()[0]
    return found
