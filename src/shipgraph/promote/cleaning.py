"""The plan of one batch of a clean-up: no tag moves, and what is deleted is deleted while nobody else may write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shipgraph.channel.journal import Kind, State
from shipgraph.promote.protocol import Draft, Unchanged
from shipgraph.store.protocols import ANY

if TYPE_CHECKING:
    from shipgraph.channel.journal import Batch
    from shipgraph.promote.actions import JournalSeen
    from shipgraph.promote.steps import Steps
    from shipgraph.promote.terms import Terms
    from shipgraph.store.protocols import Expect


def plan_batch(terms: Terms, batch: Batch, since: Expect, work_s: float, seen: JournalSeen) -> Steps[Draft | Unchanged]:
    """Claim the journal for a batch, unless somebody has decided something since what the batch rests on was read.

    ``since`` is the journal as it was then, ``ANY`` where that makes no difference; entries of this very owner count as
    the same. ``Unchanged``: the journal has gone on, so everything has to be looked at again.
    """
    yield from ()
    entry = seen.entry
    ours = (
        entry is not None
        and entry.owner.nonce == terms.owner.nonce
        and entry.kind is Kind.PRUNE
        and entry.state is State.SETTLED
    )
    channel = next(iter(entry.heads), terms.channels[0]) if entry is not None else terms.channels[0]
    serial = entry.head(channel).serial if entry is not None else 0
    if since is not ANY and seen.digest != since and not ours:
        return Unchanged(serial, None)
    return Draft(Kind.PRUNE, channel, serial, batch=batch, work_s=work_s)
