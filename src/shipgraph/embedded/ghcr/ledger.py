"""What GHCR knows beyond bytes: packages, versions with their ids and times, tags, downloads, and what was deleted.

It is an SQLite file in the registry's state folder, so any number of processes may serve one root. Rules:

1. The ledger alone says which tags and versions a package has. The image layouts hold the bytes, and their tags follow.
2. Deleting only marks: for 30 days everything can come back, whatever the order. So a deleted manifest's bytes stay.
3. A version is written here after its bytes have reached the store; a crash between the two leaves unseen bytes.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

import anyio
import anyio.to_thread

from shipgraph.embedded.ghcr.changes import SUPPORT, Changes, Undeletable
from shipgraph.embedded.ghcr.database import open_database, secret_of
from shipgraph.embedded.ghcr.habits import RESTORABLE, Habits
from shipgraph.embedded.ghcr.rows import (
    ACTIVE,
    COUNT_ACTIVE,
    COUNT_DELETED,
    DELETED,
    VERSION_BY_ID,
    Package,
    Version,
    digest_of_tag,
    find_package,
    load_package,
    most_downloads,
    read_version,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

T = TypeVar("T")

FILE: Final = "ghcr.sqlite"


class Ledger:
    """All of it. Methods are async and may be called from any event loop; each is one transaction."""

    def __init__(self, path: Path, habits: Habits) -> None:
        self._path, self._habits = path, habits
        self._changes = Changes(habits)
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
            self._secret = await self._run(secret_of, writes=True)
        return self._secret

    async def package(self, full_name: str) -> Package | None:
        """A package that is there."""
        return await self._run(lambda db: find_package(db, full_name))

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
            return [load_package(db, row[0]) for row in rows]

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
        return await self._run(lambda db: self._changes.create(db, full_name, visibility, repository), writes=True)

    async def change(
        self, full_name: str, *, visibility: str | None = None, repository: str | None = None, grant: str | None = None
    ) -> bool:
        """What people do on a package's settings page; whether there is such a package."""

        def change(db: sqlite3.Connection) -> bool:
            package = find_package(db, full_name)
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
            if package.visibility == "public" and most_downloads(db, package.id) > limit:
                raise Undeletable(f"Publicly visible packages with more than {limit} downloads {SUPPORT}")
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
            return None if row is None else load_package(db, row[0])

        return await self._run(find)

    async def restore_package(self, package: Package) -> bool:
        """Bring a package back, unless its name is in use again."""

        def restore(db: sqlite3.Connection) -> bool:
            if find_package(db, package.full_name) is not None:
                return False
            db.execute("UPDATE packages SET deleted_at = NULL, updated_at = ? WHERE id = ?", (self._now(), package.id))
            return True

        return await self._run(restore, writes=True)

    # --- versions

    async def store(self, package: Package, digest: str, tag: str | None) -> Version:
        """A manifest was pushed, by its digest or under a tag."""
        return await self._run(lambda db: self._changes.store(db, package.id, digest, tag), writes=True)

    async def live(self, package: Package, digests: Sequence[str]) -> set[str]:
        """Those of some digests that are versions of the package."""

        def find(db: sqlite3.Connection) -> set[str]:
            query = "SELECT 1 FROM versions WHERE package = ? AND digest = ? AND deleted_at IS NULL"
            return {digest for digest in digests if db.execute(query, (package.id, digest)).fetchone()}

        return await self._run(find)

    async def version(self, package: Package, identifier: int, *, deleted: bool = False) -> Version | None:
        """A version by its id: one that is there, or one that is deleted and can be restored."""

        def find(db: sqlite3.Connection) -> Version | None:
            row = db.execute(VERSION_BY_ID, (package.id, identifier)).fetchone()
            found = None if row is None else read_version(db, package.id, row)
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
            count = db.execute(COUNT_DELETED if deleted else COUNT_ACTIVE, (package.id, horizon)).fetchone()[0]
            page = (package.id, horizon, limit, offset)
            rows = db.execute(DELETED if deleted else ACTIVE, page).fetchall()
            return [read_version(db, package.id, row) for row in rows], count

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
        return await self._run(lambda db: self._changes.delete(db, package, identifier), writes=True)

    async def restore_version(self, package: Package, identifier: int) -> Version | None:
        """Bring a version back with those of its tags that are not in use; None where that can't be.

        It can't where 30 days are over, or the same manifest was pushed again.
        """

        return await self._run(lambda db: self._changes.restore(db, package, identifier), writes=True)

    # --- tags

    async def tag(self, package: Package, tag: str) -> str | None:
        """The digest that a tag really points at."""
        return await self._run(lambda db: digest_of_tag(db, package.id, tag))

    async def seen_tag(self, package: Package, tag: str, knows: Callable[[], bool]) -> str | None:
        """The digest that a reader sees, who may be behind. ``knows``: whether this server has heard of the change."""

        def find(db: sqlite3.Connection) -> str | None:
            found = None if knows() else self._changes.behind(db, package.id, tag)
            return digest_of_tag(db, package.id, tag) if found is None else found[0]

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
            behind = {tag: self._changes.behind(db, package.id, tag) for tag in moved}
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
            db = self._connection = open_database(self._path)
        db.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
        try:
            yield db
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")
