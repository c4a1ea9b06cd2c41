"""Everything that was read of a registry, in little space: versions have numbers, and so have the digests they name.

A long-lived project has a hundred thousand versions. Whoever lists them gives each to ``add`` and may forget it; what
is needed to decide takes a few hundred bytes here.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from shipgraph.errors import MalformedDocument

if TYPE_CHECKING:
    from shipgraph.retain.versions import Node, Version

UNTIMED: Final = -1.0
"""In ``created`` and ``updated``: the registry tells no time."""


@dataclass(slots=True)
class Inventory:
    """Versions by number, in the order in which they were added.

    ``children``, ``subjects`` and ``names`` are edges: pairs of a version's number and that of what it refers to; for
    ``names`` also the repository's number between them. Digests and blobs are numbered apart, repositories too.
    ``blob_ends`` says where the blobs of each version end in ``blobs``.
    """

    repositories: list[str] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    predicates: list[str] = field(default_factory=lambda: [""])

    repository: array[int] = field(default_factory=lambda: array("H"))
    digest: array[int] = field(default_factory=lambda: array("I"))
    tags: list[tuple[str, ...]] = field(default_factory=list)
    created: array[float] = field(default_factory=lambda: array("d"))
    updated: array[float] = field(default_factory=lambda: array("d"))
    id: array[int] = field(default_factory=lambda: array("q"))
    size: array[int] = field(default_factory=lambda: array("I"))
    predicate: array[int] = field(default_factory=lambda: array("H"))
    release: dict[int, str] = field(default_factory=dict)

    children: array[int] = field(default_factory=lambda: array("I"))
    subjects: array[int] = field(default_factory=lambda: array("I"))
    names: array[int] = field(default_factory=lambda: array("I"))
    blobs: array[int] = field(default_factory=lambda: array("I"))
    blob_ends: array[int] = field(default_factory=lambda: array("I"))
    blob_sizes: array[int] = field(default_factory=lambda: array("Q"))

    unreadable: list[str] = field(default_factory=list)
    _repository_numbers: dict[str, int] = field(default_factory=dict)
    _digest_numbers: dict[str, int] = field(default_factory=dict)
    _blob_numbers: dict[str, int] = field(default_factory=dict)
    _predicate_numbers: dict[str, int] = field(default_factory=lambda: {"": 0})
    _places: dict[int, int] = field(default_factory=dict)
    _absent: set[tuple[str, str]] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self.tags)

    def add(self, version: Version, node: Node) -> int:
        """Take a version and what its manifest says; its number.

        Raises:
            MalformedDocument: the listing has this digest twice in one repository.
        """
        number = len(self.tags)
        repository, digest = self._repository(version.repository), self._digest(version.digest)
        if self._places.setdefault(self._place(repository, digest), number) != number:
            raise MalformedDocument(f"the listing of {version.repository} has {version.digest} twice")
        self.repository.append(repository)
        self.digest.append(digest)
        self.tags.append(version.tags)
        self.created.append(UNTIMED if version.created_at is None else version.created_at)
        self.updated.append(UNTIMED if version.updated_at is None else version.updated_at)
        self.id.append(-1 if version.id is None else version.id)
        self.size.append(node.size)
        self.predicate.append(self._predicate(node.predicate))
        if node.release:
            self.release[number] = node.release
        for child in node.children:
            self.children.extend((number, self._digest(child)))
        if node.subject:
            self.subjects.extend((number, self._digest(node.subject)))
        for name in node.names:
            self.names.extend((number, self._repository(name.repository), self._digest(name.digest)))
        for blob in node.blobs:
            self.blobs.append(self._blob(blob.digest, blob.size))
        self.blob_ends.append(len(self.blobs))
        return number

    def add_unreadable(self, version: Version, why: str) -> None:
        """Take a version whose manifest could not be read: no plan can be made then."""
        self.unreadable.append(f"{version.repository}@{version.digest}: {why}")

    def mark_absent(self, repository: str, digest: str) -> None:
        """Take that a digest which something refers to was asked for, and the registry said for certain that it isn't
        there. A digest that merely wasn't listed is unknown, and not absent."""
        self._absent.add((repository, digest))

    def find(self, repository: int, digest: int) -> int | None:
        """The version with these numbers of a repository and a digest, if it was listed."""
        return self._places.get(repository << 32 | digest)

    def locate(self, repository: str, digest: str) -> int | None:
        """The version of a digest in a repository, if it was listed."""
        known = self._repository_numbers.get(repository), self._digest_numbers.get(digest)
        return None if known[0] is None or known[1] is None else self.find(known[0], known[1])

    def digest_number(self, digest: str) -> int | None:
        """The number of a digest, if anything has it or names it."""
        return self._digest_numbers.get(digest)

    def is_absent(self, repository: str, digest: str) -> bool:
        """Whether the registry said that it isn't there."""
        return (repository, digest) in self._absent

    def by_digest(self) -> dict[int, list[int]]:
        """The versions of each digest, over all repositories."""
        found: dict[int, list[int]] = defaultdict(list)
        for number, digest in enumerate(self.digest):
            found[digest].append(number)
        return found

    def name(self, number: int) -> str:
        """A version for people: ``repository@digest``."""
        return f"{self.repositories[self.repository[number]]}@{self.digests[self.digest[number]]}"

    @staticmethod
    def _place(repository: int, digest: int) -> int:
        return repository << 32 | digest

    def _repository(self, name: str) -> int:
        known = self._repository_numbers.setdefault(name, len(self.repositories))
        if known == len(self.repositories):
            self.repositories.append(name)
        return known

    def _digest(self, digest: str) -> int:
        known = self._digest_numbers.setdefault(digest, len(self.digests))
        if known == len(self.digests):
            self.digests.append(digest)
        return known

    def _predicate(self, predicate: str) -> int:
        known = self._predicate_numbers.setdefault(predicate, len(self.predicates))
        if known == len(self.predicates):
            self.predicates.append(predicate)
        return known

    def _blob(self, digest: str, size: int) -> int:
        known = self._blob_numbers.setdefault(digest, len(self.blob_sizes))
        if known == len(self.blob_sizes):
            self.blob_sizes.append(size)
        return known
