"""A channel as the registry shows it: its metadata, where its tags really are, and what the journal remembers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from shipgraph.channel.journal import JOURNAL, JOURNAL_TYPE, ChannelHead, JournalEntry, State, decode_entry
from shipgraph.channel.metadata import ChannelMetadata, decode_metadata
from shipgraph.errors import MalformedDocument
from shipgraph.records.document import read_document
from shipgraph.store.protocols import Clock, Fetcher, Prober, ReferrersLister, Resolver
from shipgraph.tasks import gather

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shipgraph.oci.digest import Digest


class CheckStore(Fetcher, Prober, Resolver, ReferrersLister, Clock, Protocol):
    """Reads everything that a channel is made of."""


@dataclass(frozen=True, slots=True)
class Names:
    """Where a project's things are: host, metadata repository and type, payload repository if it has one."""

    host: str
    project: str
    metadata: str
    metadata_type: str
    payload: str | None


@dataclass(frozen=True, slots=True)
class Drift:
    """A moving tag that is not where the channel's metadata says; None stands for an absent tag."""

    repository: str
    tag: str
    wanted: str
    there: str | None

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag} is {self.there or 'absent'}, not {self.wanted}"


@dataclass(frozen=True, slots=True)
class ChannelView:
    """A channel: the digest of its metadata and the metadata, both None where it was never published."""

    name: str
    digest: Digest | None
    metadata: ChannelMetadata | None
    drift: tuple[Drift, ...]
    head: ChannelHead | None


async def read_journal(store: CheckStore, names: Names) -> JournalEntry | None:
    """The journal's entry, or None if there is no journal.

    Raises:
        MalformedDocument, RegistryError
    """
    found = await store.resolve(names.metadata, JOURNAL)
    if found is None:
        return None
    document = await read_document(store, names.metadata, found.digest, JOURNAL_TYPE)
    return decode_entry(document.content, where=f"{names.metadata}:{JOURNAL}")


async def read_channel(store: CheckStore, names: Names, name: str, journal: JournalEntry | None) -> ChannelView:
    """One channel.

    Raises:
        MalformedDocument, RegistryError
    """
    head = None if journal is None else journal.heads.get(name)
    found = await store.resolve(names.metadata, name)
    if found is None:
        return ChannelView(name, None, None, (), head)
    document = await read_document(store, names.metadata, found.digest, names.metadata_type)
    metadata = decode_metadata(document.content, where=f"{names.metadata}:{name}")
    if metadata.channel != name:
        raise MalformedDocument(f"{names.metadata}:{name} holds the metadata of channel {metadata.channel!r}")
    return ChannelView(name, found.digest, metadata, await find_drift(store, names, metadata), head)


async def find_drift(store: Resolver, names: Names, metadata: ChannelMetadata) -> tuple[Drift, ...]:
    """Every moving tag of images and payload that is not what the metadata says."""
    wanted = [
        (strip_host(names.host, image.repository), tag, image.digest)
        for image in metadata.images
        for tag in metadata.moving_tags
        if tag == metadata.channel or tag == metadata.version
    ]
    if metadata.payload is not None and names.payload is not None:
        wanted.append((names.payload, metadata.version, metadata.payload.digest))
    there = await gather([partial(store.resolve, repository, tag) for repository, tag, _ in wanted])
    return tuple(
        Drift(repository, tag, digest, None if found is None else str(found.digest))
        for (repository, tag, digest), found in zip(wanted, there, strict=True)
        if found is None or str(found.digest) != digest
    )


def strip_host(host: str, repository: str) -> str:
    """A repository of the metadata without its host.

    Metadata that was copied to another registry names the first one's host; the repositories are the same.
    """
    first, _, rest = repository.partition("/")
    return rest if first == host or ":" in first or "." in first or first == "localhost" else repository


def open_transaction(journal: JournalEntry | None) -> JournalEntry | None:
    """The entry, if its transaction is open."""
    return journal if journal is not None and journal.state is State.OPEN else None


async def read_channels(
    store: CheckStore, names: Names, channels: Sequence[str]
) -> tuple[JournalEntry | None, list[ChannelView]]:
    """The journal and all channels."""
    journal = await read_journal(store, names)
    return journal, await gather([partial(read_channel, store, names, name, journal) for name in channels])
