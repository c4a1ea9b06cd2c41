"""What a tag means to retention. Only tags that shipgraph makes itself, and makes anew when it needs them, may go."""

from __future__ import annotations

import fnmatch
import re
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from shipgraph.channel.journal import JOURNAL
from shipgraph.channel.metadata import LATEST
from shipgraph.project.versions import looks_like_version
from shipgraph.records.prune import RETENTION
from shipgraph.retain.policy import Role

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shipgraph.retain.policy import Policy

_IMMUTABLE: Final = r"sha-[0-9a-f]{40}(?:-r[1-9][0-9]*)?"
_ATTACHED: Final = re.compile(r"(sha256|sha512)-([0-9a-f]{64})(?:\.(?:sig|att|sbom))?", re.ASCII)
_MEMBER: Final = re.compile(_IMMUTABLE, re.ASCII)
_PAYLOAD: Final = re.compile(rf"({_IMMUTABLE})(?:-(?!r[0-9]+(?:-|\Z)).+)?", re.ASCII)
_RECORD: Final = re.compile(rf"set-({_IMMUTABLE})|build-([0-9a-f]{{64}})", re.ASCII)


class TagKind(Enum):
    """What a tag is; all but ``KEPT``, ``JOURNAL`` and ``UNDO`` may go with what it points at."""

    KEPT = auto()
    """A channel's, a version's, a protected one, or somebody's own."""
    JOURNAL = auto()
    UNDO = auto()
    """The record of a clean-up."""
    MEMBER = auto()
    """The immutable tag of a release; the value is that tag."""
    METADATA = auto()
    """``<channel>-<serial>``; the value is the whole tag."""
    SET = auto()
    """A set record; the value is the release's immutable tag."""
    BUILD = auto()
    ATTACHED = auto()
    """A referrers list or a signature of the old kind; the value is the digest of what it is about."""
    DISPOSABLE = auto()


class TagReader:
    """Reads tags under one policy.

    Args:
        channels: every channel that ever was, for their metadata's tags.
    """

    def __init__(self, policy: Policy, channels: Iterable[str]) -> None:
        self._channels = {*policy.channels, *channels, LATEST}
        self._prefixes = policy.prefixes
        names = "|".join(map(re.escape, sorted(self._channels - {LATEST}, key=len, reverse=True)))
        self._serial = re.compile(rf"({names})-([1-9][0-9]*)" if names else r"(?!)()()", re.ASCII)
        self._protect = _patterns(policy.protect)
        self._disposable = _patterns(policy.disposable)

    def read(self, role: Role | None, tag: str) -> tuple[TagKind, str]:
        """A tag's kind, and the value that goes with it; ``role`` is its repository's."""
        if self._protect is not None and self._protect.match(tag):
            return TagKind.KEPT, tag
        if match := _ATTACHED.fullmatch(tag):
            return TagKind.ATTACHED, f"{match[1]}:{match[2]}"
        found = self._of_metadata(tag) if role is Role.METADATA else self._of_release(role, tag)
        if found is not None:
            return found
        if self._disposable is not None and self._disposable.match(tag) and not self._is_published(tag):
            return TagKind.DISPOSABLE, tag
        return TagKind.KEPT, tag

    def _is_published(self, tag: str) -> bool:
        """Whether people find a release by this tag: no pattern makes that disposable."""
        prefixes = (prefix for prefix in self._prefixes if tag.startswith(prefix))
        is_version = looks_like_version(tag) or any(looks_like_version(tag[len(prefix) :]) for prefix in prefixes)
        return tag in self._channels or is_version

    def serial(self, tag: str) -> tuple[str, int] | None:
        """The channel and the serial of a tag of metadata."""
        match = self._serial.fullmatch(tag)
        return None if match is None else (match[1], int(match[2]))

    def _of_release(self, role: Role | None, tag: str) -> tuple[TagKind, str] | None:
        match = _MEMBER.fullmatch(tag)
        if match is not None:
            return TagKind.MEMBER, tag
        if role is Role.PAYLOAD and (match := _PAYLOAD.fullmatch(tag)):
            return TagKind.MEMBER, match[1]
        return None

    def _of_metadata(self, tag: str) -> tuple[TagKind, str] | None:
        if tag == JOURNAL or tag.startswith(f"{JOURNAL}-"):
            return TagKind.JOURNAL, tag
        if tag == RETENTION or tag.startswith(f"{RETENTION}-"):
            return TagKind.UNDO, tag
        if match := _RECORD.fullmatch(tag):
            return (TagKind.SET, match[1]) if match[1] else (TagKind.BUILD, match[2])
        return (TagKind.METADATA, tag) if self._serial.fullmatch(tag) else None


def _patterns(patterns: tuple[str, ...]) -> re.Pattern[str] | None:
    return re.compile("|".join(map(fnmatch.translate, patterns))) if patterns else None
