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
    burn_serial,
    encode_entry,
    entry_tag,
    settle_heads,
)
from shipgraph.channel.metadata import rfc3339, serial_tag
from shipgraph.errors import TransactionRefused, TransactionUnfinished
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
    Times,
    Together,
    Unknown,
    Unreadable,
)
from shipgraph.store.protocols import ANY, Expect

if TYPE_CHECKING:
    from shipgraph.promote.timing import Timing
    from shipgraph.records.document import Document

T = TypeVar("T")
Steps: TypeAlias = Generator[Action, Any, T]

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 15.0


class Refusal(Exception):
    """A definite refusal or a conflict while moving tags, inside the rules only; ``reason`` is for people."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class Session:
    """One claimed transaction as this process sees it."""

    repository: str
    timing: Timing
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
        return self.began + self.entry.lease_s - self.timing.margin

    @property
    def image_moves(self) -> tuple[Move, ...]:
        """The moves before the commit point, those that change nothing left out."""
        return tuple(m for m in self.entry.moves if m.repository != self.repository and m.before != m.after)

    @property
    def commit_moves(self) -> tuple[Move, ...]:
        """The metadata's tags, in the order in which they are PUT."""
        return tuple(m for m in self.entry.moves if m.repository == self.repository)


def prepare(repository: str, timing: Timing, entry: JournalEntry, began: float, *, advance: bool) -> Session:
    """All three journal documents of a transaction, so that closing it needs no upload."""
    opened = encode_entry(entry)
    closing = {"number": entry.number + 1, "previous": str(opened.manifest.digest)}
    settled = msgspec.structs.replace(
        entry,
        state=State.SETTLED,
        heads=settle_heads(entry, settled_at=rfc3339(entry.opened_at), advance=advance),
        **closing,
    )
    aborted = msgspec.structs.replace(entry, state=State.ABORTED, heads=burn_serial(entry), **closing)
    return Session(repository, timing, entry, opened, encode_entry(settled), encode_entry(aborted), began)


# --- reading --------------------------------------------------------------------------------------------------------


def read_journal() -> Steps[JournalSeen]:
    """The journal, before anything of ours is open: unreadable ends the attempt, and nothing has moved."""
    seen: JournalSeen | Unreadable = yield ReadJournal()
    if isinstance(seen, Unreadable):
        raise seen.error
    return seen


def read_times() -> Steps[Times]:
    """Both clocks, before anything of ours is open."""
    times: Times | Unreadable = yield Now()
    if isinstance(times, Unreadable):
        raise times.error
    return times


def read_tags(tags: tuple[tuple[str, str], ...]) -> Steps[tuple[Digest | None, ...]]:
    """Tags, before anything of ours is open."""
    answers: tuple[Digest | Unreadable | None, ...] = yield ReadTags(tags)
    found: list[Digest | None] = []
    for answer in answers:
        if isinstance(answer, Unreadable):
            raise answer.error
        found.append(answer)
    return tuple(found)


def local_time() -> Steps[float]:
    """This machine's monotonic clock."""
    now: float = yield LocalTime()
    return now


def sleep(seconds: float, why: str) -> Steps[None]:
    """Wait, if there is anything to wait for."""
    if seconds > 0:
        yield Sleep(seconds, why)


def look(
    session: Session, moves: tuple[Move, ...], digests: tuple[tuple[str, Digest], ...] = ()
) -> Steps[tuple[tuple[Digest | None, ...], tuple[bool, ...]]]:
    """Tags and digests while our transaction is open: asked again until they answer or the lease is over."""
    tags = tuple((move.repository, move.tag) for move in moves)
    pause = FIRST_PAUSE
    while True:
        seen, there = yield Together((ReadTags(tags), CheckDigests(digests)))
        unclear = [answer for answer in (*seen, *there) if isinstance(answer, Unreadable)]
        if not unclear:
            return seen, there
        yield from _pause(session, pause, f"the registry does not answer: {unclear[0].error}")
        pause = min(2 * pause, LONGEST_PAUSE)


def _pause(session: Session, seconds: float, why: str) -> Steps[None]:
    """Wait before trying again, unless the lease would be over: then the transaction is left open."""
    now = yield from local_time()
    if now + seconds >= session.deadline:
        raise TransactionUnfinished(f"the transaction's lease is over and the journal stays open; {why}")
    yield from sleep(seconds, why)


# --- writing --------------------------------------------------------------------------------------------------------


def put_all(session: Session, puts: tuple[Put, ...]) -> Steps[None]:
    """PUT tags until each has landed, forward through every unknown outcome.

    Raises:
        Refusal: one was refused for certain.
        TransactionUnfinished: the lease is over.
    """
    pending = puts
    pause = FIRST_PAUSE
    while pending:
        answers = yield PutTags(pending, session.deadline)
        now = yield from local_time()
        if any(isinstance(answer, Unknown) for answer in answers):
            session.unknown_until = now + session.timing.margin
        refused = [(put, a) for put, a in zip(pending, answers, strict=True) if isinstance(a, Declined)]
        if refused:
            put, answer = refused[0]
            raise Refusal(f"{put.repository}:{put.tag}: {answer.error}")
        if any(isinstance(answer, NotSent) for answer in answers):
            raise TransactionUnfinished("the transaction's lease is over and the journal stays open")
        pending = tuple(put for put, answer in zip(pending, answers, strict=True) if not isinstance(answer, Landed))
        if pending:
            yield from _pause(session, pause, f"{len(pending)} tags have no certain answer yet; sending them again")
            pause = min(2 * pause, LONGEST_PAUSE)


def read_back(session: Session, moves: tuple[Move, ...], *, back: bool = False) -> Steps[None]:
    """Read moved tags until each shows its new value; the old one means not yet, a third one is a conflict.

    Raises:
        Refusal: a tag shows a third value.
        TransactionUnfinished: the lease is over and a tag still shows the old value.
    """
    pending = moves
    pause = FIRST_PAUSE
    while pending:
        seen, _ = yield from look(session, pending)
        wrong: list[Move] = []
        for move, digest in zip(pending, seen, strict=True):
            new, old = (move.before, move.after) if back else (move.after, move.before)
            if str(digest) == new:
                continue
            if digest is not None and str(digest) != old:
                raise Refusal(f"{move.repository}:{move.tag} was moved to {digest} by somebody else")
            wrong.append(move)
        pending = tuple(wrong)
        if pending:
            yield from _pause(session, pause, f"{len(pending)} tags still show their old value")
            pause = min(2 * pause, LONGEST_PAUSE)


def expected(session: Session, digest: str | None) -> Expect:
    """What a conditional registry is told to expect; an unconditional one is told nothing."""
    if not session.timing.conditional:
        return ANY
    return None if digest is None else Digest.parse(digest)


# --- opening and closing --------------------------------------------------------------------------------------------


def claim(session: Session, before: JournalSeen) -> Steps[bool]:
    """Step 3: PUT the journal as open, wait ``settle``, read back; whether the transaction is ours.

    ``before`` is the journal that ``session.entry`` follows. A claim whose PUT took longer than ``gap`` (its answer
    lost included) may have landed after another writer's read-back: nobody can tell whose it is before the
    lease is over.
    """
    timing, digest = session.timing, session.opened.manifest.digest
    pushed: Unreadable | None = yield Push((session.opened, session.settled, session.aborted))
    if isinstance(pushed, Unreadable):
        raise pushed.error
    asked = yield from local_time()
    again = yield from read_journal()
    if again.digest != before.digest:
        return False
    expect: Expect = again.digest if timing.conditional else ANY
    (answer,) = yield PutTags((Put(session.repository, JOURNAL, digest, expect),), session.deadline)
    took = (yield from local_time()) - asked
    if isinstance(answer, NotSent):
        return False
    if isinstance(answer, Declined):
        again = yield from read_journal()
        if again.digest != before.digest:
            return False  # somebody else was faster (If-Match)
        raise answer.error
    late = isinstance(answer, Unknown) or took > timing.gap
    if timing.conditional:
        if isinstance(answer, Unknown):
            yield from sleep(timing.margin, "the claim's answer was lost")
    elif late:
        why = f"the claim took {took:.1f} s, more than {timing.gap:g} s: waiting out its lease"
        yield from sleep(session.entry.lease_s + timing.margin, why)
        return False
    else:
        yield from sleep(timing.settle, "waiting until the claim has settled")
    return (yield from _patient_journal(session)).digest == digest


def _patient_journal(session: Session) -> Steps[JournalSeen]:
    """The journal once our claim was sent: asked again until it answers or the lease is over."""
    pause = FIRST_PAUSE
    while True:
        seen: JournalSeen | Unreadable = yield ReadJournal()
        if not isinstance(seen, Unreadable):
            return seen
        yield from _pause(session, pause, f"the journal can't be read back: {seen.error}")
        pause = min(2 * pause, LONGEST_PAUSE)


def record(session: Session, before: JournalSeen, metadata: Digest | None) -> Steps[None]:
    """End of step 4: the immutable tags of a claim that was won: the entries' own, and the metadata's serial."""
    puts = [Put(session.repository, entry_tag(session.entry.number), session.opened.manifest.digest)]
    if before.entry is not None and before.digest is not None:
        puts.append(Put(session.repository, entry_tag(before.entry.number), before.digest))
    if metadata is not None:
        tag = serial_tag(session.entry.channel, session.entry.serial)
        puts.append(Put(session.repository, tag, metadata))
    yield from put_all(session, tuple(puts))


def close(session: Session, document: Document) -> Steps[None]:
    """PUT the journal as settled or aborted, after every PUT of ours has landed or can't land any more.

    A closing PUT with an unknown outcome is never repeated blindly: wait ``margin + settle``, read, and repeat only if
    the journal still shows our open entry.

    Raises:
        TransactionUnfinished: the lease is over, or the registry refused.
    """
    timing, ours = session.timing, session.opened.manifest.digest
    now = yield from local_time()
    yield from sleep(session.unknown_until - now, "waiting until no unanswered PUT can land any more")
    expect: Expect = ours if timing.conditional else ANY
    while True:
        put = Put(session.repository, JOURNAL, document.manifest.digest, expect)
        (answer,) = yield PutTags((put,), session.deadline)
        if isinstance(answer, Landed):
            return
        if isinstance(answer, NotSent):
            raise TransactionUnfinished("the lease is over before the journal was closed; it stays open")
        yield from sleep(timing.margin + timing.settle, "the answer to closing the journal was lost")
        seen: JournalSeen | Unreadable = yield ReadJournal()
        if isinstance(seen, Unreadable):
            raise TransactionUnfinished(f"the journal could not be read back after closing it: {seen.error}")
        if seen.digest == document.manifest.digest:
            return
        if seen.digest != ours:
            yield Say("another command has closed this transaction meanwhile")
            return
        if isinstance(answer, Declined):
            raise TransactionRefused(f"the registry refused to close the journal: {answer.error}")
