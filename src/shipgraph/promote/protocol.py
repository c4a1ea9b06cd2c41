"""The rules of the channel transaction as a pure state machine: actions out, answers in, a verdict at the end.

States of the journal, in the order in which they are written::

    absent/settled/aborted ──claim──► open ──all moves, commit, close──► settled
                                        └────a definite refusal, all moves back, close────► aborted

Write order: everything immutable; the claim; ``<channel>-<serial>`` and ``journal-<n>``; the tags of images and
payload, and the metadata's ``<version>``; the metadata's ``<channel>``, which is the commit point (for a lower version
that is ``<version>``), then ``channels``; the journal as settled.
Whatever request the owner dies at, the next command finds the journal open, waits until the owner is dead (lease +
margin by the registry's clock), claims it, and goes forward if any move is visible, else aborts (``adoption``).

What a transaction is for is a *plan* (``releases``, ``recovery``): it sees the journal once that is free, and gives a
``Draft`` of what should be, ``Unchanged``, or an error. The numbers in the comments are those of the steps in
docs/transaction.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from shipgraph.channel.journal import ChannelHead, HeadRelease, JournalEntry, Kind, Move, State
from shipgraph.channel.metadata import LATEST
from shipgraph.errors import (
    ChannelBusy,
    Conflict,
    ImmutableTagConflict,
    Refused,
    RegistryUnavailable,
    Stopped,
    TagMoved,
    TransactionRefused,
)
from shipgraph.oci.digest import Digest
from shipgraph.promote.actions import JournalSeen, MakeMetadata, Say, StopAsked, Untag, Work
from shipgraph.promote.adoption import POLL, adopt, check_project, may_live_for
from shipgraph.promote.moving import commit, go_back, left_over_text, move_first
from shipgraph.promote.steps import (
    Refusal,
    Session,
    Steps,
    claim,
    close,
    fresh_tags,
    look,
    note_unknown,
    prepare,
    put_all,
    read_journal,
    read_tags,
    read_times,
    record_puts,
    sleep,
    stop_here,
)

if TYPE_CHECKING:
    from shipgraph.channel.journal import Batch
    from shipgraph.promote.actions import Renewed
    from shipgraph.promote.terms import Terms

MAX_CLAIMS: Final = 5


@dataclass(frozen=True, slots=True)
class Target:
    """A tag that should be at a digest; ``own``: a release tag, which moves only where ``Draft`` allows it."""

    repository: str
    tag: str
    digest: Digest
    own: bool = False


@dataclass(frozen=True, slots=True)
class Draft:
    """What a transaction is to do, decided on a journal that was free.

    ``names`` are the metadata's tags that get new metadata, in the order of their PUTs; empty: none is made.
    ``release``: what the channel moves to, None where it stays. ``contents``: every digest that must be there.
    ``renews``: the metadata that the new one repeats. ``hold``: the channel's new hold. ``untag``: tags to be removed.
    ``heads`` and ``base``: what replaces the journal's heads and its last entry, where it was lost.
    ``batch``: what else is done under this claim, within ``work_s`` more seconds of lease.
    """

    kind: Kind
    channel: str
    serial: int
    targets: tuple[Target, ...] = ()
    names: tuple[str, ...] = ()
    release: HeadRelease | None = None
    contents: tuple[tuple[str, Digest], ...] = ()
    renews: Renewed | None = None
    hold: str | None = None
    heads: dict[str, ChannelHead] | None = None
    base: JournalSeen | None = None
    untag: tuple[tuple[str, str], ...] = ()
    move_release_tag: bool = False
    batch: Batch | None = None
    work_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Settled:
    """The transaction is settled; ``metadata`` is the channel's, made by it or there before."""

    serial: int
    metadata: Digest | None
    moves: tuple[Move, ...]


@dataclass(frozen=True, slots=True)
class Unchanged:
    """There was nothing to do."""

    serial: int
    metadata: Digest | None


Plan: TypeAlias = Callable[[JournalSeen], Steps[Draft | Unchanged]]


def transact(terms: Terms, plan: Plan, *, lost: bool = False) -> Steps[Settled | Unchanged]:
    """Steps 2 to 6 (and 8), by the first owner. ``lost``: the journal may be missing though channels have tags.

    Raises:
        ChannelBusy, ForeignJournal, TagMoved, ImmutableTagConflict, Conflict, and what the plan raises: nothing moved.
        Refused: the registry refused a move; all moves were taken back.
        Stopped: the user asked for it in time; nothing moved.
        TransactionUnfinished: the journal stays open for the next command.
        RegistryUnavailable: nothing moved.
    """
    for _ in range(MAX_CLAIMS):
        seen = yield from _free_journal(terms, lost=lost)
        draft = yield from plan(seen)
        if isinstance(draft, Unchanged):
            return draft
        yield from stop_here()
        last = draft.base or seen
        session = yield from _prepare(terms, draft, last)
        if not (yield from claim(session, seen)):
            yield Say("another writer claimed the journal first; looking again")
            continue
        return (yield from _carry_out(session, draft, last))
    raise Conflict(
        f"the journal of {terms.project} was claimed by other writers {MAX_CLAIMS} times in a row",
        hint="run the same command again, or with --wait",
    )


def _free_journal(terms: Terms, *, lost: bool) -> Steps[JournalSeen]:
    """Step 2, first half: the journal once no transaction is open in it; a dead owner's is ended on the way."""
    while True:
        yield from stop_here()
        seen = yield from read_journal()
        if seen.entry is None and not lost:
            seen = yield from _first_journal(terms)
        if seen.entry is None:
            return seen
        check_project(terms, seen.entry)
        if seen.entry.state is not State.OPEN:
            return seen
        alive_for = yield from may_live_for(terms, seen.entry)
        if alive_for <= 0:
            yield from adopt(terms, seen)
        elif terms.wait:
            why = f"transaction {seen.entry.id} of {seen.entry.owner.run} is open; waiting at most {alive_for:.0f} s"
            yield from sleep(min(POLL, alive_for + 1), why)
        else:
            raise ChannelBusy(
                f"transaction {seen.entry.id} of {seen.entry.owner.run} ({seen.entry.kind} to {seen.entry.channel}) is "
                f"open, and its owner may live for another {alive_for:.0f} s",
                hint="wait with --wait, or run `shipgraph resume` later, which ends it if its owner has died",
            )


def _first_journal(terms: Terms) -> Steps[JournalSeen]:
    """A missing journal counts as absent only if no channel has a tag either, read before it is looked for again."""
    tags = tuple((terms.repository, name) for name in (*terms.channels, LATEST))
    there = yield from read_tags(tags)
    seen = yield from read_journal()
    found = [tag for (_, tag), digest in zip(tags, there, strict=True) if digest is not None]
    if found and seen.entry is None:
        raise RegistryUnavailable(
            f"{terms.repository} has {', '.join(found)} but no journal: deleted, or not visible yet",
            hint="try again; if it stays so, `shipgraph repair --journal` builds it anew from the metadata",
        )
    return seen


def _prepare(terms: Terms, draft: Draft, seen: JournalSeen) -> Steps[Session]:
    """Step 3, first half: where every tag stands, the metadata with its serial, and the entry to claim with."""
    repository = terms.repository
    tags = (*((t.repository, t.tag) for t in draft.targets), *((repository, name) for name in draft.names))
    before = yield from fresh_tags(terms, tags, seen)
    for target, there in zip(draft.targets, before, strict=False):
        if target.own and there not in (None, target.digest) and not draft.move_release_tag:
            raise TagMoved(
                f"release tag {target.repository}:{target.tag} is {there}, not {target.digest}",
                hint="a release tag moves only with --move-release-tag",
            )
    times = yield from read_times()
    after = [str(target.digest) for target in draft.targets]
    release = draft.release
    if draft.names:
        moving = tuple(dict.fromkeys(target.tag for target in draft.targets))
        metadata: Digest = yield MakeMetadata(draft.serial, times.registry, moving, draft.renews)
        after.extend(str(metadata) for _ in draft.names)
        if release is not None:
            release = msgspec.structs.replace(release, serial=draft.serial, metadata=str(metadata))
    moves = tuple(
        Move(repository=name, tag=tag, before=None if there is None else str(there), after=new)
        for (name, tag), there, new in zip(tags, before, after, strict=True)
    )
    heads = dict(seen.entry.heads) if seen.entry else {}
    entry = JournalEntry(
        number=seen.entry.number + 1 if seen.entry else 1,
        id=f"{draft.channel}-{draft.serial}-{terms.owner.nonce[:8]}",
        project=terms.project,
        owner=terms.owner,
        opened_at=times.registry,
        lease_s=terms.timing.lease(len(moves)) + draft.work_s,
        state=State.OPEN,
        kind=draft.kind,
        channel=draft.channel,
        serial=draft.serial,
        release=release,
        moves=moves,
        heads=heads if draft.heads is None else draft.heads,
        previous=None if seen.digest is None else str(seen.digest),
        hold=draft.hold,
        batch=draft.batch,
    )
    return prepare(terms, entry, times.local)


def _carry_out(session: Session, draft: Draft, seen: JournalSeen) -> Steps[Settled]:
    """Steps 4 to 6 once the claim is ours, and step 8 when a move is refused."""
    states = yield from _look_again(session, draft, seen)  # 4
    stop: bool = yield StopAsked()  # 9
    if stop:
        yield from close(session, session.aborted)
        raise Stopped("stopped before the first tag moved; nothing was changed", hint="run the same command again")
    try:
        yield from put_all(session, record_puts(session, seen, metadata=True))
        if draft.untag:
            yield Untag(draft.untag)
        if draft.batch is not None:
            unknown: bool = yield Work(session.deadline)
            if unknown:
                yield from note_unknown(session)
        yield from move_first(session, states)  # 5
        yield from commit(session, states)  # 6
    except Refusal as refusal:
        if session.commit_sent and _commit_is_final(session):
            raise TransactionRefused(f"at the commit: {refusal.reason}; the journal stays open") from None
        yield Say(f"{refusal.reason}; taking all moves back", warning=True)
        yield from go_back(session)  # 8
        left = left_over_text(session)
        raise Refused(
            f"the registry refused a move: {refusal.reason}; all moving tags are as before{left}",
            hint="`shipgraph repair --untag` removes left-over tags where the registry can" if left else "",
        ) from None
    yield from close(session, session.settled)
    entry = session.entry
    return Settled(entry.serial, None if entry.release is None else Digest.parse(entry.release.metadata), entry.moves)


def _commit_is_final(session: Session) -> bool:
    """Whether nothing is taken back after a commit PUT (see ``Parts``)."""
    return session.terms.parts.final and session.terms.parts.forward


def _look_again(session: Session, draft: Draft, seen: JournalSeen) -> Steps[dict[Move, str | None]]:
    """Step 4: every ``before``, every digest of the set, and the immutable tags to come, now that nobody else writes.

    Raises:
        TagMoved, ImmutableTagConflict, Refused: the transaction is aborted.
    """
    moves, puts = session.entry.moves, record_puts(session, seen, metadata=True)
    tags = (*((m.repository, m.tag) for m in moves), *((put.repository, put.tag) for put in puts))
    try:
        there, complete = yield from look(session, tags, draft.contents)
    except Refusal as refusal:
        yield from close(session, session.aborted)
        raise Refused(f"the registry refused to be read: {refusal.reason}; nothing was moved") from None
    states = {m: None if d is None else str(d) for m, d in zip(moves, there, strict=False)}
    changed = [
        f"{m.repository}:{m.tag} is {state or 'absent'}, was {m.before or 'absent'}"
        for m, state in states.items()
        if state != m.before
    ]
    taken = [(put, digest) for put, digest in zip(puts, there[len(moves) :], strict=True) if digest is not None]
    gone = [f"{name}@{digest}" for (name, digest), ok in zip(draft.contents, complete, strict=True) if not ok]
    for put, digest in taken:
        if digest != put.digest:
            yield from close(session, session.aborted)
            raise ImmutableTagConflict(put.repository, put.tag, there=str(digest), ours=str(put.digest))
    if changed or gone:
        yield from close(session, session.aborted)
        if changed:
            raise TagMoved(f"somebody else moved tags meanwhile: {'; '.join(changed)}", hint="run the command again")
        raise Refused(f"the release is not complete any more: {', '.join(gone)} is gone")
    return states
