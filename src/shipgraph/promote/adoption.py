"""Step 7: whoever finds a dead owner's transaction claims it and ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from shipgraph.channel.journal import State, entry_tag
from shipgraph.errors import ForeignJournal, TransactionRefused
from shipgraph.promote.actions import AskAlive, JournalSeen, Push, Say
from shipgraph.promote.moving import commit, go_back, left_over_text, move_first
from shipgraph.promote.steps import (
    Refusal,
    Session,
    Steps,
    claim,
    close,
    look_at,
    prepare,
    put_all,
    read_journal,
    read_times,
    record_puts,
    sleep,
    stop_here,
)

if TYPE_CHECKING:
    from shipgraph.channel.journal import JournalEntry
    from shipgraph.promote.terms import Terms

POLL: Final = 5.0


def adopt_open(terms: Terms, *, abort: bool = False) -> Steps[State | None]:
    """`resume`: end the open transaction, whoever's it is, once its owner is dead; None if none is open.

    Raises:
        ForeignJournal, TransactionUnfinished, RegistryError
        Stopped: while it was waiting.
    """
    looked_twice = False
    while True:
        seen = yield from read_journal()
        if seen.entry is None or seen.entry.state is not State.OPEN:
            if looked_twice or not terms.timing.lag:
                return None
            looked_twice = True  # a read may show what was before the claim
            yield from sleep(terms.timing.lag, "waiting until reads show what was written last")
            continue
        check_project(terms, seen.entry)
        alive_for = yield from may_live_for(terms, seen.entry)
        if alive_for > 0:
            yield from stop_here()
            why = f"transaction {seen.entry.id} of {seen.entry.owner.run} may live for another {alive_for:.0f} s"
            yield from sleep(min(POLL, alive_for + 1), why)
            continue
        state = yield from adopt(terms, seen, abort=abort)
        if state is not None:
            return state


def adopt_lost(terms: Terms, last: JournalSeen) -> Steps[State | None]:
    """`repair --journal`: end the transaction of the last entry that is left, once its owner is dead.

    Raises: see ``adopt_open``.
    """
    assert last.entry is not None  # noqa: S101 (an entry was found)
    check_project(terms, last.entry)
    while (alive_for := (yield from may_live_for(terms, last.entry))) > 0:
        yield from stop_here()
        yield from sleep(min(POLL, alive_for + 1), f"the last entry's owner may live for another {alive_for:.0f} s")
    return (yield from adopt(terms, JournalSeen(None, None), lost=last))


def check_project(terms: Terms, entry: JournalEntry) -> None:
    """The journal must be this project's.

    Raises:
        ForeignJournal
    """
    if entry.project != terms.project:
        raise ForeignJournal(
            f"the journal in {terms.repository} is project {entry.project!r}'s, not {terms.project!r}'s",
            hint="give this project its own [metadata] repository",
        )


def may_live_for(terms: Terms, entry: JournalEntry) -> Steps[float]:
    """How many seconds an open entry's owner may still be alive, by the registry's clock; 0 or less: it is dead.

    What is known of the owner's run can prove it alive and never shortens its lease. Our own run is not asked about:
    a dead step's run may live on in the step that mends it.
    """
    if not terms.parts.lease:
        return 0.0
    times = yield from read_times()
    left = entry.opened_at + entry.lease_s + terms.timing.margin - times.registry
    if left > 0 or (entry.owner.run, entry.owner.attempt) == (terms.owner.run, terms.owner.attempt):
        return left
    alive: bool = yield AskAlive(entry.owner)
    return POLL if alive else left


def adopt(
    terms: Terms, seen: JournalSeen, *, abort: bool = False, lost: JournalSeen | None = None
) -> Steps[State | None]:
    """Claim a dead owner's transaction and end it: forward where any move is visible, else as aborted; None if the
    journal has gone on. ``abort``: back, unless it has been committed. ``lost``: the entry, where the journal is lost.

    Raises:
        TransactionUnfinished: a move was refused, or the lease is over: the journal stays open.
    """
    found = lost or (yield from _last_claimed(seen))
    dead = found.entry
    assert dead is not None  # noqa: S101 (only an open entry is adopted)
    shown = seen.entry or dead
    moves = dead.moves if dead.state is State.OPEN else ()
    times = yield from read_times()
    taken = msgspec.structs.replace(
        dead,
        id=dead.id if moves else shown.id,
        number=dead.number + 1,
        owner=terms.owner,
        opened_at=times.registry,
        lease_s=terms.timing.lease(len(moves)),
        state=State.OPEN,
        moves=moves,
        previous=str(found.digest),
    )
    session = prepare(terms, taken, times.local)
    yield Say(f"adopting transaction {taken.id} of {shown.owner.run}, whose owner is dead")
    if not terms.parts.adopt:
        yield Push((session.opened, session.settled, session.aborted))
    elif not (yield from claim(session, seen)):
        return None
    try:
        return (yield from _end(session, found, abort=abort))
    except Refusal as refusal:
        raise TransactionRefused(f"the journal stays open: {refusal.reason}") from None


def _end(session: Session, found: JournalSeen, *, abort: bool) -> Steps[State]:
    seen = yield from look_at(session, session.entry.moves)
    visible = any(seen[move] == move.after for move in session.entry.moves if move.before != move.after)
    yield from put_all(session, record_puts(session, found, metadata=visible))
    if not visible:
        yield from close(session, session.aborted)
        return State.ABORTED
    point = session.commit_point
    if abort and not (point is not None and seen[point] == point.after):
        yield from go_back(session)
        yield Say(f"all moving tags are as before{left_over_text(session)}")
        return State.ABORTED
    if abort:
        yield Say("the channel's metadata had been committed, so there is only the way forward", warning=True)
    try:
        yield from move_first(session, seen)
        yield from commit(session, seen)
    except Refusal:
        if session.terms.parts.forward:
            raise
        yield from go_back(session)
        return State.ABORTED
    yield from close(session, session.settled)
    return State.SETTLED


def _last_claimed(seen: JournalSeen) -> Steps[JournalSeen]:
    """The open entry that is really the last one.

    A claim whose PUT was under way for longer than anybody may assume can land on a journal that has gone on without
    it. ``journal-<n>`` is written only by whoever won the n-th claim, so where that is another entry, it and what
    follows it count.
    """
    assert seen.entry is not None  # noqa: S101 (only an open entry is adopted)
    last, number = seen, seen.entry.number
    while True:
        tagged = yield from read_journal(entry_tag(number))
        if tagged.entry is None:
            return last
        last, number = tagged, number + 1
