"""The roots: what stays for itself, and why. Whatever a root reaches stays with it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from shipgraph.channel.journal import State
from shipgraph.errors import ConfigurationError, InvalidReference
from shipgraph.oci.digest import Digest
from shipgraph.oci.reference import Reference
from shipgraph.retain.inventory import UNTIMED
from shipgraph.retain.plan import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shipgraph.retain.history import History
    from shipgraph.retain.inventory import Inventory
    from shipgraph.retain.policy import Policy
    from shipgraph.retain.reading import Reading
    from shipgraph.retain.standing import Standing

_BARE: Final = re.compile(r"sha(?:256|512):[0-9a-f]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class OutsideRoot:
    """A digest that something outside the registry uses; ``repository`` is empty for any."""

    digest: str
    repository: str = ""

    def __str__(self) -> str:
        return f"{self.repository}@{self.digest}" if self.repository else self.digest


def parse_outside(text: str, *, where: str) -> tuple[OutsideRoot, ...]:
    """Read a file of what is used elsewhere: on each line a digest, or a reference with a digest; # begins a comment.

    Raises:
        ConfigurationError: a line is neither; what it means to protect can't be known.
    """
    found: list[OutsideRoot] = []
    for number, line in enumerate(text.splitlines(), start=1):
        entry = line.partition("#")[0].strip()
        if not entry:
            continue
        try:
            if _BARE.fullmatch(entry):
                found.append(OutsideRoot(str(Digest.parse(entry))))
                continue
            reference = Reference.parse(entry)
        except InvalidReference as error:
            raise ConfigurationError(str(error), file=where, line=number) from None
        if reference.digest is None:
            raise ConfigurationError(
                f"{entry!r} names no digest", file=where, line=number, allowed="a digest, or NAME[:TAG]@sha256:…"
            )
        found.append(OutsideRoot(str(reference.digest), reference.repository))
    return tuple(found)


@dataclass(slots=True)
class Roots:
    """Why versions stay, by their number: the reason, and what goes with it. ``unknown`` is what has to stay and was
    not listed, as (repository, digest, for what); ``gone`` the same where the registry said that it isn't there."""

    reasons: dict[int, tuple[Reason, str]]
    unknown: list[tuple[str, str, str]]
    gone: list[tuple[str, str, str]]


class RootFinder:
    """Finds the roots. The first reason that is found for a version is the one that is told."""

    def __init__(self, inventory: Inventory, reading: Reading, policy: Policy, now: float) -> None:
        self._inventory, self._reading, self._policy, self._now = inventory, reading, policy, now
        self.found = Roots({}, [], [])

    def find(self, history: History, standings: Sequence[Standing], outside: Sequence[OutsideRoot]) -> Roots:
        """All roots, in the order of ``Reason``."""
        self._journal_roots(history)
        for number, tag in self._reading.kept.items():
            self._add(number, Reason.TAG, tag)
        self._outside_roots(outside)
        for standing in standings:
            for numbers in standing.kept.values():
                for number in numbers:
                    self._add(number, Reason.RELEASE, standing.settled.immutable_tag)
        for number, tag in self._reading.journal.items():
            self._add(number, Reason.JOURNAL, tag)
        for number, tag in self._reading.undo.items():
            self._add(number, Reason.UNDO, tag)
        self._young_roots()
        self._unfinished_roots(history)
        for number in self._reading.untold:
            self._add(number, Reason.UNTOLD, self._inventory.release[number])
        uncovered = [name not in self._policy.roles for name in self._inventory.repositories]
        if any(uncovered):
            for number, place in enumerate(self._inventory.repository):
                if uncovered[place]:
                    self._add(number, Reason.UNCOVERED, self._inventory.repositories[place])
        return self.found

    def _journal_roots(self, history: History) -> None:
        entry = history.newest
        if entry is None:
            return
        if entry.state is State.OPEN:
            for move in entry.moves:
                for digest in (move.before, move.after):
                    if digest is not None:
                        self._need(move.repository, digest, Reason.OPEN, f"transaction {entry.id}")
            if entry.release is not None and entry.release.metadata:
                self._need(self._policy.metadata, entry.release.metadata, Reason.OPEN, f"transaction {entry.id}")
        for position, reason in enumerate((Reason.CURRENT, Reason.PREDECESSOR)):
            for channel, head in sorted(entry.heads.items()):
                if len(head.releases) > position:
                    self._need(self._policy.metadata, head.releases[position].metadata, reason, channel)

    def _outside_roots(self, outside: Sequence[OutsideRoot]) -> None:
        if not outside:
            return
        by_digest = self._inventory.by_digest()
        for root in outside:
            number = self._inventory.digest_number(root.digest)
            for found in by_digest.get(-1 if number is None else number, ()):
                name = self._inventory.repositories[self._inventory.repository[found]]
                if not root.repository or name == root.repository:
                    self._add(found, Reason.OUTSIDE, str(root))

    def _young_roots(self) -> None:
        limit = self._now - self._policy.grace
        for number, (created, updated) in enumerate(zip(self._inventory.created, self._inventory.updated, strict=True)):
            if created == UNTIMED or created > limit or updated > limit:
                self._add(number, Reason.YOUNG, "")

    def _unfinished_roots(self, history: History) -> None:
        limit = self._now - self._policy.unfinished
        reading = self._reading
        for immutable_tag in {*reading.members, *reading.sets, *reading.metadata}:
            if immutable_tag in history.releases:
                continue
            parts = [
                *reading.members.get(immutable_tag, ()),
                *reading.sets.get(immutable_tag, ()),
                *reading.metadata.get(immutable_tag, ()),
            ]
            if max(map(self._touched, parts)) > limit:
                for number in parts:
                    self._add(number, Reason.UNFINISHED, immutable_tag)

    def _touched(self, number: int) -> float:
        """When somebody last worked on a version for its own release: the tags of another release that has the same
        digest don't count, since these move for ever."""
        created, updated = self._inventory.created[number], self._inventory.updated[number]
        if created == UNTIMED:
            return self._now
        return max(created, updated) if len(self._reading.releases_of.get(number, ())) <= 1 else created

    def _need(self, repository: str, digest: str, reason: Reason, because: str) -> None:
        number = self._inventory.locate(repository, digest)
        if number is not None:
            self._add(number, reason, because)
            return
        where = self.found.gone if self._inventory.is_absent(repository, digest) else self.found.unknown
        where.append((repository, digest, f"{because} ({reason})"))

    def _add(self, number: int, reason: Reason, because: str) -> None:
        self.found.reasons.setdefault(number, (reason, because))
