"""Deletes what a plan says, batch by batch, each while the journal is claimed: never more, less where things changed.

The rules:

1. Only what the plan names, in the plan's order: whatever needs something goes before it.
2. A version goes only once everything that needs it and was to go is really gone. So if one can't go (the registry
   keeps it, it got another tag), what it needs is held.
3. Before a batch, what is new in any package is read, and what was deleted and is there again; what that needs, at any
   depth, is held.
4. Right before it is deleted a version is looked at again: with another tag, or touched since, it isn't what was
   decided about.
5. An error ends the batch. Nothing is half-done then: what is left is left to the next clean-up.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from shipgraph.channel.journal import Removal
from shipgraph.errors import RegistryUnavailable, ShipgraphError
from shipgraph.records.prune import Done, PrunedVersion
from shipgraph.retain.reach import BEFORE, Reached
from shipgraph.retain.shelf import Kept
from shipgraph.retain.versions import ANYWHERE, Version
from shipgraph.tasks import gather

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from shipgraph.retain.contents import Contents
    from shipgraph.retain.listing import Listing
    from shipgraph.retain.plan import Deletion
    from shipgraph.retain.reach import Graph
    from shipgraph.retain.shelf import Shelf
    from shipgraph.retain.versions import Node


_TOO_MANY: Final = frozenset({403, 429})


@dataclass(slots=True)
class Progress:
    """How far a clean-up has come. ``error`` is what ended it; ``deleted`` counts what was really deleted."""

    done: dict[tuple[str, str], PrunedVersion] = field(default_factory=dict)
    error: ShipgraphError | None = None
    deleted: int = 0

    def note(self, deletion: Deletion, done: Done, detail: str = "") -> None:
        """Write down what became of a version."""
        fate = deletion.fate
        self.deleted += done is Done.DELETED
        self.done[key(deletion)] = PrunedVersion(
            repository=deletion.repository,
            digest=fate.digest,
            done=done,
            tags=fate.tags,
            id=fate.id,
            reason=str(fate.reason),
            because=fate.because,
            detail=detail,
        )


class Applying:
    """Carries out one plan, as far as it still holds.

    Args:
        graph: what needs what, among everything that was listed.
        deletions: what goes, in order.
        stop: whether the user asked to stop.
        clock: the monotonic clock by which batches have deadlines, in seconds.
    """

    def __init__(
        self,
        shelf: Shelf,
        contents: Contents,
        listing: Listing,
        graph: Graph,
        deletions: Sequence[Deletion],
        progress: Progress,
        *,
        stop: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        inventory = listing.inventory
        self._shelf, self._contents, self._inventory, self._graph = shelf, contents, inventory, graph
        self._repositories = listing.repositories
        self._progress, self._stop, self._clock = progress, stop, clock
        self._numbers = {key(one): inventory.locate(*key(one)) for one in deletions}
        self._planned = {key(one): _version(one) for one in deletions}
        going = {number: place for place, number in self._numbers.items() if number is not None}
        self._needed_by: dict[tuple[str, str], list[tuple[str, str]]] = {}
        for number, place in going.items():
            for target, link in graph.targets(number):
                if link in BEFORE and target in going:
                    self._needed_by.setdefault(going[target], []).append(place)

    async def batch(self, deletions: Sequence[Deletion], deadline: float) -> bool:
        """Delete these, as far as there is time; whether a request of ours may still land.

        An error that ends it is left in ``Progress.error``.
        """
        try:
            with anyio.move_on_after(max(0.0, deadline - self._clock())) as scope:
                held = await self._held_by_what_is_new()
                for deletion in deletions:
                    if self._stop() or self._clock() + self._shelf.pace >= deadline:
                        break
                    await self._one(deletion, held)
        except ShipgraphError as error:
            self._progress.error = error
            return may_land(error)
        return scope.cancelled_caught

    async def _one(self, deletion: Deletion, held: Reached) -> None:
        place, note = key(deletion), self._progress.note
        number = self._numbers[place]
        if number is None:
            note(deletion, Done.CHANGED, "no list shows it any more")
        elif held.stays[number]:
            note(deletion, Done.CHANGED, "something new needs it")
        elif (reason := self._still_needed(place)) is not None:
            note(deletion, Done.HELD, reason)
        else:
            await self._delete(deletion)

    async def _delete(self, deletion: Deletion) -> None:
        note, planned = self._progress.note, _version(deletion)
        now = await self._shelf.look(planned)
        if now is None:
            note(deletion, Done.GONE)
        elif (change := _change(planned, now)) is not None:
            note(deletion, Done.CHANGED, change)
        else:
            try:
                deleted = await self._shelf.delete(planned)
            except Kept as kept:
                note(deletion, Done.REFUSED, kept.detail or str(kept))
            else:
                note(deletion, Done.DELETED if deleted else Done.GONE)

    def _still_needed(self, place: tuple[str, str]) -> str | None:
        for other in self._needed_by.get(place, ()):
            outcome = self._progress.done.get(other)
            if outcome is None or outcome.done not in (Done.DELETED, Done.GONE):
                return f"{other[0]}@{other[1]} stays, and needs it"
        return None

    async def _held_by_what_is_new(self) -> Reached:
        """Everything that versions need which came after the list was read."""
        found = await gather([partial(self._new_in, repository) for repository in self._repositories])
        held = Reached(self._graph)
        held.extend(number for numbers in found for number in numbers)
        return held

    async def _new_in(self, repository: str) -> list[int]:
        """What new versions of a repository need directly, by number."""
        new = await self._shelf.newer(repository, self._is_known)
        nodes, _ = await self._contents.nodes(repository, [one.digest for one in new])
        return [number for node in nodes.values() for number in self._needs(repository, node)]

    def _is_known(self, version: Version) -> bool:
        """Whether the list had it; what this run has deleted, and somebody has pushed again, is new.

        GitHub may list for a while what is deleted; what is pushed again gets an id of its own.
        """
        place = (version.repository, version.digest)
        done = self._progress.done.get(place)
        if done is None or done.done not in (Done.DELETED, Done.GONE):
            return self._inventory.locate(*place) is not None
        planned = self._planned.get(place)
        return version.id is not None and planned is not None and version.id == planned.id

    def _needs(self, repository: str, node: Node) -> Iterable[int]:
        inventory = self._inventory
        places = [(repository, digest) for digest in (*node.children, *([node.subject] if node.subject else ()))]
        for name in node.names:
            if name.repository.startswith(ANYWHERE):
                ending = name.repository.removeprefix(ANYWHERE)
                places += [(one, name.digest) for one in self._repositories if one.rpartition("/")[2] == ending]
            else:
                places.append((name.repository, name.digest))
        return [number for place in places if (number := inventory.locate(*place)) is not None]


def may_land(error: ShipgraphError) -> bool:
    """Whether a request that failed so may be carried out all the same, later; who has had too many is told no."""
    return isinstance(error, RegistryUnavailable) and error.status not in _TOO_MANY


def key(deletion: Deletion) -> tuple[str, str]:
    """A version's repository and digest."""
    return deletion.repository, deletion.fate.digest


def removal(deletion: Deletion) -> Removal:
    """What the journal has to know of a version before it is deleted."""
    fate = deletion.fate
    return Removal(repository=deletion.repository, digest=fate.digest, tags=fate.tags, id=fate.id)


def _version(deletion: Deletion) -> Version:
    fate = deletion.fate
    return Version(
        repository=deletion.repository,
        digest=fate.digest,
        tags=fate.tags,
        created_at=fate.created_at,
        updated_at=fate.updated_at,
        id=fate.id,
    )


def _change(planned: Version, now: Version) -> str | None:
    """How a version differs from the one that was decided about."""
    added = sorted({*now.tags} - {*planned.tags})
    if added:
        return f"it has got the tag {added[0]}"
    if len(now.tags) < len(planned.tags):
        return f"it has lost the tag {min({*planned.tags} - {*now.tags})}"
    if (now.updated_at or 0.0) > (planned.updated_at or 0.0):
        return "somebody has touched it since"
    return None
