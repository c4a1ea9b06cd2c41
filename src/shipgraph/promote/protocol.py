"""The rules of the channel transaction as a pure state machine: actions out, answers in, a verdict at the end.

States of the journal, in the order in which they are written::

    absent/settled/aborted ──claim──► open ──all moves, commit, close──► settled
                                        └────a definite refusal, all moves back, close────► aborted

Write order: everything immutable; the claim; ``<channel>-<serial>`` and ``journal-<n>``; image and payload tags; the
metadata's tags (the commit point is ``<channel>``, or ``<version>`` for a lower version); the journal as settled.
Whatever request the owner dies at, the next command finds the journal open, waits until the owner is dead (lease +
margin by the registry's clock), claims it, and goes forward if any move is visible, else aborts.

The numbers in the comments are those of the steps in docs/transaction.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from shipgraph.channel.journal import (
    HeadRelease,
    JournalEntry,
    Kind,
    Mark,
    Move,
    Owner,
    State,
)
from shipgraph.channel.metadata import LATEST
from shipgraph.errors import (
    ChannelAhead,
    ChannelBusy,
    ChannelHeld,
    Conflict,
    ForeignJournal,
    Refused,
    RegistryUnavailable,
    TagMoved,
    TransactionRefused,
)
from shipgraph.oci.digest import Digest
from shipgraph.promote.actions import Compare, JournalSeen, MakeMetadata, Put, Say, StopAsked
from shipgraph.promote.order import Standing
from shipgraph.promote.steps import (
    Refusal,
    Session,
    Steps,
    claim,
    close,
    expected,
    look,
    prepare,
    put_all,
    read_back,
    read_journal,
    read_tags,
    read_times,
    record,
    sleep,
)

if TYPE_CHECKING:
    from shipgraph.promote.timing import Timing

MAX_CLAIMS: Final = 5
POLL: Final = 5.0


@dataclass(frozen=True, slots=True)
class Target:
    """A tag that a release wants at a digest; ``own``: the release's own tag, which a lower version moves as well."""

    repository: str
    tag: str
    digest: Digest
    own: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """What a transaction is asked to do.

    ``channels`` are all channels of the project (a journal may be missing only if none of them has a tag); ``contents``
    is every digest of the set; ``versions`` says that the channel's order is SemVer.
    """

    project: str
    repository: str
    owner: Owner
    kind: Kind
    channel: str
    channels: tuple[str, ...]
    release: HeadRelease
    targets: tuple[Target, ...]
    contents: tuple[tuple[str, Digest], ...]
    version_tag: str | None = None
    wait: bool = False
    diverged: bool = False
    move_release_tag: bool = False

    @property
    def mark(self) -> Mark:
        """Where the release stands in its channel's order."""
        return Mark(commit=self.release.commit, revision=self.release.revision, version=self.release.version)


@dataclass(frozen=True, slots=True)
class Settled:
    """The channel has moved to the release."""

    serial: int
    metadata: Digest
    moves: tuple[Move, ...]


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The channel was at the release already."""

    serial: int
    metadata: Digest


def transact(request: Request, timing: Timing) -> Steps[Settled | Unchanged]:
    """Steps 2 to 6 (and 8) for a release or a promotion, by its first owner.

    Raises:
        ChannelAhead, ChannelBusy, ChannelHeld, ForeignJournal, TagMoved, Conflict: nothing moved.
        Refused: the registry refused a move; all moves were taken back.
        TransactionUnfinished: the journal stays open for the next command.
        RegistryUnavailable: nothing moved.
    """
    for _ in range(MAX_CLAIMS):
        seen = yield from _free_journal(request, timing)
        standing = yield from _judge(request, seen)
        if standing is Standing.EQUAL:
            head = seen.entry.head(request.channel) if seen.entry else None
            assert head is not None  # noqa: S101 (nothing is equal to an empty history)
            return Unchanged(head.releases[0].serial, Digest.parse(head.releases[0].metadata))
        advance = standing is Standing.AHEAD
        session, metadata = yield from _prepare_release(request, timing, seen, advance=advance)
        if session is None:
            return Unchanged(seen.entry.serial if seen.entry else 0, metadata)
        if not (yield from claim(session, seen)):
            yield Say("another writer claimed the journal first; looking again")
            continue
        return (yield from _carry_out(request, session, seen, metadata))
    raise Conflict(
        f"the journal of {request.project} was claimed by other writers {MAX_CLAIMS} times in a row",
        hint="run the same command again, or with --wait",
    )


def adopt(entry: JournalSeen, repository: str, owner: Owner, timing: Timing) -> Steps[State | None]:
    """Step 7: claim a dead owner's transaction and end it; None if another adopter was faster.

    Raises:
        TransactionUnfinished: a move was refused, or the lease is over: the journal stays open.
    """
    dead = entry.entry
    assert dead is not None  # noqa: S101 (only an open entry is adopted)
    assert entry.digest is not None  # noqa: S101
    times = yield from read_times()
    taken = msgspec.structs.replace(
        dead, number=dead.number + 1, owner=owner, opened_at=times.registry, previous=str(entry.digest),
        lease_s=timing.lease(len(dead.moves)),
    )  # fmt: skip
    advance = any(m.repository == repository and m.tag == dead.channel for m in dead.moves)
    session = prepare(repository, timing, taken, times.local, advance=advance)
    yield Say(f"adopting transaction {dead.id} of {dead.owner.run}, whose owner is dead")
    if not (yield from claim(session, entry)):
        return None
    seen, _ = yield from look(session, dead.moves)
    visible = any(
        str(digest) == move.after for move, digest in zip(dead.moves, seen, strict=True) if move.before != move.after
    )
    metadata = next((Digest.parse(m.after) for m in session.commit_moves), None)
    try:
        yield from record(session, entry, metadata if visible else None)
        if not visible:
            yield from close(session, session.aborted)
            return State.ABORTED
        yield from _move(session, session.image_moves, dict(zip(dead.moves, seen, strict=True)))
        yield from _commit(session, dict(zip(dead.moves, seen, strict=True)))
    except Refusal as refusal:
        raise TransactionRefused(f"the journal stays open: {refusal.reason}") from None
    yield from close(session, session.settled)
    return State.SETTLED


def adopt_open(repository: str, project: str, owner: Owner, timing: Timing) -> Steps[State | None]:
    """`resume`: end the open transaction, whoever's it is, once its owner is dead; None if none is open.

    Raises:
        ForeignJournal, TransactionUnfinished, RegistryError
    """
    while True:
        seen = yield from read_journal()
        if seen.entry is None or seen.entry.state is not State.OPEN:
            return None
        _check_owner(seen.entry, repository, project)
        alive_for = yield from _alive_for(seen.entry, timing)
        if alive_for > 0:
            why = f"transaction {seen.entry.id} of {seen.entry.owner.run} may live for another {alive_for:.0f} s"
            yield from sleep(min(POLL, alive_for + 1), why)
            continue
        state = yield from adopt(seen, repository, owner, timing)
        if state is not None:
            return state


def _check_owner(entry: JournalEntry, repository: str, project: str) -> None:
    if entry.project != project:
        raise ForeignJournal(
            f"the journal in {repository} is project {entry.project!r}'s, not {project!r}'s",
            hint="give this project its own [metadata] repository",
        )


def _alive_for(entry: JournalEntry, timing: Timing) -> Steps[float]:
    """How many seconds an open entry's owner may still be alive, by the registry's clock."""
    times = yield from read_times()
    return entry.opened_at + entry.lease_s + timing.margin - times.registry


def _free_journal(request: Request, timing: Timing) -> Steps[JournalSeen]:
    """Step 2, first half: the journal once no transaction is open in it; a dead owner's is ended on the way."""
    while True:
        seen = yield from read_journal()
        if seen.entry is None:
            tags = tuple((request.repository, name) for name in (*request.channels, LATEST))
            there = yield from read_tags(tags)
            found = [tag for (_, tag), digest in zip(tags, there, strict=True) if digest is not None]
            if found:
                raise RegistryUnavailable(
                    f"{request.repository} has {', '.join(found)} but no journal: deleted, or not visible yet",
                    hint="try again; if it stays so, `shipgraph repair --journal` builds it anew from the metadata",
                )
            return seen
        _check_owner(seen.entry, request.repository, request.project)
        if seen.entry.state is not State.OPEN:
            return seen
        alive_for = yield from _alive_for(seen.entry, timing)
        if alive_for <= 0:
            yield from adopt(seen, request.repository, request.owner, timing)
        elif request.wait:
            why = f"transaction {seen.entry.id} of {seen.entry.owner.run} is open; waiting at most {alive_for:.0f} s"
            yield from sleep(min(POLL, alive_for + 1), why)
        else:
            raise ChannelBusy(
                f"transaction {seen.entry.id} of {seen.entry.owner.run} ({seen.entry.kind} to {seen.entry.channel}) is "
                f"open, and its owner may live for another {alive_for:.0f} s",
                hint="wait with --wait, or run `shipgraph resume` later, which ends it if its owner has died",
            )


def _judge(request: Request, seen: JournalSeen) -> Steps[Standing]:
    """Step 2, second half: AHEAD, EQUAL (nothing to do), or BEHIND for a lower version that moves only its own tags.

    Raises:
        ChannelHeld, ChannelAhead
    """
    if seen.entry is None:
        return Standing.AHEAD
    head = seen.entry.head(request.channel)
    if head.releases and request.mark == Mark(
        commit=head.releases[0].commit, revision=head.releases[0].revision, version=head.releases[0].version
    ):
        return Standing.EQUAL
    if head.hold:
        raise ChannelHeld(
            f"channel {request.channel} is held: {head.hold}", hint="`shipgraph release --unhold` ends the hold"
        )
    if head.high_water is None:
        return Standing.AHEAD
    standing: Standing = yield Compare(head.high_water)
    there = f"{request.channel} has had {_name(head.high_water)}"
    ours = _name(request.mark)
    match standing:
        case Standing.AHEAD:
            return standing
        case Standing.BEHIND if request.version_tag is not None:
            return standing
        case Standing.DIVERGED:
            if request.diverged:
                return Standing.AHEAD
            raise ChannelAhead(
                f"{there}; {ours} is on another line of history", hint="--diverged publishes it nevertheless"
            )
        case Standing.UNKNOWN:
            raise ChannelAhead(
                f"{there}; how {ours} stands to it can't be told from this clone",
                hint="fetch the whole history (git fetch --unshallow)",
            )
        case _:
            raise ChannelAhead(
                f"{there}, which is newer than {ours} or was rolled back",
                hint="to go back on purpose, use `shipgraph rollback`",
            )


def _name(mark: Mark) -> str:
    revision = f" (revision {mark.revision})" if mark.revision > 1 else ""
    return f"{mark.version} at {mark.commit[:12]}{revision}"


def _prepare_release(
    request: Request, timing: Timing, seen: JournalSeen, *, advance: bool
) -> Steps[tuple[Session | None, Digest]]:
    """Step 3, first half: where every tag stands, the metadata with the next serial, and the entry to claim with.

    None instead of a session where a lower version already has all its tags.
    """
    targets = tuple(target for target in request.targets if advance or target.own)
    names = tuple(tag for tag in (request.version_tag, *((request.channel, LATEST) if advance else ())) if tag)
    tags = (*((t.repository, t.tag) for t in targets), *((request.repository, name) for name in names))
    before = yield from read_tags(tags)
    for target, there in zip(targets, before, strict=False):
        if target.own and there not in (None, target.digest) and not request.move_release_tag:
            raise TagMoved(
                f"release tag {target.repository}:{target.tag} is {there}, not {target.digest}",
                hint="a release tag moves only with --move-release-tag",
            )
    version_there = before[len(targets)] if request.version_tag is not None else None
    own_tags_set = all(there == target.digest for target, there in zip(targets, before, strict=False))
    if not advance and version_there is not None and own_tags_set:
        return None, version_there
    times = yield from read_times()
    serial = seen.entry.head(request.channel).serial + 1 if seen.entry else 1
    moving = tuple(dict.fromkeys(target.tag for target in targets if target.repository != request.repository))
    metadata: Digest = yield MakeMetadata(serial, times.registry, moving)
    after = (*(str(target.digest) for target in targets), *(str(metadata) for _ in names))
    moves = tuple(
        Move(repository=repository, tag=tag, before=None if there is None else str(there), after=new)
        for (repository, tag), there, new in zip(tags, before, after, strict=True)
    )
    entry = JournalEntry(
        number=seen.entry.number + 1 if seen.entry else 1,
        id=f"{request.channel}-{serial}-{request.owner.nonce[:8]}",
        project=request.project,
        owner=request.owner,
        opened_at=times.registry,
        lease_s=timing.lease(len(moves)),
        state=State.OPEN,
        kind=request.kind,
        channel=request.channel,
        serial=serial,
        release=msgspec.structs.replace(request.release, serial=serial, metadata=str(metadata)),
        moves=moves,
        heads=dict(seen.entry.heads) if seen.entry else {},
        previous=None if seen.digest is None else str(seen.digest),
    )
    return prepare(request.repository, timing, entry, times.local, advance=advance), metadata


def _carry_out(request: Request, session: Session, seen: JournalSeen, metadata: Digest) -> Steps[Settled]:
    """Steps 4 to 6 once the claim is ours, and step 8 when a move is refused."""
    moves = session.entry.moves
    there, complete = yield from look(session, moves, request.contents)  # 4
    changed = [
        f"{move.repository}:{move.tag} is {digest or 'absent'}, was {move.before or 'absent'}"
        for move, digest in zip(moves, there, strict=True)
        if (None if digest is None else str(digest)) != move.before
    ]
    gone = [f"{name}@{digest}" for (name, digest), ok in zip(request.contents, complete, strict=True) if not ok]
    if changed or gone:
        yield from close(session, session.aborted)
        if changed:
            raise TagMoved(f"somebody else moved tags meanwhile: {'; '.join(changed)}", hint="run the command again")
        raise Refused(f"the release is not complete any more: {', '.join(gone)} is gone")
    stop: bool = yield StopAsked()  # 9
    if stop:
        yield from close(session, session.aborted)
        raise Refused("stopped before the first tag moved; nothing was changed", hint="run the same command again")
    states = dict(zip(moves, there, strict=True))
    try:
        yield from record(session, seen, metadata)
        yield from _move(session, session.image_moves, states)  # 5
        yield from _commit(session, states)  # 6
    except Refusal as refusal:
        if session.commit_sent:
            raise TransactionRefused(f"after the commit: {refusal.reason}; the journal stays open") from None
        yield Say(f"{refusal.reason}; taking all moves back", warning=True)
        yield from _go_back(session)  # 8
        left = "".join(f"; {move.repository}:{move.tag} did not exist before and stays" for move in session.left_over)
        raise Refused(
            f"the registry refused a move: {refusal.reason}; all moving tags are as before{left}",
            hint="`shipgraph repair --untag` removes left-over tags where the registry can" if left else "",
        ) from None
    yield from close(session, session.settled)
    return Settled(session.entry.serial, metadata, moves)


def _move(session: Session, moves: tuple[Move, ...], seen: dict[Move, Digest | None]) -> Steps[None]:
    """Step 5: PUT tags as many at a time as the registry bears, then read each back."""
    puts = tuple(
        Put(m.repository, m.tag, Digest.parse(m.after), expected(session, None if seen[m] is None else str(seen[m])))
        for m in moves
        if str(seen[m]) != m.after
    )
    yield from put_all(session, puts)
    yield from read_back(session, moves)


def _commit(session: Session, seen: dict[Move, Digest | None]) -> Steps[None]:
    """Step 6: PUT the metadata's tags one after the other; from the first one on there is no way back."""
    moves = session.commit_moves
    point = session.entry.channel if any(m.tag == session.entry.channel for m in moves) else moves[0].tag
    for move in moves:
        if str(seen[move]) == move.after:
            continue
        there = None if seen[move] is None else str(seen[move])
        session.commit_sent = session.commit_sent or move.tag == point
        yield from put_all(
            session, (Put(move.repository, move.tag, Digest.parse(move.after), expected(session, there)),)
        )


def _go_back(session: Session) -> Steps[None]:
    """Step 8: every move of the journal back to where it was, then the journal as aborted.

    Raises:
        TransactionUnfinished: going back was refused too, or the lease is over.
    """
    moves = tuple(m for m in session.entry.moves if m.before != m.after)
    back = tuple(m for m in moves if m.before is not None)
    seen, _ = yield from look(session, moves)
    session.left_over.extend(
        m for m, digest in zip(moves, seen, strict=True) if m.before is None and str(digest) == m.after
    )
    puts = tuple(
        Put(move.repository, move.tag, Digest.parse(move.before or ""))
        for move, digest in zip(moves, seen, strict=True)
        if move.before is not None and str(digest) != move.before
    )
    try:
        yield from put_all(session, puts)
        yield from read_back(session, back, back=True)
    except Refusal as refusal:
        raise TransactionRefused(f"going back was refused: {refusal.reason}; the journal stays open") from None
    yield from close(session, session.aborted)
