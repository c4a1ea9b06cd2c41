"""Brings back what a clean-up deleted, from what the journal says about it: in the opposite order, tags last."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import anyio

from shipgraph.errors import NotFound, ShipgraphError, TagMoved
from shipgraph.oci.digest import Digest
from shipgraph.records.prune import Done, PrunedVersion
from shipgraph.retain.applying import may_land
from shipgraph.store.protocols import Fetcher, Prober, Resolver, Tagger
from shipgraph.tasks import gather

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from shipgraph.channel.journal import JournalEntry, Removal
    from shipgraph.retain.shelf import Shelf

PROBES: Final = 16


class RestoringStore(Fetcher, Prober, Resolver, Tagger, Protocol):
    """What bringing back needs of a registry beside its shelf."""


@dataclass(frozen=True, slots=True)
class Cleanup:
    """One clean-up as the journal tells it: when it began, in seconds since the epoch, and what it was about to delete,
    in the order of the deletions."""

    run: str
    began: float
    removals: tuple[Removal, ...]


def cleanups(entries: Iterable[JournalEntry]) -> list[Cleanup]:
    """The clean-ups in entries that are given newest first; the newest first."""
    found: dict[str, tuple[float, dict[tuple[str, str], Removal]]] = {}
    for entry in entries:
        if entry.batch is None or entry.batch.undoes:
            continue
        _, removals = found.get(entry.batch.run, (0.0, {}))
        # an earlier batch goes before the later ones that were seen first
        own = {(one.repository, one.digest): one for one in entry.batch.removals}
        found[entry.batch.run] = entry.opened_at, {**own, **{key: removals[key] for key in removals if key not in own}}
    return [Cleanup(run, began, tuple(removals.values())) for run, (began, removals) in found.items()]


async def missing(store: Prober, removals: Sequence[Removal]) -> list[Removal]:
    """Those that are not in the registry."""
    limiter = anyio.CapacityLimiter(PROBES)
    probes = [partial(store.has_manifest, one.repository, Digest.parse(one.digest)) for one in removals]
    return [one for one, there in zip(removals, await gather(probes, limiter=limiter), strict=True) if not there]


@dataclass(slots=True)
class Restoring:
    """Brings versions back, batch by batch. ``error`` is what ended it; ``done`` what became of each, by its place."""

    store: RestoringStore
    shelf: Shelf
    stop: Callable[[], bool]
    clock: Callable[[], float]
    done: dict[tuple[str, str], PrunedVersion] = field(default_factory=dict)
    error: ShipgraphError | None = None

    async def batch(self, removals: Sequence[Removal], deadline: float) -> bool:
        """Bring these back, as far as there is time; whether a request of ours may still land."""
        try:
            with anyio.move_on_after(max(0.0, deadline - self.clock())) as scope:
                for removal in removals:
                    if self.stop() or self.clock() + self.shelf.pace >= deadline:
                        break
                    done, detail = await self._one(removal)
                    self.done[removal.repository, removal.digest] = PrunedVersion(
                        repository=removal.repository,
                        digest=removal.digest,
                        done=done,
                        tags=removal.tags,
                        id=removal.id,
                        detail=detail,
                    )
        except ShipgraphError as error:
            self.error = error
            return may_land(error)
        return scope.cancelled_caught

    async def _one(self, removal: Removal) -> tuple[Done, str]:
        try:
            await self.shelf.restore(removal)
        except NotFound as gone:
            # pushed again since, it has another id
            if not await self.store.has_manifest(removal.repository, Digest.parse(removal.digest)):
                return Done.LOST, str(gone)
        taken = [tag for tag in removal.tags if not await self._tag(removal, tag)]
        return Done.RESTORED, f"{', '.join(taken)} belongs to something else now" if taken else ""

    async def _tag(self, removal: Removal, tag: str) -> bool:
        """Put a tag back unless it is in use again; whether it points at the version now."""
        digest = Digest.parse(removal.digest)
        there = await self.store.resolve(removal.repository, tag)
        if there is not None:
            return there.digest == digest
        manifest = await self.store.manifest(removal.repository, digest)
        try:
            await self.store.tag(removal.repository, tag, manifest, expect=None)
        except TagMoved:
            return False
        return True
