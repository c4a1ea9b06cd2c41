"""The transaction's building blocks as typed generators: each yields actions and returns what was learned.

Nothing here does I/O. ``Session`` is one process's share in one transaction: its claimed entry, its lease, and whether
a PUT of its own may still be under way.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import msgspec

from shipgraph.channel.journal import (
    JOURNAL,
    JournalEntry,
    Move,
    State,
    advances,
    burn_serial,
    encode_entry,
    entry_tag,
    settle_heads,
)
from shipgraph.channel.metadata import rfc3339, serial_tag
from shipgraph.errors import RegistryError, RegistryUnavailable, Stopped, TransactionRefused, TransactionUnfinished
from shipgraph.oci.digest import Digest
from shipgraph.promote.actions import (
    Action,
    CheckDigests,
    Declined,
    JournalSeen,
    Landed,
    LocalTime,
    NotSent,
    Now,
    Push,
    Put,
    PutTags,
    ReadJournal,
    ReadTags,
    Say,
    Sleep,
    StopAsked,
    Throttled,
    Times,
    Together,
    Unknown,
    Unreadable,
)
from shipgraph.store.protocols import ANY, Expect

if TYPE_CHECKING:
    from shipgraph.promote.terms import Terms
    from shipgraph.records.document import Document

T = TypeVar("T")
Steps: TypeAlias = Generator[Action, Any, T]
Tag: TypeAlias = tuple[str, str]

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 15.0


class Refusal(Exception):
    """A definite refusal or a conflict while a transaction is open, inside the rules only; ``reason`` is for people."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class Session:
    """One claimed transaction as this process sees it."""

    terms: Terms
    entry: JournalEntry
    opened: Document
    settled: Document
    aborted: Document
    began: float
    unknown_until: float = 0.0
    commit_sent: bool = False
    left_over: list[Move] = field(default_factory=list)

    @property
    def deadline(self) -> float:
        """By the local clock: past it this process sends nothing any more."""
        return self.began + self.entry.lease_s - self.terms.timing.margin

    @property
    def first_moves(self) -> tuple[Move, ...]:
        """The moves before the commit point, in any order; those that change nothing are left out."""
        last = self.commit_moves
        return tuple(m for m in self.entry.moves if m.before != m.after and m not in last)

    @property
    def commit_moves(self) -> tuple[Move, ...]:
        """The commit point and the metadata's tags after it, in the order in which they are PUT."""
        own = tuple(m for m in self.entry.moves if m.repository == self.terms.repository and m.before != m.after)
        channel = next((n for n, move in enumerate(own) if move.tag == self.entry.channel), 0)
        return own[channel:]

    @property
    def commit_point(self) -> Move | None:
        """The move after which there is no way back: the channel's, or the version's where the channel stays."""
        return next(iter(self.commit_moves), None)


def prepare(terms: Terms, entry: JournalEntry, began: float) -> Session:
    """All three journal documents of a transaction, so that closing it needs no upload."""
    opened = encode_entry(entry)
    closing = {"number": entry.number + 1, "previous": str(opened.manifest.digest)}
    settled = msgspec.structs.replace(
        entry,
        state=State.SETTLED,
        heads=settle_heads(entry, settled_at=rfc3339(entry.opened_at), advance=advances(entry, terms.repository)),
        **closing,
    )
    aborted = msgspec.structs.replace(entry, state=State.ABORTED, heads=burn_serial(entry), **closing)
    return Session(terms, entry, opened, encode_entry(settled), encode_entry(aborted), began)


# --- reading --------------------------------------------------------------------------------------------------------


def read_journal(tag: str = JOURNAL) -> Steps[JournalSeen]:
    """The journal, before anything of ours is open: unreadable ends the attempt, and nothing has moved."""
    seen: JournalSeen | Unreadable = yield ReadJournal(tag)
    if isinstance(seen, Unreadable):
        raise seen.error
    return seen


def read_times() -> Steps[Times]:
    """Both clocks, before anything of ours is open."""
    times: Times | Unreadable = yield Now()
    if isinstance(times, Unreadable):
        raise times.error
    return times


def read_tags(tags: tuple[Tag, ...]) -> Steps[tuple[Digest | None, ...]]:
    """Tags, before anything of ours is open."""
    answers: tuple[Digest | Unreadable | None, ...] = yield ReadTags(tags)
    found: list[Digest | None] = []
    for answer in answers:
        if isinstance(answer, Unreadable):
            raise answer.error
        found.append(answer)
    return tuple(found)


def fresh_tags(terms: Terms, tags: tuple[Tag, ...], seen: JournalSeen) -> Steps[tuple[Digest | None, ...]]:
    """Where tags are; read once more where a read shows what was before the last transaction: that is the lag."""
    found = yield from read_tags(tags)
    if terms.timing.lag and seen.entry is not None:
        settled = seen.entry.state is State.SETTLED
        stale = {
            (m.repository, m.tag): m.before if settled else m.after for m in seen.entry.moves if m.before != m.after
        }
        shown = zip(tags, found, strict=True)
        if any(tag in stale and stale[tag] == (None if there is None else str(there)) for tag, there in shown):
            yield from sleep(terms.timing.lag, "waiting until reads show what was written last")
            found = yield from read_tags(tags)
    return found


def local_time() -> Steps[float]:
    """This machine's monotonic clock."""
    now: float = yield LocalTime()
    return now


def sleep(seconds: float, why: str) -> Steps[None]:
    """Wait, if there is anything to wait for."""
    if seconds > 0:
        yield Sleep(seconds, why)


def stop_here() -> Steps[None]:
    """Step 9 where nothing of ours is open: if the user asked to stop, that is the end.

    Raises:
        Stopped
    """
    asked: bool = yield StopAsked()
    if asked:
        raise Stopped("stopped before the first tag moved; nothing was changed", hint="run the same command again")


def look(
    session: Session, tags: tuple[Tag, ...], digests: tuple[tuple[str, Digest], ...] = ()
) -> Steps[tuple[tuple[Digest | None, ...], tuple[bool, ...]]]:
    """Tags and digests while our transaction is open: asked again until they answer or the lease is over.

    Raises:
        Refusal: the registry refused for certain to tell.
        TransactionUnfinished: the lease is over.
    """
    pause = FIRST_PAUSE
    while True:
        seen, there = yield Together((ReadTags(tags), CheckDigests(digests)))
        unclear = [answer.error for answer in (*seen, *there) if isinstance(answer, Unreadable)]
        if not unclear:
            return seen, there
        refused = [e for e in unclear if isinstance(e, RegistryError) and not isinstance(e, RegistryUnavailable)]
        if refused:
            raise Refusal(str(refused[0]))
        yield from pause_within(session, pause, f"the registry does not answer: {unclear[0]}")
        pause = min(2 * pause, LONGEST_PAUSE)


def look_at(session: Session, moves: tuple[Move, ...]) -> Steps[dict[Move, str | None]]:
    """Where the tags of moves are now; see ``look``."""
    seen, _ = yield from look(session, tuple((move.repository, move.tag) for move in moves))
    return {move: None if digest is None else str(digest) for move, digest in zip(moves, seen, strict=True)}


def pause_within(session: Session, seconds: float, why: str) -> Steps[None]:
    """Wait before trying again, unless the lease would be over: then the transaction is left open."""
    now = yield from local_time()
    if now + seconds >= session.deadline:
        raise TransactionUnfinished(f"the transaction's lease is over and the journal stays open; {why}")
    yield from sleep(seconds, why)


# --- writing --------------------------------------------------------------------------------------------------------


def put_all(session: Session, puts: tuple[Put, ...], *, turns: bool = False) -> Steps[None]:
    """PUT tags until each has landed, forward through every unknown outcome (unless it ``turns``, see ``Parts``).

    Raises:
        Refusal: one was refused for certain.
        TransactionUnfinished: the lease is over.
    """
    pending = puts
    pause = FIRST_PAUSE
    while pending:
        answers = yield PutTags(pending, session.deadline)
        unknown = any(isinstance(answer, Unknown) for answer in answers)
        if unknown:
            yield from note_unknown(session)
        for put, answer in zip(pending, answers, strict=True):
            if isinstance(answer, Declined) or (turns and isinstance(answer, Unknown)):
                raise Refusal(f"{put.repository}:{put.tag}: {answer.error}")
        if any(isinstance(answer, NotSent) for answer in answers):
            raise TransactionUnfinished("the transaction's lease is over and the journal stays open")
        pending = tuple(put for put, answer in zip(pending, answers, strict=True) if not isinstance(answer, Landed))
        if pending:
            why = "have no certain answer yet" if unknown else "have to wait, says the registry"
            yield from pause_within(session, pause, f"{len(pending)} tags {why}; sending them again")
            pause = min(2 * pause, LONGEST_PAUSE)


def note_unknown(session: Session) -> Steps[None]:
    """Remember that a PUT of ours may still land for ``margin``."""
    session.unknown_until = (yield from local_time()) + session.terms.timing.margin


def wait_landed(session: Session) -> Steps[None]:
    """Wait until every PUT of ours has landed or can't land any more."""
    if session.terms.parts.land:
        now = yield from local_time()
        yield from sleep(session.unknown_until - now, "waiting until no unanswered PUT can land any more")


def read_back(session: Session, moves: tuple[Move, ...], *, back: bool = False) -> Steps[None]:
    """Read moved tags until each shows its new value; the old one means not yet, a third one is a conflict.

    Raises:
        Refusal: a tag shows a third value.
        TransactionUnfinished: the lease is over and a tag still shows the old value.
    """
    pending = moves
    pause = FIRST_PAUSE
    while pending:
        seen = yield from look_at(session, pending)
        wrong: list[Move] = []
        for move, there in seen.items():
            new, old = (move.before, move.after) if back else (move.after, move.before)
            if there == new:
                continue
            if there not in (old, None):
                raise Refusal(f"{move.repository}:{move.tag} was moved to {there} by somebody else")
            wrong.append(move)
        pending = tuple(wrong)
        if pending:
            yield from pause_within(session, pause, f"{len(pending)} tags still show their old value")
            pause = min(2 * pause, LONGEST_PAUSE)


def expected(session: Session, there: str | None) -> Expect:
    """What a conditional registry is told to expect; an unconditional one is told nothing."""
    if not session.terms.timing.conditional:
        return ANY
    return None if there is None else Digest.parse(there)


# --- opening and closing --------------------------------------------------------------------------------------------


def claim(session: Session, before: JournalSeen) -> Steps[bool]:
    """Step 3: PUT the journal as open, wait ``settle``, read back; whether the transaction is ours.

    ``before`` is the journal as it was read. A claim whose PUT took longer than ``gap`` (its answer lost included) may
    have landed after another writer's read-back: nobody can tell whose it is before the lease is over.
    """
    timing, digest = session.terms.timing, session.opened.manifest.digest
    pushed: Unreadable | None = yield Push((session.opened, session.settled, session.aborted))
    if isinstance(pushed, Unreadable):
        raise pushed.error
    pause = FIRST_PAUSE
    while True:
        asked = yield from local_time()
        (there,) = yield from read_tags(((session.terms.repository, JOURNAL),))
        if there != before.digest:
            return False
        expect: Expect = there if timing.conditional else ANY
        (answer,) = yield PutTags((Put(session.terms.repository, JOURNAL, digest, expect),), session.deadline)
        now = yield from local_time()
        if not isinstance(answer, Throttled):
            break
        if now + pause >= session.deadline:
            raise answer.error
        yield from sleep(pause, "the registry has had too many requests")
        pause = min(2 * pause, LONGEST_PAUSE)
    if isinstance(answer, NotSent):
        return False
    if isinstance(answer, Declined):
        (there,) = yield from read_tags(((session.terms.repository, JOURNAL),))
        if there != before.digest:
            return False  # somebody else was faster (If-Match)
        raise answer.error
    if timing.conditional:
        yield from sleep(timing.margin if isinstance(answer, Unknown) else timing.lag, "waiting for the claim to show")
    elif isinstance(answer, Unknown) or now - asked > timing.gap:
        why = f"the claim took {now - asked:.1f} s, and {timing.gap:g} s are allowed: waiting out its lease"
        yield from sleep(session.entry.lease_s + timing.margin, why)
        return False
    elif session.terms.parts.settle:
        yield from sleep(timing.settle, "waiting until the claim has settled")
    return (yield from _patient_journal(session)) == digest


def _patient_journal(session: Session) -> Steps[Digest | None]:
    """What the journal's tag is once our claim was sent: asked until it answers or the lease is over."""
    pause = FIRST_PAUSE
    while True:
        (seen,) = yield ReadTags(((session.terms.repository, JOURNAL),))
        if not isinstance(seen, Unreadable):
            found: Digest | None = seen
            return found
        yield from pause_within(session, pause, f"the journal can't be read back: {seen.error}")
        pause = min(2 * pause, LONGEST_PAUSE)


def record_puts(session: Session, before: JournalSeen, *, metadata: bool) -> tuple[Put, ...]:
    """The immutable tags of a claim that was won (end of step 4): the entries' own, and the metadata's serial."""
    repository, entry = session.terms.repository, session.entry
    puts = [Put(repository, entry_tag(entry.number), session.opened.manifest.digest)]
    if before.entry is not None and before.digest is not None:
        puts.append(Put(repository, entry_tag(before.entry.number), before.digest))
    if metadata and entry.release is not None:
        tag = serial_tag(entry.channel, entry.serial)
        puts.append(Put(repository, tag, Digest.parse(entry.release.metadata)))
    return tuple(puts)


def close(session: Session, document: Document) -> Steps[None]:
    """PUT the journal as settled or aborted, after every PUT of ours has landed or can't land any more.

    A closing PUT with an unknown outcome is never repeated blindly: wait ``margin + settle``, read, and repeat only if
    the journal still shows our open entry.

    Raises:
        TransactionUnfinished: the lease is over, or the registry refused.
    """
    timing, ours = session.terms.timing, session.opened.manifest.digest
    yield from wait_landed(session)
    expect: Expect = ours if timing.conditional and session.terms.parts.adopt else ANY
    pause = FIRST_PAUSE
    while True:
        put = Put(session.terms.repository, JOURNAL, document.manifest.digest, expect)
        (answer,) = yield PutTags((put,), session.deadline)
        if isinstance(answer, Landed):
            return
        if isinstance(answer, NotSent):
            raise TransactionUnfinished("the lease is over before the journal was closed; it stays open")
        if isinstance(answer, Throttled):
            yield from pause_within(session, pause, "the registry does not take the journal yet")
            pause = min(2 * pause, LONGEST_PAUSE)
            continue
        if isinstance(answer, Unknown):
            yield from sleep(timing.margin + timing.settle, "the answer to closing the journal was lost")
            if not session.terms.parts.look:
                continue
        seen = yield from _patient_journal(session)
        if seen == document.manifest.digest:
            return
        if seen != ours:
            yield Say("the journal has gone on meanwhile")
            return
        if isinstance(answer, Declined):
            raise TransactionRefused(f"the registry refused to close the journal: {answer.error}")
