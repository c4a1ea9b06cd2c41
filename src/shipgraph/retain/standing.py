"""Which releases are complete, and how many newer complete ones each has: what the counts of a policy count.

Counted are releases and not versions or tags, over all repositories together, one for each immutable tag, in the order
in which they were settled. A release of which something is missing doesn't count, so it never pushes a complete one
out; it stays as long as a complete one in its place would.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shipgraph.evidence.predicates import PREDICATE_TYPES
from shipgraph.evidence.requirements import Kind
from shipgraph.retain.policy import Role
from shipgraph.retain.reach import Link

if TYPE_CHECKING:
    from shipgraph.retain.history import History, Settled
    from shipgraph.retain.inventory import Inventory
    from shipgraph.retain.policy import Policy
    from shipgraph.retain.reach import Graph
    from shipgraph.retain.reading import Reading

_OF_INDEX = frozenset({Kind.PROVENANCE})
_OF_PAYLOAD = frozenset({Kind.GATE, Kind.PROVENANCE})


@dataclass(slots=True)
class Standing:
    """One settled release. ``rank`` is how many complete ones are newer; ``lacks`` is empty for one that is complete;
    ``kept`` are the versions that the counts keep, by repository."""

    settled: Settled
    rank: int
    lacks: str = ""
    kept: dict[str, list[int]] = field(default_factory=dict)


def rank_releases(
    inventory: Inventory, reading: Reading, graph: Graph, history: History, policy: Policy
) -> list[Standing]:
    """All settled releases, the newest first.

    Those beyond every count are not looked at: whether they are complete makes no difference any more.
    """
    judge = _Judge(inventory, reading, graph, policy)
    standings: list[Standing] = []
    complete = 0
    for settled in sorted(history.releases.values(), key=lambda one: (one.order, one.immutable_tag), reverse=True):
        standing = Standing(settled, complete)
        standings.append(standing)
        if complete >= policy.most:
            continue
        parts = judge.parts(settled.immutable_tag)
        standing.kept = {name: parts[name] for name in parts if policy.count(name) > complete}
        whole = policy.count(policy.metadata) > complete
        standing.lacks = judge.lacks(settled.immutable_tag, parts, whole=whole)
        complete += not standing.lacks
    return standings


class _Judge:
    """Looks at the parts of releases."""

    def __init__(self, inventory: Inventory, reading: Reading, graph: Graph, policy: Policy) -> None:
        self._inventory, self._reading, self._graph, self._policy = inventory, reading, graph, policy
        self._required = {kind: PREDICATE_TYPES[kind] for kind in sorted(policy.evidence)}

    def parts(self, immutable_tag: str) -> dict[str, list[int]]:
        """What there is of a release, by repository: what has its tag, its metadata, and what that names."""
        documents = self._reading.metadata.get(immutable_tag, [])
        found = dict.fromkeys([*documents, *self._reading.members.get(immutable_tag, ())])
        for document in documents:
            named = (target for target, link in self._graph.targets(document) if link is Link.NAMED)
            found.update(dict.fromkeys(named))
        parts: dict[str, list[int]] = {}
        for number in found:
            name = self._inventory.repositories[self._inventory.repository[number]]
            if name in self._policy.roles:
                parts.setdefault(name, []).append(number)
        return parts

    def lacks(self, immutable_tag: str, parts: dict[str, list[int]], *, whole: bool) -> str:
        """What a release lacks; empty for nothing. ``whole``: its metadata has to be there, and so all that it names.

        Beyond the metadata's count only what is there is looked at. What the counts let go of a release before doesn't
        make it incomplete: otherwise it would not count where it still stays, and stay there for ever. What goes takes
        its metadata with it first, and evidence last, so nothing looks broken that was only half cleaned up.
        """
        documents = self._reading.metadata.get(immutable_tag, [])
        if whole and not documents:
            return "its metadata"
        for document in documents:
            if lack := self._lacks_part(document):
                return lack
        for name, numbers in parts.items():
            role = self._policy.roles[name]
            for number in self._judged(immutable_tag, role, numbers):
                if lack := self._lacks_one(number, role):
                    return lack
        return ""

    def _judged(self, immutable_tag: str, role: Role, numbers: list[int]) -> list[int]:
        """Those of a repository's versions that must have their evidence.

        A payload's first manifest is only where versions are made from: what is published is one of these.
        """
        if role is Role.METADATA:
            return []
        if role is not Role.PAYLOAD:
            return numbers
        documents = self._reading.metadata.get(immutable_tag, [])
        named = {target for one in documents for target, link in self._graph.targets(one) if link is Link.NAMED}
        return [number for number in numbers if number in named]

    def _lacks_one(self, number: int, role: Role) -> str:
        if role is Role.PAYLOAD:
            return self._lacks_evidence(number, _OF_PAYLOAD)
        if lack := self._lacks_part(number):
            return lack
        children = [target for target, link in self._graph.targets(number) if link is Link.CHILD]
        if lack := self._lacks_evidence(number, _OF_INDEX):
            return lack
        return next((lack for child in children if (lack := self._lacks_evidence(child, frozenset(Kind)))), "")

    def _lacks_part(self, number: int) -> str:
        for place, digest in self._graph.missing.get(number, ()):
            return f"{self._inventory.repositories[place]}@{self._inventory.digests[digest]}"
        return ""

    def _lacks_evidence(self, subject: int, kinds: frozenset[Kind]) -> str:
        if not self._required:
            return ""
        there = {
            self._inventory.predicates[self._inventory.predicate[target]]
            for target, link in self._graph.targets(subject)
            if link is Link.REFERRER
        }
        missing = [str(kind) for kind, predicate in self._required.items() if kind in kinds and predicate not in there]
        return f"{' and '.join(missing)} of {self._inventory.name(subject)}" if missing else ""
