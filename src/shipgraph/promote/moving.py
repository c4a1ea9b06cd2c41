"""Steps 5, 6 and 8: moving tags forward, the commit, and going back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shipgraph.errors import TransactionRefused
from shipgraph.oci.digest import Digest
from shipgraph.promote.actions import Put
from shipgraph.promote.steps import (
    Refusal,
    Session,
    Steps,
    close,
    expected,
    look_at,
    put_all,
    read_back,
    sleep,
    wait_landed,
)

if TYPE_CHECKING:
    from shipgraph.channel.journal import Move


def move_first(session: Session, seen: dict[Move, str | None]) -> Steps[None]:
    """Step 5: PUT the tags of images, payload and release as many at a time as the registry bears, then read each back.

    ``seen`` is where every tag was after the claim.

    Raises:
        Refusal, TransactionUnfinished
    """
    puts = tuple(_put(session, move, seen) for move in session.first_moves if seen[move] != move.after)
    yield from put_all(session, puts, turns=not session.terms.parts.forward)
    yield from read_back(session, session.first_moves)


def commit(session: Session, seen: dict[Move, str | None]) -> Steps[None]:
    """Step 6: PUT the metadata's tags one after the other; from the commit point on there is no way back.

    Raises:
        Refusal, TransactionUnfinished
    """
    for move in session.commit_moves:
        if seen[move] == move.after:
            continue
        parts, is_point = session.terms.parts, move == session.commit_point
        session.commit_sent = session.commit_sent or is_point
        turns = not (parts.final if is_point else parts.forward)
        yield from put_all(session, (_put(session, move, seen),), turns=turns)


def _put(session: Session, move: Move, seen: dict[Move, str | None]) -> Put:
    return Put(move.repository, move.tag, Digest.parse(move.after), expected(session, seen[move]))


def go_back(session: Session) -> Steps[None]:
    """Step 8: every move of the journal back to where it was, whoever made it, then the journal as aborted.

    Raises:
        TransactionUnfinished: going back was refused too, or the lease is over.
    """
    moves = tuple(m for m in session.entry.moves if m.before != m.after)
    yield from wait_landed(session)
    yield from sleep(session.terms.timing.lag, "waiting until reads show what was written")
    try:
        seen = yield from look_at(session, moves)
        session.left_over.extend(m for m in moves if m.before is None and seen[m] == m.after)
        back = tuple(m for m in moves if m.before is not None and seen[m] != m.before)
        yield from put_all(session, tuple(Put(m.repository, m.tag, Digest.parse(m.before or "")) for m in back))
        yield from read_back(session, back, back=True)
    except Refusal as refusal:
        raise TransactionRefused(f"going back was refused: {refusal.reason}; the journal stays open") from None
    yield from close(session, session.aborted)


def left_over_text(session: Session) -> str:
    """What going back could not undo, for people."""
    return "".join(f"; {move.repository}:{move.tag} did not exist before and stays" for move in session.left_over)
