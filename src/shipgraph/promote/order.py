"""When a release is ahead of its channel: by ancestry, then revision; by SemVer where the channel ships versions."""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from shipgraph.channel.journal import Mark


class Standing(Enum):
    """How a release stands to another in a channel's order."""

    AHEAD = "ahead"
    EQUAL = "equal"
    BEHIND = "behind"
    DIVERGED = "diverged"
    UNKNOWN = "unknown"


class Ancestry(Protocol):
    """Answers how two commits stand to each other."""

    async def __call__(self, commit: str, other: str) -> Standing:
        """AHEAD if ``other`` is an ancestor of ``commit``, BEHIND the other way round."""
        ...


_SEMVER: Final = re.compile(
    r"v?(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?", re.ASCII
)


def version_key(version: str) -> tuple[tuple[int, int, int], tuple[tuple[int, int, str], ...]] | None:
    """A key that sorts as SemVer 2.0.0 § 11 says, or None if it is no SemVer (a leading ``v`` is allowed)."""
    match = _SEMVER.fullmatch(version)
    if match is None:
        return None
    numbers = (int(match[1]), int(match[2]), int(match[3]))
    if match[4] is None:
        return numbers, ((2, 0, ""),)
    parts = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in match[4].split("."))
    return numbers, ((0, 0, ""), *parts)


def by_version(ours: Mark, theirs: Mark) -> Standing:
    """Compare two releases by version, then revision."""
    our_key, their_key = version_key(ours.version), version_key(theirs.version)
    if our_key is None or their_key is None:
        return Standing.UNKNOWN
    if our_key != their_key:
        return Standing.AHEAD if our_key > their_key else Standing.BEHIND
    if ours.commit != theirs.commit:
        return Standing.DIVERGED
    return by_revision(ours, theirs)


def by_revision(ours: Mark, theirs: Mark) -> Standing:
    """Compare two releases of one commit."""
    if ours.revision == theirs.revision:
        return Standing.EQUAL
    return Standing.AHEAD if ours.revision > theirs.revision else Standing.BEHIND


async def compare(ours: Mark, theirs: Mark, *, versions: bool, ancestry: Ancestry) -> Standing:
    """How ``ours`` stands to ``theirs`` in a channel that ships versions, or commits."""
    if versions:
        return by_version(ours, theirs)
    if ours.commit == theirs.commit:
        return by_revision(ours, theirs)
    return await ancestry(ours.commit, theirs.commit)
