"""When a release is ahead of its channel: by ancestry, then revision; by SemVer where the channel ships versions."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Protocol, TypeAlias

from shipgraph.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from shipgraph.channel.journal import Mark
    from shipgraph.project.versions import Version


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


ParseVersion: TypeAlias = "Callable[[str], Version]"


def by_version(ours: Mark, theirs: Mark, parse: ParseVersion) -> Standing:
    """Compare two releases by version (Semantic Versioning 2.0.0 § 11), then revision."""
    try:
        our_version, their_version = parse(ours.version), parse(theirs.version)
    except ConfigurationError:
        return Standing.UNKNOWN
    if our_version > their_version:
        return Standing.AHEAD
    if our_version < their_version:
        return Standing.BEHIND
    if ours.commit != theirs.commit:
        return Standing.DIVERGED
    return by_revision(ours, theirs)


def by_revision(ours: Mark, theirs: Mark) -> Standing:
    """Compare two releases of one commit."""
    if ours.revision == theirs.revision:
        return Standing.EQUAL
    return Standing.AHEAD if ours.revision > theirs.revision else Standing.BEHIND


async def compare(ours: Mark, theirs: Mark, *, parse: ParseVersion | None, ancestry: Ancestry) -> Standing:
    """How ``ours`` stands to ``theirs``; ``parse`` reads the versions of a channel that ships versions."""
    if parse is not None:
        return by_version(ours, theirs, parse)
    if ours.commit == theirs.commit:
        return by_revision(ours, theirs)
    return await ancestry(ours.commit, theirs.commit)
