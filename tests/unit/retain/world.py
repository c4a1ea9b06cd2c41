"""A registry and its history in memory, as far as retention sees them: releases, promotions, rollbacks, and accidents.

It makes what a release makes (indexes of two platforms, evidence with its fallback tags, set and build records,
payload, channel metadata, the journal's entries) and forgets nothing, as a registry does.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from shipgraph.channel.journal import (
    ChannelHead,
    HeadRelease,
    JournalEntry,
    Kind,
    Move,
    Owner,
    State,
    advances,
    burn_serial,
    settle_heads,
)
from shipgraph.channel.metadata import rfc3339
from shipgraph.evidence.predicates import PREDICATE_TYPES
from shipgraph.evidence.requirements import Kind as Evidence
from shipgraph.oci import media_types
from shipgraph.retain.history import History
from shipgraph.retain.inventory import Inventory
from shipgraph.retain.planning import make_plan
from shipgraph.retain.policy import Policy, Role
from shipgraph.retain.versions import ArtifactTypes, Blob, Name, Node, Version

if TYPE_CHECKING:
    from shipgraph.retain.plan import PrunePlan
    from shipgraph.retain.roots import OutsideRoot

IMAGES = ("base", "app", "proxy")
PLATFORMS = ("amd64", "arm64")
NAMESPACE = "acme"
METADATA, PAYLOAD = f"{NAMESPACE}/demo-metadata", f"{NAMESPACE}/demo-payload"
DAY = 86_400.0
START = 1_700_000_000.0


def repository(image: str) -> str:
    return f"{NAMESPACE}/{image}"


def digest_of(*parts: object) -> str:
    return f"sha256:{hashlib.sha256(repr(parts).encode()).hexdigest()}"


def commit_of(number: int) -> str:
    return f"{number:040x}"


@dataclass
class Stored:
    """One version as the registry has it."""

    node: Node
    tags: set[str]
    created: float
    updated: float
    id: int


@dataclass
class Shipped:
    """A release that was begun: what it consists of."""

    immutable_tag: str
    commit: str
    images: dict[str, str] = field(default_factory=dict)
    payloads: dict[str, str] = field(default_factory=dict)


class World:
    """A project's packages. Time passes only when somebody says so."""

    def __init__(self, images: tuple[str, ...] = IMAGES) -> None:
        self.images = images
        self.now = START
        self.store: dict[tuple[str, str], Stored] = {}
        self.absent: set[tuple[str, str]] = set()
        self.entries: list[JournalEntry] = []
        self.shipped: dict[str, Shipped] = {}
        self.settled: dict[str, int] = {}
        """The releases by immutable tag, with the number of the entry that settled each last."""
        self.serials: dict[str, int] = {}
        self.documents: dict[str, tuple[str, State]] = {}
        """Channel metadata by digest: the immutable tag that it is about, and how its transaction ended."""
        self._ids = 0
        self._tags: dict[tuple[str, str], str] = {}

    # --- what a registry does ---

    def push(self, place: str, digest: str, node: Node, *tags: str) -> str:
        if (place, digest) not in self.store:
            self.absent.discard((place, digest))
            self._ids += 1
            self.store[place, digest] = Stored(node, set(), self.now, self.now, self._ids)
        for tag in tags:
            self.tag(place, digest, tag)
        return digest

    def tag(self, place: str, digest: str, tag: str) -> None:
        there = self._tags.get((place, tag))
        if there == digest:
            return
        if there is not None:
            self.store[place, there].tags.discard(tag)
            self.store[place, there].updated = self.now
        self._tags[place, tag] = digest
        self.store[place, digest].tags.add(tag)
        self.store[place, digest].updated = self.now

    def delete(self, place: str, digest: str) -> None:
        for tag in self.store.pop((place, digest)).tags:
            del self._tags[place, tag]

    def resolve(self, place: str, tag: str) -> str | None:
        return self._tags.get((place, tag))

    def wait(self, days: float) -> None:
        self.now += days * DAY

    # --- what people and shipgraph push ---

    def manifest(self, place: str, label: object, *tags: str, subject: str = "", predicate: str = "") -> str:
        blobs = (Blob(digest_of("blob", label), 1000), Blob(digest_of("shared", place), 50_000))
        node = Node(
            media_type=media_types.IMAGE_MANIFEST,
            size=500,
            artifact_type="application/vnd.dev.sigstore.bundle.v0.3+json" if predicate else "",
            subject=subject,
            predicate=predicate,
            blobs=blobs,
        )
        return self.push(place, digest_of("manifest", place, label, subject), node, *tags)

    def index(self, place: str, children: tuple[str, ...], *tags: str, label: object = "") -> str:
        node = Node(media_type=media_types.IMAGE_INDEX, size=700, children=children)
        return self.push(place, digest_of("index", place, children, label), node, *tags)

    def refer(self, place: str, subject: str, label: object, predicate: str = "") -> str:
        """A referrer, and the fallback tag's list with it added: the old list stays, without a tag."""
        made = self.manifest(place, label, subject=subject, predicate=predicate)
        tag = subject.replace(":", "-")
        there = self.resolve(place, tag)
        old = self.store[place, there].node.children if there is not None else ()
        if made not in old:
            self.index(place, (*old, made), tag)
        return made

    def prove(self, place: str, subject: str, *kinds: Evidence) -> None:
        for kind in kinds:
            self.refer(place, subject, kind, PREDICATE_TYPES[kind])

    def build(self, image: str, content: object, *tags: str, proven: bool = True) -> str:
        place = repository(image)
        children = tuple(self.manifest(place, (content, platform)) for platform in PLATFORMS)
        made = self.index(place, children, *tags)
        for child in children:
            if proven:
                self.prove(place, child, *Evidence)
            self.refer(place, child, "sbom")
            self.record(place, child)
        self.prove(place, made, Evidence.PROVENANCE)
        self.record(place, made)
        return made

    def record(self, place: str, digest: str) -> str:
        """A build record."""
        node = Node(media_type=media_types.IMAGE_MANIFEST, size=400, names=(Name(place, digest),))
        inputs = digest_of("inputs", place, digest).removeprefix("sha256:")
        return self.push(METADATA, digest_of("build", place, digest), node, f"build-{inputs}")

    def begin(
        self,
        number: int,
        *,
        revision: int = 1,
        contents: dict[str, object] | None = None,
        images: tuple[str, ...] | None = None,
        payload: str | None = "dev",
        proven: bool = True,
    ) -> Shipped:
        """Everything of a release before finalize; ``images`` for one that stops half-way."""
        commit = commit_of(number)
        immutable_tag = f"sha-{commit}" + (f"-r{revision}" if revision > 1 else "")
        shipped = self.shipped.setdefault(immutable_tag, Shipped(immutable_tag, commit))
        self.push(METADATA, digest_of("set", immutable_tag), self._record(), f"set-{immutable_tag}")
        for image in self.images if images is None else images:
            content = (contents or {}).get(image, (number, revision))
            shipped.images[image] = self.build(image, content, immutable_tag, proven=proven)
        if payload is not None:
            self._payload(shipped, payload, immutable_tag)
        return shipped

    def _payload(self, shipped: Shipped, version: str, *tags: str) -> str:
        names = tuple(Name(f"*/{image}", digest) for image, digest in shipped.images.items())
        node = Node(media_type=media_types.IMAGE_MANIFEST, size=600, artifact_type=TYPES.payload, names=names)
        made = digest_of("payload", shipped.immutable_tag, version)
        shipped.payloads[version] = self.push(PAYLOAD, made, node, *tags, f"{shipped.immutable_tag}-{version}")
        self.prove(PAYLOAD, made, Evidence.GATE, Evidence.PROVENANCE)
        return made

    def _record(self) -> Node:
        return Node(media_type=media_types.IMAGE_MANIFEST, size=300)

    # --- the transaction ---

    def release(self, number: int, channel: str = "dev", version: str | None = None, **kind: object) -> Shipped:
        """A whole release; ``kind`` goes to ``begin``."""
        shipped = self.begin(number, **kind)  # type: ignore[arg-type]
        self.finalize(shipped, channel, version)
        return shipped

    def finalize(
        self,
        shipped: Shipped,
        channel: str = "dev",
        version: str | None = None,
        *,
        kind: Kind = Kind.RELEASE,
        end: State = State.SETTLED,
    ) -> str:
        """The transaction; the digest of the metadata. With ``end`` OPEN it stops before the first move."""
        version = version or channel
        if version not in shipped.payloads and shipped.payloads:
            self._payload(shipped, version)
        serial = self.serials[channel] = self.serials.get(channel, 0) + 1
        names = [Name(repository(image), digest) for image, digest in shipped.images.items()]
        if shipped.payloads:
            names.append(Name(PAYLOAD, shipped.payloads[version]))
        node = Node(
            media_type=media_types.IMAGE_MANIFEST,
            size=800,
            artifact_type=TYPES.metadata,
            names=tuple(names),
            release=shipped.immutable_tag,
        )
        metadata = self.push(METADATA, digest_of("metadata", channel, serial), node)
        self.prove(METADATA, metadata, Evidence.PROVENANCE)
        moves = [Move(repository=name.repository, tag=channel, before=None, after=name.digest) for name in names]
        if version != channel:
            moves += [Move(repository=n.repository, tag=version, before=None, after=n.digest) for n in names]
        own = [tag for tag in (version if version != channel else "", channel, "channels") if tag]
        moves += [Move(repository=METADATA, tag=tag, before=None, after=metadata) for tag in own]
        moves = [
            msgspec.structs.replace(move, before=self.resolve(move.repository, move.tag))
            for move in moves
            if not (move.repository == PAYLOAD and move.tag == channel != version)
        ]
        release = HeadRelease(
            immutable_tag=shipped.immutable_tag,
            version=version,
            commit=shipped.commit,
            revision=1,
            serial=serial,
            metadata=metadata,
            settled_at="",
        )
        self.documents[metadata] = (shipped.immutable_tag, end)
        self.claim(kind, channel, serial, release, tuple(moves))
        self.tag(METADATA, metadata, f"{channel}-{serial}")
        if end is not State.OPEN:
            if end is State.SETTLED:
                for move in moves:
                    self.tag(move.repository, move.after, move.tag)
            self.close(end)
        return metadata

    def claim(
        self, kind: Kind, channel: str, serial: int, release: HeadRelease | None, moves: tuple[Move, ...]
    ) -> JournalEntry:
        heads: dict[str, ChannelHead] = self.entries[-1].heads if self.entries else {}
        entry = JournalEntry(
            number=len(self.entries) + 1,
            id=f"{channel}-{serial}",
            project="demo",
            owner=Owner(run="1", attempt=1, nonce="n"),
            opened_at=self.now,
            lease_s=60,
            state=State.OPEN,
            kind=kind,
            channel=channel,
            serial=serial,
            release=release,
            moves=moves,
            heads=heads,
            previous=None,
        )
        self._write(entry)
        return entry

    def close(self, end: State) -> None:
        entry = self.entries[-1]
        heads = (
            settle_heads(entry, settled_at=rfc3339(entry.opened_at), advance=advances(entry, METADATA))
            if end is State.SETTLED
            else burn_serial(entry)
        )
        if end is State.SETTLED and entry.release is not None and entry.kind is not Kind.REFRESH:
            self.settled[entry.release.immutable_tag] = entry.number + 1
        self._write(msgspec.structs.replace(entry, number=entry.number + 1, state=end, heads=heads))

    def _write(self, entry: JournalEntry) -> None:
        self.entries.append(entry)
        tags = ["journal"] if entry.state is not State.OPEN else ["journal", f"journal-{entry.number}"]
        if entry.state is State.OPEN and entry.number > 1:
            last = self.resolve(METADATA, "journal")
            assert last is not None
            self.tag(METADATA, last, f"journal-{entry.number - 1}")
        self.push(METADATA, digest_of("journal", entry.number), self._record(), *tags)

    def promote(self, immutable_tag: str, channel: str, version: str) -> str:
        return self.finalize(self.shipped[immutable_tag], channel, version, kind=Kind.PROMOTE)

    def refresh(self, channel: str) -> str:
        current = self.entries[-1].heads[channel].releases[0]
        shipped = self.shipped[current.immutable_tag]
        return self.finalize(shipped, channel, current.version, kind=Kind.REFRESH)

    def is_whole(self, immutable_tag: str) -> bool:
        """Whether all of a release is there, so that it can be promoted or rolled back to."""
        shipped = self.shipped[immutable_tag]
        places = [(repository(image), digest) for image, digest in shipped.images.items()]
        places += [(PAYLOAD, digest) for digest in shipped.payloads.values()]
        return all(place in self.store for place in places)

    def rollback(self, channel: str) -> str | None:
        releases = self.entries[-1].heads[channel].releases
        if len(releases) < 2 or not self.is_whole(releases[1].immutable_tag):
            return None
        shipped = self.shipped[releases[1].immutable_tag]
        return self.finalize(shipped, channel, releases[1].version, kind=Kind.ROLLBACK)

    # --- what retention is given ---

    def inventory(self) -> Inventory:
        inventory = Inventory()
        for (place, digest), stored in self.store.items():
            inventory.add(
                Version(
                    repository=place,
                    digest=digest,
                    tags=tuple(sorted(stored.tags)),
                    created_at=stored.created,
                    updated_at=stored.updated,
                    id=stored.id,
                ),
                stored.node,
            )
        for place, digest in self.absent:
            inventory.mark_absent(place, digest)
        return inventory

    def history(self) -> History:
        history = History()
        for entry in self.entries:
            history.add(entry)
        return history

    def plan(self, policy: Policy | None = None, outside: tuple[OutsideRoot, ...] = ()) -> PrunePlan:
        return make_plan(
            self.inventory(), self.history(), self.policy() if policy is None else policy, now=self.now, outside=outside
        )

    def policy(
        self,
        keep: dict[str, int] | None = None,
        default: int = 10,
        *,
        retired: tuple[str, ...] = (),
        protect: tuple[str, ...] = (),
        disposable: tuple[str, ...] = (),
        evidence: frozenset[Evidence] = frozenset(Evidence),
    ) -> Policy:
        roles = {repository(image): Role.IMAGE for image in self.images}
        roles |= {PAYLOAD: Role.PAYLOAD, METADATA: Role.METADATA}
        roles |= {repository(package): Role.RETIRED for package in retired}
        return Policy(
            project="demo",
            registry="registry.example",
            metadata=METADATA,
            types=TYPES,
            roles=MappingProxyType(roles),
            keep=MappingProxyType({repository(image): count for image, count in (keep or {}).items()}),
            default=default,
            grace=int(DAY),
            unfinished=int(30 * DAY),
            channels=("dev", "nightly", "prod"),
            protect=protect,
            disposable=disposable,
            evidence=evidence,
        )

    def apply(self, plan: PrunePlan, most: int | None = None) -> None:
        """Carry a plan out, or the first part of it; who asks later is told that it isn't there."""
        for deletion in plan.deletions[:most]:
            self.delete(deletion.repository, deletion.fate.digest)
            self.absent.add((deletion.repository, deletion.fate.digest))

    def tagged(self, place: str, prefix: str) -> list[str]:
        """The tags of a repository that begin so."""
        return sorted(t for (p, _), s in self.store.items() if p == place for t in s.tags if t.startswith(prefix))


TYPES = ArtifactTypes(metadata="application/vnd.demo.metadata.v1+json", payload="application/vnd.demo.payload.v1")
