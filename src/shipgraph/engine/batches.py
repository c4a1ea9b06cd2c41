"""What a clean-up and its undoing share: the claim under which a batch is done, and the record of what was done."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from shipgraph.promote.cleaning import plan_batch
from shipgraph.promote.driver import Driver, Liveness, nobody_knows
from shipgraph.promote.protocol import Settled, transact
from shipgraph.promote.terms import Terms
from shipgraph.records.document import push_document
from shipgraph.records.prune import RETENTION, PruneRecord, encode_prune

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shipgraph.channel.journal import Batch, Owner
    from shipgraph.engine.finalizing import Transacting
    from shipgraph.events import Emit
    from shipgraph.project.release import Release
    from shipgraph.promote.timing import Timing
    from shipgraph.store.protocols import Expect, Store

BATCH: Final = 60
"""Deletions under one claim: at GitHub's pace a release that waits for the journal waits for less than a minute."""
SLACK: Final = 60.0
"""Seconds of lease beside the deletions' own: what is new is listed first."""


class Claims:
    """Claims the journal for one clean-up's batches."""

    def __init__(
        self,
        view: Release,
        store: Store,
        timing: Timing,
        transacting: Transacting,
        owner: Owner,
        *,
        emit: Emit,
        alive: Liveness = nobody_knows,
    ) -> None:
        self._view, self._store, self._timing, self._transacting = view, store, timing, transacting
        self._emit, self._alive = emit, alive
        self.run = f"{owner.run}-{owner.nonce[:8]}"
        self.lag = timing.lag
        self._held = False
        self._terms = Terms.of(view, owner, timing, wait=transacting.wishes.wait)

    async def hold(self, batch: Batch, since: Expect, seconds: float, work: Callable[[float], Awaitable[bool]]) -> bool:
        """Do a batch's work while the journal is ours; False if it has gone on since, and nothing was done.

        Raises:
            ChannelBusy, ForeignJournal, Stopped, RegistryError: nothing was done.
            TransactionUnfinished: the journal stays open.
        """
        if self._held and self._timing.lag:
            await anyio.sleep(self._timing.lag)  # else our own claim may be read, though we have closed it
        self._held = True
        driver = Driver(
            self._store,
            self._view.metadata_repository,
            emit=self._emit,
            jobs=self._transacting.jobs,
            stop=self._transacting.stop,
            alive=self._alive,
            work=work,
            pace=self._timing.writes_per_second if self._timing.paced else None,
        )
        with self._transacting.protected():
            outcome = await driver.run(transact(self._terms, partial(plan_batch, self._terms, batch, since, seconds)))
        return isinstance(outcome, Settled)


async def write_record(store: Store, repository: str, record: PruneRecord) -> None:
    """Put a clean-up's record into the metadata repository.

    Raises:
        RegistryError
    """
    document = encode_prune(record)
    await push_document(store, repository, document)
    await store.tag(repository, RETENTION, document.manifest)
