"""What the transaction promises (docs/transaction.md), checked while it runs and after it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from shipgraph.channel.journal import JOURNAL, JOURNAL_TYPE, JournalEntry, Kind, State, decode_entry
from shipgraph.channel.metadata import LATEST, ChannelMetadata, decode_metadata
from shipgraph.oci.manifest import ImageManifest
from shipgraph.promote.recovery import named_digests

if TYPE_CHECKING:
    from shipgraph.oci.digest import Digest
    from shipgraph.promote.protocol import Settled
    from shipgraph.testing.simulation.registry import Process, Registry

META = "acme/metadata"
METADATA_TYPE = "application/vnd.simulation.metadata.v1+json"
IMMUTABLE = re.compile(r"journal-[0-9]+|(?:dev|prod)-[0-9]+")


@dataclass(slots=True)
class Promises:
    """Watches one run. ``kinds`` says what kind of transaction made each metadata digest."""

    channels: tuple[str, ...]
    registry: Registry | None = None
    kinds: dict[Digest, Kind] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    _highest: dict[str, int] = field(default_factory=dict)
    _aborted: set[tuple[str, str]] = field(default_factory=set)

    def watch(
        self, process: Process, number: int, repository: str, tag: str, digest: Digest, there: Digest | None
    ) -> None:
        """One PUT has taken effect."""
        registry = self._truth
        if IMMUTABLE.fullmatch(tag):
            if there not in (None, digest):
                self._fault(f"immutable tag {tag} changed")
        elif tag == JOURNAL:
            entry = self._entry(digest)
            if entry.state is not State.OPEN:
                if entry.state is State.ABORTED:
                    self._aborted |= {(m.repository, m.tag) for m in entry.moves if m.before is None}
                session = registry.sessions.get((process.name, number))
                if session is not None and entry.owner.nonce == process.name:
                    session.closed_at = registry.loop.time()
                self._check_whole(f"settled by {process.name}")
        else:
            session = registry.sessions.get((process.name, number))
            if session is not None and session.closed_at is not None:
                self._fault(f"a PUT of {process.name} landed on {tag} after its transaction had been closed")
            if repository == META and tag in self.channels:
                self._committed(tag, digest, there)

    def _committed(self, channel: str, digest: Digest, there: Digest | None) -> None:
        """A consumer can see this now."""
        ours = self._metadata(digest)
        if there is not None and there != digest:
            theirs = self._metadata(there)
            if ours.serial <= theirs.serial:
                self._fault(f"a consumer saw serial {theirs.serial} of {channel}, and sees {ours.serial} now")
        release = _number(ours.commit)
        if self.kinds[digest] in (Kind.RELEASE, Kind.PROMOTE) and there != digest:
            if release <= self._highest.get(channel, -1):
                self._fault(f"{channel} has had release {self._highest[channel]}, and was given {release}")
            self._highest[channel] = release

    def settled(self, process: Process, outcome: Settled) -> None:
        """A process says that its transaction is settled."""
        histories = (history for (name, _), history in self._truth.tags.items() if name == META)
        if outcome.metadata and not any(outcome.metadata == digest for history in histories for _, digest in history):
            self._fault(f"{process.name} says that serial {outcome.serial} is settled, and its metadata has no tag")

    def at_end(self) -> None:
        """Everything is quiet: nobody writes, nothing is under way, the lag is over."""
        registry = self._truth
        for one, other in pairwise(sorted(registry.sessions.values(), key=lambda s: (s.first, s.last))):
            if other.first < one.last and one.process != other.process:
                self._fault(f"two inside: {one.process} until {one.last:.2f}, {other.process} from {other.first:.2f}")
        digest = registry.current(META, JOURNAL)
        if digest is None:
            if any(registry.current(META, channel) for channel in self.channels):
                self._fault("there are channels and no journal")
            return
        entry = self._entry(digest)
        if entry.state is State.OPEN:
            self._fault(f"transaction {entry.id} is open still")
            return
        self._check_whole("at the end")
        for channel in self.channels:
            there = registry.current(META, channel)
            releases = entry.head(channel).releases
            known = releases[0].metadata if releases else None
            if known != (None if there is None else str(there)):
                self._fault(f"the journal says that {channel} is {known}, and it is {there}")
            if there is not None and entry.head(channel).serial < self._metadata(there).serial:
                self._fault(f"the journal would give serial {self._metadata(there).serial} of {channel} again")

    def _check_whole(self, when: str) -> None:
        """Every moving tag is what its channel's metadata says; a tag without metadata is a left-over, or a fault."""
        registry = self._truth
        current: set[Digest] = set()
        for channel in self.channels:
            digest = registry.current(META, channel)
            if digest is None:
                continue
            current.add(digest)
            metadata = self._metadata(digest)
            named = named_digests(metadata)
            wanted = [(repository, channel, one) for repository, one in named]
            if metadata.version != channel:
                wanted = [(repository, tag, one) for repository, tag, one in wanted if repository != "acme/payload"]
                wanted += [(repository, metadata.version, one) for repository, one in named]
            for repository, tag, one in wanted:
                there = registry.current(repository, tag)
                if there != one:
                    self._fault(
                        f"settled but mixed ({when}): {repository}:{tag} is {there and there.hex[:8]}, "
                        f"the metadata (serial {metadata.serial}) says {one.hex[:8]}"
                    )
        latest = registry.current(META, LATEST)
        if current and latest not in current and (META, LATEST) not in self._aborted:
            self._fault(f"settled but mixed ({when}): {LATEST} is no channel's metadata")

    def _fault(self, text: str) -> None:
        self.broken.append(text)
        self._truth.note("", f"BROKEN: {text}")

    @property
    def _truth(self) -> Registry:
        assert self.registry is not None  # noqa: S101 (set when the run begins)
        return self.registry

    def _content(self, digest: Digest) -> bytes:
        manifest = self._truth.manifests[META, digest]
        assert isinstance(manifest, ImageManifest)  # noqa: S101 (documents are no indexes)
        return self._truth.blobs[META, manifest.layers[0].digest]

    def _entry(self, digest: Digest) -> JournalEntry:
        return decode_entry(self._content(digest), where=JOURNAL_TYPE)

    def _metadata(self, digest: Digest) -> ChannelMetadata:
        return decode_metadata(self._content(digest), where=METADATA_TYPE)


def _number(commit: str) -> int:
    return int(commit, 16)
