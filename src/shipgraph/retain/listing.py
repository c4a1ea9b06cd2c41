"""Reads everything that a clean-up decides on: the journal first, then every version of every package, then the rest.

Nothing is decided here. What can't be read is an error, or an entry among the inventory's unreadable ones; only what
the registry says isn't there counts as absent. The journal is read before all else: whoever claims it later sees
whether anything was decided since.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import anyio
import msgspec

from shipgraph.channel.journal import JOURNAL, JOURNAL_TYPE, decode_entry
from shipgraph.errors import NotFound, RegistryUnavailable
from shipgraph.events import Note
from shipgraph.oci.digest import Digest
from shipgraph.records.prune import PRUNE_TYPE, RETENTION, decode_prune
from shipgraph.retain.history import History
from shipgraph.retain.inventory import Inventory
from shipgraph.retain.versions import ANYWHERE, Version
from shipgraph.store.protocols import Clock, Prober, Resolver
from shipgraph.tasks import gather

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    from shipgraph.channel.journal import JournalEntry
    from shipgraph.events import Emit
    from shipgraph.records.prune import PruneRecord
    from shipgraph.retain.contents import Contents
    from shipgraph.retain.policy import Policy
    from shipgraph.retain.shelf import Shelf

PROBES: Final = 16
_ENTRY: Final = re.compile(rf"{JOURNAL}(?:-[1-9][0-9]*)?", re.ASCII)


class ListingStore(Resolver, Prober, Clock, Protocol):
    """What listing needs of a registry beside its shelf: tags, what is there, and the time."""


@dataclass(slots=True)
class Listing:
    """Everything that was read, of these ``repositories``.

    ``now`` is the registry's time in seconds since the epoch; ``journal`` the digest of the journal before anything
    else was read; ``record`` the record of the last clean-up; ``first_seen`` is when versions of which nobody tells the
    age were seen first, by repository and digest.
    """

    now: float
    inventory: Inventory
    history: History
    journal: Digest | None
    record: PruneRecord | None
    repositories: tuple[str, ...] = ()
    first_seen: dict[str, dict[str, int]] = field(default_factory=dict)


class Lister:
    """Reads a project's packages on one registry."""

    def __init__(self, store: ListingStore, shelf: Shelf, contents: Contents, policy: Policy, *, emit: Emit) -> None:
        self._store, self._shelf, self._contents, self._policy = store, shelf, contents, policy
        self._emit = emit

    async def everything(self) -> Listing:
        """Everything.

        Raises:
            ContentError: something that was read isn't what it should be.
            RegistryError: something can't be read.
        """
        metadata = self._policy.metadata
        tag = await self._store.resolve(metadata, JOURNAL)
        listing = Listing(await self._store.now(), Inventory(), History(), None if tag is None else tag.digest, None)
        listing.record = await self._read_record()
        reading = _Reading(self._store, self._shelf, self._contents, listing)
        versions = await reading.versions(metadata)
        entries = await self._journal(versions, listing.journal)
        for entry in entries:
            listing.history.add(entry)
        await reading.take(metadata, versions)
        moved = {move.repository for entry in entries for move in entry.moves}
        others = sorted({*self._policy.repositories, *moved, *reading.named} - {metadata})
        listing.repositories = (metadata, *others)
        listed = await gather([partial(reading.versions, repository) for repository in others])
        for repository, found in zip(others, listed, strict=True):
            await reading.take(repository, found)
        await reading.look_for_the_rest({} if listing.record is None else listing.record.pending)
        count, new = len(listing.inventory), self._contents.fetched
        self._emit(Note(f"{count} versions in {len(others) + 1} packages; {new} contents were read for the first time"))
        return listing

    async def _read_record(self) -> PruneRecord | None:
        found = await self._store.resolve(self._policy.metadata, RETENTION)
        if found is None:
            return None
        where = f"{self._policy.metadata}:{RETENTION}"
        return decode_prune(
            await self._contents.document(self._policy.metadata, str(found.digest), PRUNE_TYPE), where=where
        )

    async def _journal(self, versions: Iterable[Version], current: Digest | None) -> list[JournalEntry]:
        """Every entry that has a tag, and the current one, which may be newer than the list."""
        digests = [one.digest for one in versions if any(_ENTRY.fullmatch(tag) for tag in one.tags)]
        if current is not None:
            digests.append(str(current))
        return await gather([partial(self._entry, digest) for digest in dict.fromkeys(digests)])

    async def _entry(self, digest: str) -> JournalEntry:
        metadata = self._policy.metadata
        try:
            content = await self._contents.document(metadata, digest, JOURNAL_TYPE)
        except NotFound as gone:
            raise RegistryUnavailable(f"the journal's entry {metadata}@{digest} can't be read: {gone}") from gone
        return decode_entry(content, where=f"{metadata}@{digest}")


class _Reading:
    """The inventory in the making."""

    def __init__(self, store: Prober, shelf: Shelf, contents: Contents, listing: Listing) -> None:
        self._store, self._shelf, self._contents, self._listing = store, shelf, contents, listing
        self._probes = anyio.CapacityLimiter(PROBES)
        self._seen = listing.record.first_seen if listing.record is not None else {}
        self._wanted: dict[tuple[str, str], None] = {}
        self.named: set[str] = set()

    async def versions(self, repository: str) -> list[Version]:
        """What a repository's list shows, each with an age."""
        return [self._aged(one) for one in await self._shelf.versions(repository) or ()]

    async def take(self, repository: str, versions: Iterable[Version]) -> None:
        """Read what versions say, and put both into the inventory."""
        inventory = self._listing.inventory
        listed = {one.digest: one for one in versions}
        nodes, gone = await self._contents.nodes(repository, listed)
        for digest, node in nodes.items():
            inventory.add(listed[digest], node)
            self._wanted.update(((repository, child), None) for child in node.children)
            for name in node.names:
                if not name.repository.startswith(ANYWHERE):
                    self.named.add(name.repository)
                    self._wanted[name.repository, name.digest] = None
        for digest in gone:  # a list may show what was deleted a moment ago; anything else nobody understands
            if await self._shelf.look(listed[digest]) is not None:
                inventory.add_unreadable(listed[digest], "it is listed, but the registry doesn't have it")

    async def look_for_the_rest(self, pending: Mapping[str, Iterable[str]]) -> None:
        """Ask for whatever no list has shown and something refers to, or a clean-up has left: it is there all the same
        or it is absent."""
        inventory = self._listing.inventory
        self._wanted.update(((repository, digest), None) for repository in pending for digest in pending[repository])
        while self._wanted:
            unlisted = [place for place in self._wanted if inventory.locate(*place) is None]
            self._wanted = {}
            # not from memory, which may hold what the registry has lost
            probes = [partial(self._store.has_manifest, name, Digest.parse(digest)) for name, digest in unlisted]
            there: dict[str, list[Version]] = {}
            for (repository, digest), found in zip(unlisted, await gather(probes, limiter=self._probes), strict=True):
                if found:
                    version = self._aged(Version(repository=repository, digest=digest))
                    there.setdefault(repository, []).append(version)
                else:
                    inventory.mark_absent(repository, digest)
            for repository, versions in sorted(there.items()):
                await self.take(repository, versions)

    def _aged(self, version: Version) -> Version:
        """A version with the time since which it is known, where the registry tells none."""
        if version.created_at is not None:
            return version
        listing = self._listing
        known = self._seen.get(version.repository, {}).get(_short(version.digest), int(listing.now))
        listing.first_seen.setdefault(version.repository, {})[version.digest] = known
        return msgspec.structs.replace(version, created_at=known, updated_at=known)


def remember(first_seen: dict[str, dict[str, int]], forgotten: Container[tuple[str, str]]) -> dict[str, dict[str, int]]:
    """Since when versions are known, for the record: but for those (repository and digest) that may be forgotten."""
    return {
        repository: {
            _short(digest): at for digest, at in sorted(times.items()) if (repository, digest) not in forgotten
        }
        for repository, times in sorted(first_seen.items())
    }


def _short(digest: str) -> str:
    """Enough of a digest to know it again among a repository's versions: records stay small."""
    return digest.partition(":")[2][:16]
