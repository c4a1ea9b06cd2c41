"""What needs what: the edges between versions, and everything that can be reached along them.

An edge says: while the one stays, the other stays. Most run along what manifests say (an index needs its children, a
channel's metadata needs its images); some run against it, since evidence about an image has no use without it, and the
image is not worth much without its evidence.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from shipgraph.retain.versions import ANYWHERE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from shipgraph.retain.inventory import Inventory
    from shipgraph.retain.reading import Reading


class Link(IntEnum):
    """Why one version needs another."""

    CHILD = 0
    """An index its children; nested ones too."""
    NAMED = 1
    """Metadata its images and its payload, a payload its images."""
    MEMBER = 2
    """Metadata everything under the immutable tag that it is about: only a whole release can be promoted."""
    SET = 3
    """What has an immutable tag, the set record that says what the tag was made from."""
    REFERRER = 4
    """A subject what refers to it: attestations, bills of materials, signatures."""
    SUBJECT = 5
    """A referrer its subject."""
    LIST = 6
    """A subject the list of its referrers, and signatures of the old kind, which find it by a tag."""
    LISTED = 7
    """Such a list its subject."""
    RECORD = 8
    """What was built, the record of its build."""
    BUILT = 9
    """The record of a build, what was built."""


WORDS: Final = {
    Link.CHILD: "part of",
    Link.NAMED: "named by",
    Link.MEMBER: "of the release of",
    Link.SET: "record of",
    Link.REFERRER: "refers to",
    Link.SUBJECT: "subject of",
    Link.LIST: "refers to",
    Link.LISTED: "subject of",
    Link.RECORD: "record of",
    Link.BUILT: "recorded by",
}

BEFORE: Final = frozenset({Link.CHILD, Link.NAMED, Link.MEMBER, Link.SET, Link.REFERRER, Link.LIST, Link.BUILT})
"""Along these the first is deleted before the second: so what is left half-done is only garbage. A build's record goes
before what was built, since whoever finds the record may rely on it."""

_BITS: Final = 4
_MASK: Final = (1 << _BITS) - 1


@dataclass(slots=True)
class Graph:
    """The edges from each version: ``target << 4 | link``. ``missing`` are targets that are needed and were not listed,
    as pairs of a repository's and a digest's number."""

    edges: list[list[int] | None]
    missing: dict[int, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, source: int, target: int, link: Link) -> None:
        """Add an edge."""
        there = self.edges[source]
        if there is None:
            self.edges[source] = [target << _BITS | link]
        else:
            there.append(target << _BITS | link)

    def targets(self, source: int) -> Iterator[tuple[int, Link]]:
        """Where the edges of a version lead, and why."""
        return ((edge >> _BITS, _LINKS[edge & _MASK]) for edge in self.edges[source] or ())


_LINKS: Final = tuple(Link)


def connect(inventory: Inventory, reading: Reading) -> Graph:
    """Find all edges."""
    graph = Graph([None] * len(inventory))
    _connect_manifests(graph, inventory)
    _connect_names(graph, inventory)
    _connect_tags(graph, inventory, reading)
    return graph


def _connect_manifests(graph: Graph, inventory: Inventory) -> None:
    find, repository = inventory.find, inventory.repository
    pairs = iter(inventory.children)
    for source, digest in zip(pairs, pairs, strict=True):
        place = repository[source]
        target = find(place, digest)
        if target is None:
            graph.missing[source].append((place, digest))
        else:
            graph.add(source, target, Link.CHILD)
    pairs = iter(inventory.subjects)
    for source, digest in zip(pairs, pairs, strict=True):
        # A referrer may come before its subject, and may outlive it where somebody else deletes.
        subject = find(repository[source], digest)
        if subject is not None:
            graph.add(source, subject, Link.SUBJECT)
            graph.add(subject, source, Link.REFERRER)


def _connect_names(graph: Graph, inventory: Inventory) -> None:
    triples = iter(inventory.names)
    anywhere: dict[int, list[int]] | None = None
    for source, place, digest in zip(triples, triples, triples, strict=True):
        target = inventory.find(place, digest)
        if source in inventory.release:
            if target is None:
                graph.missing[source].append((place, digest))
            else:
                graph.add(source, target, Link.NAMED)
            continue
        name = inventory.repositories[place]
        if name.startswith(ANYWHERE):
            anywhere = inventory.by_digest() if anywhere is None else anywhere
            ending = name.removeprefix(ANYWHERE)
            for found in anywhere.get(digest, ()):
                if inventory.repositories[inventory.repository[found]].rpartition("/")[2] == ending:
                    graph.add(source, found, Link.NAMED)
        elif target is not None:
            graph.add(source, target, Link.BUILT)
            graph.add(target, source, Link.RECORD)


def _connect_tags(graph: Graph, inventory: Inventory, reading: Reading) -> None:
    for immutable_tag, records in reading.sets.items():
        for member in reading.members.get(immutable_tag, ()):
            for record in records:
                graph.add(member, record, Link.SET)
    for immutable_tag, documents in reading.metadata.items():
        for document in documents:
            for member in reading.members.get(immutable_tag, ()):
                graph.add(document, member, Link.MEMBER)
    if not reading.attached:
        return
    shortened = {digest[:71]: number for number, digest in enumerate(inventory.digests) if digest[:6] == "sha512"}
    by_digest = inventory.by_digest()
    for source, text in reading.attached:
        digest = shortened.get(text) if text[:6] == "sha512" else inventory.digest_number(text)
        subjects = by_digest.get(-1 if digest is None else digest, ())
        # Signatures may be kept in a repository of their own; a list of referrers stands beside its subject.
        own = [one for one in subjects if inventory.repository[one] == inventory.repository[source]]
        for subject in own or subjects:
            graph.add(subject, source, Link.LIST)
            graph.add(source, subject, Link.LISTED)


class Reached:
    """What was reached so far, and along which edge first: a closure that can be extended by further roots."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.stays = bytearray(len(graph.edges))
        self.via = array("q", [-1]) * len(graph.edges)
        """The version that a version was reached from, shifted left by four, and the link; -1 for a root."""

    def extend(self, roots: Iterable[int]) -> None:
        """Add roots and everything they reach."""
        stays, via, edges = self.stays, self.via, self._graph.edges
        front = [root for root in roots if not stays[root]]
        for root in front:
            stays[root] = 1
        while front:
            following: list[int] = []
            for source in front:
                for edge in edges[source] or ():
                    target = edge >> _BITS
                    if not stays[target]:
                        stays[target] = 1
                        via[target] = source << _BITS | (edge & _MASK)
                        following.append(target)
            front = following

    def because(self, number: int) -> tuple[int, Link] | None:
        """What a version was reached from, and why; None for a root."""
        via = self.via[number]
        return None if via < 0 else (via >> _BITS, _LINKS[via & _MASK])
