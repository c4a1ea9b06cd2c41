"""Cleaning up: list everything, make the plan, and carry it out in batches, each under a claim of the journal.

The order: the journal is read, then every package; the plan is made; a policy that nobody has seen a plan of is only
shown. Then batch after batch is claimed. If the journal has gone on since it was read, everything is listed and planned
anew, and of the plan that was made first only that goes on which goes by the new one too. At the end what was kept is
looked for, and the record is written.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from shipgraph.channel.journal import Batch
from shipgraph.channel.metadata import rfc3339
from shipgraph.engine.batches import BATCH, SLACK, write_record
from shipgraph.errors import (
    ConfigurationError,
    Conflict,
    ContentUnknown,
    KeptLost,
    RegistryUnavailable,
    ShipgraphError,
    Stopped,
)
from shipgraph.events import Failed, Finished, Note, Started
from shipgraph.oci.digest import Digest
from shipgraph.records.prune import Done, Outcome, PruneRecord
from shipgraph.retain.applying import Applying, Progress, key, removal
from shipgraph.retain.listing import Lister, remember
from shipgraph.retain.plan import Reason
from shipgraph.retain.planning import make_plan
from shipgraph.retain.reach import connect
from shipgraph.retain.reading import read_tags
from shipgraph.retain.run import Run
from shipgraph.tasks import gather

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shipgraph.engine.batches import Claims
    from shipgraph.engine.finalizing import Transacting
    from shipgraph.events import Emit
    from shipgraph.project.release import Release
    from shipgraph.retain.contents import Contents
    from shipgraph.retain.listing import Listing
    from shipgraph.retain.plan import Deletion, PrunePlan
    from shipgraph.retain.policy import Policy
    from shipgraph.retain.roots import OutsideRoot
    from shipgraph.retain.shelf import Shelf
    from shipgraph.store.protocols import Store

ROUNDS: Final = 5
PROBES: Final = 32
RESIDUE: Final = 20
"""A claim leaves a document that was never needed, and a record its predecessor."""
RECORDED: Final = 10_000
"""Versions that a record lists; the journal has all of them."""
TASK: Final = "prune"
_NEEDED: Final = frozenset(Reason) - {Reason.YOUNG, Reason.UNFINISHED, Reason.UNCOVERED, Reason.LAST}
"""Whatever stays for one of these reasons is looked for at the end; the rest may be somebody else's to delete."""

_ALWAYS: Final = frozenset({Reason.JOURNAL, Reason.UNDO})


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user wants: only a look; a first plan carried out at once; at most so many deletions; a plan that was
    made and looked at before."""

    dry_run: bool = False
    apply: bool = False
    limit: int | None = None
    plan: PrunePlan | None = None


@dataclass(frozen=True, slots=True)
class Pruned:
    """What came of it. ``shown``: the policy's plan was only shown; ``record`` is None where none was written; ``left``
    counts what is left to the next clean-up, and ``why_left`` says why."""

    plan: PrunePlan
    record: PruneRecord | None = None
    shown: bool = False
    left: int = 0
    why_left: str = ""
    progress: Progress = field(default_factory=Progress)


class Pruner:
    """Cleans up one project's packages on one registry."""

    def __init__(
        self,
        view: Release,
        store: Store,
        shelf: Shelf,
        contents: Contents,
        policy: Policy,
        claims: Claims,
        transacting: Transacting,
        *,
        by: str,
        outside: Sequence[OutsideRoot] = (),
        emit: Emit,
        batch: int = BATCH,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._view, self._store, self._shelf, self._contents = view, store, shelf, contents
        self._policy, self._claims, self._transacting = policy, claims, transacting
        self._by, self._outside, self._emit, self._batch, self._clock = by, tuple(outside), emit, batch, clock

    async def plan(self) -> tuple[Listing, PrunePlan]:
        """List everything, and decide.

        Raises:
            ContentError: something can't be read, or what has to stay lacks something of which nobody knows.
            RegistryError
        """
        self._emit(Started(TASK, "list packages"))
        lister = Lister(self._store, self._shelf, self._contents, self._policy, emit=self._emit)
        listing = await lister.everything()
        decide = partial(
            make_plan, listing.inventory, listing.history, self._policy, now=listing.now, outside=self._outside
        )
        try:
            plan = await anyio.to_thread.run_sync(decide)
        except ContentUnknown as unknown:
            for repository, digest in unknown.missing:
                if await self._store.has_manifest(repository, Digest.parse(digest)):
                    raise
                listing.inventory.mark_absent(repository, digest)
            if not unknown.missing:
                raise
            plan = await anyio.to_thread.run_sync(decide)
        self._emit(Finished(TASK, "list packages", f"{len(plan.deletions)} versions may go"))
        return listing, plan

    async def prune(self, wish: Wish) -> Pruned:
        """Clean up.

        Raises:
            ConfigurationError: a plan is given that is about something else.
            KeptLost: something that had to stay is gone.
            Stopped: the user asked for it; what was done is written down.
            Conflict, ContentError, RegistryError, TransactionUnfinished
        """
        listing, plan = await self.plan()
        chosen = self._chosen(wish, plan)
        last = listing.record
        known = last is not None and last.policy == plan.policy
        if wish.dry_run:
            return Pruned(plan, left=len(chosen))
        if not (known or wish.apply or wish.plan is not None):
            record = self._record(Run(listing, plan, chosen, None), Outcome.PLANNED)
            await self._write(record)
            return Pruned(plan, record, shown=True, left=len(chosen))
        if not (wish.apply or wish.plan) and self._is_residue(chosen):
            return Pruned(plan, left=len(chosen), why_left="clean-ups left them, and they aren't worth another one")
        if chosen and self._shelf.one_way:
            self._emit(Note(self._shelf.one_way, warning=True))
        return await self._apply(Run(listing, plan, chosen, wish.limit))

    # --- inside -------------------------------------------------------------------------------------------------

    def _is_residue(self, chosen: Sequence[Deletion]) -> bool:
        """Whether all that goes is a little that clean-ups left themselves: else each would be reason for the next."""
        return 0 < len(chosen) <= RESIDUE and all(
            one.repository == self._policy.metadata and not one.fate.tags and one.fate.reason is Reason.UNREACHED
            for one in chosen
        )

    def _chosen(self, wish: Wish, plan: PrunePlan) -> list[Deletion]:
        """What goes: by the plan that was given, as far as it goes by the one that was just made too."""
        given = wish.plan
        if given is None:
            return list(plan.deletions)
        if (given.project, given.registry, given.policy) != (plan.project, plan.registry, plan.policy):
            raise ConfigurationError(
                f"the plan is for {given.project} on {given.registry} under the policy {given.policy}; here it is"
                f" {plan.project} on {plan.registry} under {plan.policy}",
                hint="make the plan anew with `shipgraph prune --dry-run --out FILE`",
            )
        wanted = {key(one): one.fate.tags for one in given.deletions}
        chosen = [one for one in plan.deletions if wanted.get(key(one)) == one.fate.tags]
        if len(chosen) < len(wanted):
            self._emit(Note(f"{len(wanted) - len(chosen)} versions of the given plan stay by now, or are gone"))
        return chosen

    async def _apply(self, run: Run) -> Pruned:
        began, title = self._clock(), f"delete {len(run.chosen)} versions"
        why, progress = "", run.progress
        if run.chosen:
            self._emit(Started(TASK, title))
        try:
            if run.chosen and not self._shelf.sees_all:
                await self._write(self._record(run, Outcome.PARTIAL))
            why = await self._batches(run)
            if progress.error is None and progress.deleted:
                await self._check_kept(run.plan)
        except ShipgraphError as error:
            progress.error = progress.error or error
        left = len(run.left())
        record = self._record(run, _outcome(progress.error, left))
        if progress.error is not None:
            if run.chosen:
                self._emit(Failed(TASK, title, str(progress.error)))
            if progress.done:
                await self._try_to_write(record)
            raise progress.error
        if run.chosen:
            self._emit(Finished(TASK, title, f"{progress.deleted} deleted, {left} left", self._clock() - began))
        news = _is_news(record, run.listing.record)
        if news:
            await self._write(record)
        return Pruned(run.plan, record if news else None, left=left, why_left=why, progress=progress)

    async def _batches(self, run: Run) -> str:
        """Batch after batch; why something is left, if it is."""
        rounds = 0
        applying = self._applying(run)
        while left := run.left():
            room = min(self._batch, run.room(), self._shelf.allowance())
            if room <= 0:
                return "the limit is reached" if run.room() <= 0 else "GitHub's limit for this hour is nearly reached"
            batch, done = left[:room], len(run.progress.done)
            seconds = SLACK + 2 * self._shelf.pace * len(batch)
            entry = Batch(run=self._claims.run, removals=tuple(map(removal, batch)))
            if not await self._claims.hold(entry, run.listing.journal, seconds, partial(applying.batch, batch)):
                rounds += 1
                if rounds > ROUNDS:
                    raise Conflict("the journal goes on all the time", hint="run the same command later")
                self._emit(Note("the journal has gone on since the packages were listed; listing them again"))
                run.renew(*await self.plan())
                applying = self._applying(run)
                continue
            if run.progress.error is not None:
                return ""
            if self._transacting.stop():
                raise Stopped(
                    f"stopped between two deletions; {run.progress.deleted} versions were deleted",
                    hint="run the same command again, or `shipgraph prune --undo`",
                )
            if len(run.progress.done) == done:
                raise Conflict("there was no time to delete anything", hint="run the same command again")
        return ""

    def _applying(self, run: Run) -> Applying:
        inventory, history = run.listing.inventory, run.listing.history
        graph = connect(inventory, read_tags(inventory, self._policy, history))
        stop = self._transacting.stop
        return Applying(
            self._shelf, self._contents, run.listing, graph, run.left(), run.progress, stop=stop, clock=self._clock
        )

    async def _check_kept(self, plan: PrunePlan) -> None:
        """Whether everything that had to stay is there.

        Raises:
            KeptLost
        """
        kept = [one for one in plan.kept if one.fate.reason in _NEEDED]
        limiter = anyio.CapacityLimiter(PROBES)
        probes = [partial(self._store.has_manifest, one.repository, Digest.parse(one.fate.digest)) for one in kept]
        there = await gather(probes, limiter=limiter)
        lost = [f"{one.repository}@{one.fate.digest}" for one, found in zip(kept, there, strict=True) if not found]
        if lost:
            raise KeptLost(lost)

    def _record(self, run: Run, outcome: Outcome) -> PruneRecord:
        plan, progress, left = run.plan, run.progress, run.left()
        kept = Counter(str(one.fate.reason) for one in plan.kept)
        forgotten = {place for place, one in progress.done.items() if one.done in (Done.DELETED, Done.GONE)}
        forgotten |= {key(one) for one in plan.kept if one.fate.reason in _ALWAYS}
        pending: dict[str, list[str]] = {}
        if not self._shelf.sees_all and outcome is not Outcome.PLANNED:
            for one in left:
                pending.setdefault(one.repository, []).append(one.fate.digest)
        return PruneRecord(
            project=self._policy.project,
            run=self._claims.run,
            by=self._by,
            began_at=plan.made_at,
            ended_at=rfc3339(time.time()),
            outcome=outcome,
            policy=plan.policy,
            plan=plan.digest,
            rules=plan.rules,
            kept=dict(sorted(kept.items())),
            versions=tuple(progress.done.values())[:RECORDED],
            left=len(left),
            freed=plan.freed if outcome is Outcome.COMPLETE else 0,
            problem="" if progress.error is None else str(progress.error),
            first_seen=remember(run.listing.first_seen, forgotten),
            pending={repository: tuple(digests) for repository, digests in sorted(pending.items())},
        )

    async def _try_to_write(self, record: PruneRecord) -> None:
        try:
            await self._write(record)
        except ShipgraphError as error:
            self._emit(Note(f"the record of this clean-up could not be written: {error}", warning=True))

    async def _write(self, record: PruneRecord) -> None:
        await write_record(self._store, self._view.metadata_repository, record)


def _outcome(error: ShipgraphError | None, left: int) -> Outcome:
    if error is not None and not isinstance(error, Stopped | RegistryUnavailable):
        return Outcome.FAILED
    return Outcome.COMPLETE if error is None and not left else Outcome.PARTIAL


def _is_news(record: PruneRecord, last: PruneRecord | None) -> bool:
    """Whether a record says anything that the last one doesn't: a clean-up with nothing to do writes nothing."""
    return (
        last is None
        or bool(record.versions)
        or (record.outcome, record.policy) != (last.outcome, last.policy)
        or record.first_seen != last.first_seen
    )
