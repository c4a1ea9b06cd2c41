"""What holds for every transaction of one process: whose journal, who we are, the timing, and which parts are on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from shipgraph.channel.journal import Owner
    from shipgraph.project.release import Release
    from shipgraph.promote.timing import Timing


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of the protocol that its safety rests on. All are on; simulations take one out to see that it shows.

    ``settle``: a claim waits before it is read back. ``order``: a channel never goes back by itself. ``adopt``: whoever
    ends a dead owner's transaction claims the journal first. ``lease``: an owner counts as dead only when none of its
    PUTs can be under way. ``forward``: an unknown outcome is tried again, never taken back. ``final``: after a commit
    PUT nothing is taken back. ``look``: a journal PUT with an unknown outcome is looked for before it is repeated.
    ``land``: nothing is closed or taken back before own unanswered PUTs can't land any more.
    """

    settle: bool = True
    order: bool = True
    adopt: bool = True
    lease: bool = True
    forward: bool = True
    final: bool = True
    look: bool = True
    land: bool = True

    def without(self, name: str) -> Parts:
        """All these but one, named as in ``SWITCHES``."""
        return replace(self, **{SWITCHES[name]: False})


SWITCHES: Final = {
    "no-wait": "settle",
    "no-serial": "order",
    "no-adopt": "adopt",
    "early-dead": "lease",
    "turn-back": "forward",
    "commit-back": "final",
    "blind-retry": "look",
    "no-land": "land",
}
"""What each part's absence is called, and the part."""

ALL: Final = Parts()


@dataclass(frozen=True, slots=True)
class Terms:
    """``repository`` is the metadata repository; ``channels`` are all channels of the project (a journal may be
    missing only if none of them has a tag); ``wait``: a busy journal is waited for."""

    project: str
    repository: str
    channels: tuple[str, ...]
    owner: Owner
    timing: Timing
    wait: bool = False
    parts: Parts = ALL

    @classmethod
    def of(cls, release: Release, owner: Owner, timing: Timing, *, wait: bool) -> Terms:
        """The terms of a project's transactions."""
        project = release.project
        return cls(project.name, release.metadata_repository, tuple(project.channels), owner, timing, wait=wait)
