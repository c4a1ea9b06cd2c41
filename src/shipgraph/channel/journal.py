"""The journal: one tag for a whole project that says which transaction is open, and where each channel stands.

Every PUT of the journal is an entry of its own with the next ``number``; ``previous`` is the digest of the one before;
docs/transaction.md describes the protocol.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from shipgraph.records.document import Document, build_document, decode

JOURNAL_TYPE: Final = "application/vnd.shipgraph.journal.v1+json"
JOURNAL: Final = "journal"
"""The journal's tag in the metadata repository."""

HISTORY: Final = 20
"""How many releases ``heads`` remembers for each channel."""


class State(StrEnum):
    """What an entry says about its transaction."""

    OPEN = "open"
    SETTLED = "settled"
    ABORTED = "aborted"


class Kind(StrEnum):
    """What a transaction is for."""

    RELEASE = "release"
    PROMOTE = "promote"
    ROLLBACK = "rollback"
    REFRESH = "refresh"
    REPAIR = "repair"
    PRUNE = "prune"


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Who opened a transaction. The nonce alone is compared."""

    run: str
    attempt: int
    nonce: str


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """One tag's way: from ``before`` (a digest, or None where the tag does not exist) to ``after``."""

    repository: str
    tag: str
    before: str | None
    after: str


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """Where a release stands in its channel's order: by commit and revision, or by version where that is SemVer."""

    commit: str
    revision: int
    version: str


class HeadRelease(msgspec.Struct, frozen=True, kw_only=True):
    """A release that a channel has had: enough to return to it, or to keep it."""

    immutable_tag: str
    version: str
    commit: str
    revision: int
    serial: int
    metadata: str
    settled_at: str


class ChannelHead(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where one channel stands.

    ``serial`` is the highest that was ever taken, burned ones included; ``high_water`` the highest release that ever
    settled; ``releases`` is the current release and what it would be rolled back to, newest first; ``undone`` is what
    was rolled back, last one first; ``hold`` is the reason why releases are refused, if they are.
    """

    serial: int
    high_water: Mark | None = None
    releases: tuple[HeadRelease, ...] = ()
    hold: str = ""
    undone: tuple[HeadRelease, ...] = ()


class Removal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A manifest that a clean-up deletes with all its tags, or brings back: enough for the way back.

    ``repository`` is the path without the host; ``id`` the Packages API's, None on other registries.
    """

    repository: str
    digest: str
    tags: tuple[str, ...] = ()
    id: int | None = None


class Batch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A part of a clean-up: what it is about to delete, in this order.

    ``run`` names the clean-up; with ``undoes``, that clean-up's deletions are about to be brought back instead.
    """

    run: str
    removals: tuple[Removal, ...]
    undoes: str = ""


class JournalEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry. ``opened_at`` is in seconds since the epoch by the registry's clock, ``lease_s`` in seconds.

    ``release`` is what the channel moves to, None where it stays where it is; ``hold`` is the channel's new hold, None
    where that stays as it is; ``batch`` is what a clean-up does under this claim.
    """

    number: int
    id: str
    project: str
    owner: Owner
    opened_at: float
    lease_s: float
    state: State
    kind: Kind
    channel: str
    serial: int
    release: HeadRelease | None
    moves: tuple[Move, ...]
    heads: dict[str, ChannelHead]
    previous: str | None
    hold: str | None = None
    batch: Batch | None = None

    def head(self, channel: str) -> ChannelHead:
        """The channel's head; a channel never seen before stands at serial 0."""
        return self.heads.get(channel, ChannelHead(serial=0))


def entry_tag(number: int) -> str:
    """The immutable tag of an entry."""
    return f"journal-{number}"


def encode_entry(entry: JournalEntry) -> Document:
    """The entry's artifact."""
    return build_document(JOURNAL_TYPE, entry, title="journal.json")


def decode_entry(content: bytes, *, where: str) -> JournalEntry:
    """Read an entry.

    Raises:
        MalformedDocument: it isn't one.
    """
    return decode(content, JournalEntry, where=where)


def advances(entry: JournalEntry, repository: str) -> bool:
    """Whether an entry moves its channel: a lower ``v*`` release moves only its own tags, a repair decides nothing."""
    return entry.release is not None and any(m.repository == repository and m.tag == entry.channel for m in entry.moves)


def settle_heads(entry: JournalEntry, *, settled_at: str, advance: bool) -> dict[str, ChannelHead]:
    """The heads after an entry has been settled; ``advance``: see ``advances``."""
    head = entry.head(entry.channel)
    head = msgspec.structs.replace(
        head, serial=max(head.serial, entry.serial), hold=head.hold if entry.hold is None else entry.hold
    )
    if advance and entry.release is not None:
        release = msgspec.structs.replace(entry.release, settled_at=settled_at)
        head = _with_release(head, entry.kind, release)
    return {**entry.heads, entry.channel: head}


def _with_release(head: ChannelHead, kind: Kind, release: HeadRelease) -> ChannelHead:
    match kind:
        case Kind.ROLLBACK:
            position = _position(head.releases, release)
            if position is None:  # forward again, to a release that had been rolled back
                kept, undone = head.releases, head.undone
            else:
                kept, undone = head.releases[position + 1 :], (*head.releases[:position], *head.undone)
            undone = tuple(one for one in undone if not same_release(one, release))[:HISTORY]
            return msgspec.structs.replace(head, releases=_capped(release, kept), undone=undone)
        case Kind.REFRESH:
            renewed = msgspec.structs.replace(release, settled_at=head.releases[0].settled_at)
            return msgspec.structs.replace(head, releases=_capped(renewed, head.releases[1:]))
        case _:
            mark = Mark(commit=release.commit, revision=release.revision, version=release.version)
            return msgspec.structs.replace(head, high_water=mark, releases=_capped(release, head.releases))


def _position(releases: tuple[HeadRelease, ...], release: HeadRelease) -> int | None:
    return next((n for n, known in enumerate(releases) if same_release(known, release)), None)


def _capped(newest: HeadRelease, older: tuple[HeadRelease, ...]) -> tuple[HeadRelease, ...]:
    return (newest, *older)[:HISTORY]


def same_release(one: HeadRelease, other: HeadRelease) -> bool:
    """Whether two decisions are about the same release, whatever their serials."""
    return (one.immutable_tag, one.version) == (other.immutable_tag, other.version)


def burn_serial(entry: JournalEntry) -> dict[str, ChannelHead]:
    """The heads after an entry has been aborted: nothing but its serial is used up."""
    head = entry.head(entry.channel)
    return {**entry.heads, entry.channel: msgspec.structs.replace(head, serial=max(head.serial, entry.serial))}
