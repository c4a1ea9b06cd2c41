"""`prune --undo`: what the last clean-up deleted comes back, in batches that are claimed like the clean-up's own."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from shipgraph.channel.journal import JOURNAL, JOURNAL_TYPE, Batch, decode_entry
from shipgraph.channel.metadata import rfc3339
from shipgraph.engine.batches import BATCH, SLACK, write_record
from shipgraph.errors import Conflict, NotFound, Stopped
from shipgraph.events import Finished, Note, Started, counted
from shipgraph.oci.digest import Digest
from shipgraph.records.document import read_document
from shipgraph.records.prune import Done, Outcome, PruneRecord
from shipgraph.retain.restoring import Restoring, cleanups, missing
from shipgraph.store.protocols import ANY

if TYPE_CHECKING:
    from collections.abc import Callable

    from shipgraph.channel.journal import JournalEntry, Removal
    from shipgraph.engine.batches import Claims
    from shipgraph.engine.finalizing import Transacting
    from shipgraph.events import Emit
    from shipgraph.project.release import Release
    from shipgraph.retain.restoring import Cleanup
    from shipgraph.retain.shelf import Shelf
    from shipgraph.store.protocols import Store

LOOK_BACK: Final = 5000
"""So many entries of the journal are searched for clean-ups."""
DAYS: Final = 30
TASK: Final = "undo"


@dataclass(frozen=True, slots=True)
class Undone:
    """What came of it: the clean-up that was undone, what became of each version, how many are still to come, and how
    many earlier clean-ups have something missing too."""

    of: Cleanup
    record: PruneRecord
    left: int
    earlier: int


class Undoer:
    """Undoes clean-ups of one project on one registry."""

    def __init__(
        self,
        view: Release,
        store: Store,
        shelf: Shelf,
        claims: Claims,
        transacting: Transacting,
        *,
        by: str,
        emit: Emit,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._view, self._store, self._shelf, self._claims = view, store, shelf, claims
        self._transacting, self._by, self._emit, self._clock = transacting, by, emit, clock

    async def undo(self, run: str | None = None) -> Undone | None:
        """Bring back what the newest clean-up deleted of which something is missing, or what ``run`` deleted; None if
        nothing is missing.

        Raises:
            NotFound: nothing of it can be brought back.
            Conflict: there is no such clean-up, or the journal is busy.
            Stopped, RegistryError, TransactionUnfinished
        """
        began = time.time()
        await anyio.sleep(self._claims.lag)  # the journal may not show yet what was deleted a moment ago
        found = cleanups(await self._entries())
        if run is not None:
            found = [one for one in found if one.run == run]
            if not found:
                raise Conflict(f"the journal of the last {DAYS} days tells of no clean-up {run!r}")
        lacking = [(one, gone) for one in found if (gone := await missing(self._store, one.removals))]
        if not lacking:
            return None
        cleanup, gone = lacking[0]
        title = f"bring back {counted(len(gone), 'version')} of clean-up {cleanup.run}"
        self._emit(Started(TASK, title))
        restoring = Restoring(self._store, self._shelf, self._transacting.stop, self._clock)
        # what was deleted last comes back first: parts before what is made of them
        left = await self._batches(restoring, cleanup, list(reversed(gone)))
        restored = sum(one.done is Done.RESTORED for one in restoring.done.values())
        if not restored and not left:
            raise NotFound(
                f"nothing of clean-up {cleanup.run} can be brought back: {next(iter(restoring.done.values())).detail}",
                hint=f"GitHub keeps deleted versions for {DAYS} days; an older clean-up is named with --run",
            )
        self._emit(Finished(TASK, title, f"{counted(restored, 'version')} back", time.time() - began))
        record = self._record(cleanup, restoring, began, len(left))
        await write_record(self._store, self._view.metadata_repository, record)
        return Undone(cleanup, record, len(left), len(lacking) - 1)

    async def _batches(self, restoring: Restoring, cleanup: Cleanup, left: list[Removal]) -> list[Removal]:
        """Batch after batch; what is left."""
        while left:
            room = min(BATCH, self._shelf.allowance())
            if room <= 0:
                self._emit(Note("GitHub's limit for this hour is nearly reached; the rest comes back next time"))
                return left
            batch = left[:room]
            entry = Batch(run=self._claims.run, removals=tuple(batch), undoes=cleanup.run)
            seconds = SLACK + 4 * self._shelf.pace * len(batch)
            # whatever was decided since the journal was read: it can't have relied on what was deleted
            await self._claims.hold(entry, ANY, seconds, partial(restoring.batch, batch))
            if restoring.error is not None:
                raise restoring.error
            if self._transacting.stop():
                raise Stopped(
                    f"stopped; {len(restoring.done)} versions were seen to", hint="run the same command again"
                )
            rest = [one for one in left if (one.repository, one.digest) not in restoring.done]
            if len(rest) == len(left):
                raise Conflict("there was no time to bring anything back", hint="run the same command again")
            left = rest
        return left

    async def _entries(self) -> list[JournalEntry]:
        """The journal's entries of the last days, the newest first."""
        repository = self._view.metadata_repository
        found = await self._store.resolve(repository, JOURNAL)
        horizon = await self._store.now() - DAYS * 86400
        entries: list[JournalEntry] = []
        digest = None if found is None else found.digest
        while digest is not None and len(entries) < LOOK_BACK:
            document = await read_document(self._store, repository, digest, JOURNAL_TYPE)
            entry = decode_entry(document.content, where=f"{repository}@{digest}")
            if entry.opened_at < horizon:
                break
            entries.append(entry)
            digest = None if entry.previous is None else Digest.parse(entry.previous)
        return entries

    def _record(self, cleanup: Cleanup, restoring: Restoring, began: float, left: int) -> PruneRecord:
        return PruneRecord(
            project=self._view.project.name,
            run=self._claims.run,
            by=self._by,
            began_at=rfc3339(began),
            ended_at=rfc3339(time.time()),
            outcome=Outcome.UNDONE,
            versions=tuple(restoring.done.values()),
            left=left,
            undoes=cleanup.run,
        )
