"""What the journal tells about releases: which were settled, when, and with which metadata.

Entries are given one by one, in any order, and nothing of them is kept but that: a long history has thousands, each
with the heads of all channels. Because each entry holds these heads, a few lost entries lose nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from shipgraph.channel.journal import Kind, State
from shipgraph.channel.metadata import rfc3339

if TYPE_CHECKING:
    from shipgraph.channel.journal import ChannelHead, HeadRelease, JournalEntry

# A repair and a clean-up go under a channel's serial that was decided about before.
_DECIDING: Final = frozenset({Kind.RELEASE, Kind.PROMOTE, Kind.ROLLBACK, Kind.REFRESH})


@dataclass(slots=True)
class Settled:
    """One release that was settled, under whatever names: its immutable tag, the last time (RFC 3339) and the entry's
    number, its channels and versions, and the digests of all metadata that was ever settled for it."""

    immutable_tag: str
    order: tuple[str, int] = ("", 0)
    names: set[str] = field(default_factory=set)
    metadata: set[str] = field(default_factory=set)

    @property
    def at(self) -> str:
        """When it was settled last; RFC 3339."""
        return self.order[0]


class History:
    """The journal of one project, as far as retention needs it.

    Attributes:
        releases: what was settled, by immutable tag.
        decided: every (channel, serial) of which the outcome is known.
        taken_back: those of them that were aborted.
        newest: the entry with the highest number, that is, the journal; None where there is none.
    """

    def __init__(self) -> None:
        self.releases: dict[str, Settled] = {}
        self.decided: set[tuple[str, int]] = set()
        self.taken_back: set[tuple[str, int]] = set()
        self.newest: JournalEntry | None = None
        self._numbers: set[int] = set()

    def add(self, entry: JournalEntry) -> None:
        """Learn from one entry."""
        self._numbers.add(entry.number)
        if self.newest is None or entry.number >= self.newest.number:
            self.newest = entry
        decision = (entry.channel, entry.serial)
        if entry.kind in _DECIDING:
            self.decided.add(decision)
            if entry.state is State.ABORTED:
                self.taken_back.add(decision)
            elif entry.state is State.SETTLED and entry.release is not None:
                # A refresh is no new settlement: what it renews keeps its place.
                order = ("", 0) if entry.kind is Kind.REFRESH else (rfc3339(entry.opened_at), entry.number)
                self._settle(entry.channel, entry.release, order)
        for channel, head in entry.heads.items():
            for release in (*head.releases, *head.undone):
                self.decided.add((channel, release.serial))
                self._settle(channel, release, (release.settled_at, 0))

    def _settle(self, channel: str, release: HeadRelease, order: tuple[str, int]) -> None:
        known = self.releases.setdefault(release.immutable_tag, Settled(release.immutable_tag))
        known.names.add(channel)
        if release.version:
            known.names.add(release.version)
        if release.metadata:
            known.metadata.add(release.metadata)
        known.order = max(known.order, order)

    @property
    def heads(self) -> dict[str, ChannelHead]:
        """Where each channel stands."""
        return self.newest.heads if self.newest is not None else {}

    @property
    def missing(self) -> tuple[tuple[int, int], ...]:
        """The numbers of entries that are not there although later ones are: from, to, both included."""
        numbers = sorted(self._numbers)
        pairs = zip((0, *numbers), numbers, strict=False)
        return tuple((low + 1, high - 1) for low, high in pairs if high - low > 1)
