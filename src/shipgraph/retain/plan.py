"""The plan of a clean-up as a document: for each version whether it stays or goes, and why.

Who carries it out does exactly this, and nothing that isn't in it. Its media type has a version, and it is written in
one way only, so that a plan that was looked at can be compared with the one that is carried out.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

import msgspec

from shipgraph.errors import MalformedDocument
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import encode_json
from shipgraph.records.document import decode

if TYPE_CHECKING:
    from collections.abc import Iterator

PLAN_TYPE: Final = "application/vnd.shipgraph.prune-plan.v1+json"


class Reason(StrEnum):
    """Why a version stays or goes. The first that applies, in this order, is the one that is told."""

    # it stays
    OPEN = "open"  # an unfinished transaction moves a tag from it or to it
    CURRENT = "current"  # a channel's release
    PREDECESSOR = "predecessor"  # what a channel would be rolled back to
    TAG = "tag"  # a tag that shipgraph doesn't delete: a channel's, a version's, a protected one, somebody's own
    OUTSIDE = "outside"  # named by the file of digests from outside
    RELEASE = "release"  # one of the newest complete releases, as many as the repository keeps
    JOURNAL = "journal"  # the history of the channels
    UNDO = "undo"  # the record of a clean-up that can still be undone
    YOUNG = "young"  # pushed or tagged within the grace period
    UNFINISHED = "unfinished"  # of a release that isn't finished, and may still be
    UNTOLD = "untold"  # of a release of which the journal doesn't tell whether it was ever settled
    UNCOVERED = "uncovered"  # in a repository that the policy doesn't cover
    LAST = "last"  # the last tagged version of its repository: GitHub never deletes that
    REACHED = "reached"  # something that stays needs it
    # it goes
    OLD = "old"  # a release beyond the count
    ABANDONED = "abandoned"  # an unfinished release that nobody went on with
    DISPOSABLE = "disposable"  # its tags are of a kind that the project calls disposable
    RECORD = "record"  # a record of something that goes or is gone
    UNREACHED = "unreached"  # no tag, and nothing that stays needs it


GOING: Final = frozenset({Reason.OLD, Reason.ABANDONED, Reason.DISPOSABLE, Reason.RECORD, Reason.UNREACHED})
"""The reasons for which a version goes."""

MEANINGS: Final[dict[Reason, str]] = {
    Reason.OPEN: "an unfinished transaction moves a tag from it or to it",
    Reason.CURRENT: "a channel's release",
    Reason.PREDECESSOR: "what a channel would be rolled back to",
    Reason.TAG: "it has a tag that is never deleted: a channel's, a version's, a protected one, or somebody's own",
    Reason.OUTSIDE: "it is used outside the registry",
    Reason.RELEASE: "one of the newest complete releases",
    Reason.JOURNAL: "the history of the channels",
    Reason.UNDO: "the record of the last clean-up",
    Reason.YOUNG: "it was pushed or tagged within the grace period",
    Reason.UNFINISHED: "of a release that was begun a short while ago, and not finished",
    Reason.UNTOLD: "of a release of which the journal doesn't tell how it ended",
    Reason.UNCOVERED: "in a repository that is not cleaned up",
    Reason.LAST: "the last tagged version of its repository",
    Reason.REACHED: "something that stays needs it",
    Reason.OLD: "of a release beyond the count",
    Reason.ABANDONED: "of a release that was begun long ago, and never finished",
    Reason.DISPOSABLE: "it has only tags that the project calls disposable",
    Reason.RECORD: "the record of something that goes or is gone",
    Reason.UNREACHED: "it has no tag, and nothing that stays needs it",
}
"""Each reason in words, for people."""


class Fate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What happens to one version.

    ``because`` goes with ``reason``: the tag, the channel, the release's immutable tag; for ``reached`` what needs it.
    ``turn`` says when it goes (0: it stays): everything of one turn may go in any order, and must be gone before the
    next turn begins. So a tag never points at something of which a part is gone, wherever it stops. ``tags`` is what it
    had when it was listed: a version with any other tag is not the one that was decided about. Times as in ``Version``;
    ``size`` is the manifest's, in bytes.
    """

    digest: str
    reason: Reason
    because: str = ""
    turn: int = 0
    tags: tuple[str, ...] = ()
    id: int | None = None
    created_at: float | None = None
    updated_at: float | None = None
    size: int = 0

    @property
    def goes(self) -> bool:
        """Whether it is deleted."""
        return self.turn > 0


class PackagePlan(msgspec.Struct, frozen=True, kw_only=True):
    """One repository: its path without the host, all of its versions, and how many bytes of blobs only those need that
    go. What a registry really frees, and when, is its own business."""

    repository: str
    versions: tuple[Fate, ...]
    freed: int = 0


class ReleaseFate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One release, newest settlement first.

    ``names`` are the channels and versions under which it was settled; ``settled_at`` is RFC 3339. ``rank`` counts the
    complete releases that are newer. ``lacks`` says what is missing from one that is not complete. ``kept`` are the
    repositories in which it stays as a release, by the count or as somebody's root; whatever else stays of it is only
    there because something else needs it.
    """

    immutable_tag: str
    names: tuple[str, ...]
    settled_at: str
    rank: int
    lacks: str = ""
    kept: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether it counts."""
        return not self.lacks


class Deletion(msgspec.Struct, frozen=True):
    """One version that goes, and where."""

    repository: str
    fate: Fate


class PrunePlan(msgspec.Struct, frozen=True, kw_only=True, tag_field="mediaType", tag=PLAN_TYPE):
    """A whole plan.

    ``made_at`` is RFC 3339 by the clock that ages were compared with. ``policy`` and ``seen`` are digests: of the
    rules, and of everything that was read; the same two make the same plan at the same time. ``rules`` is the policy in
    words that a person can read. ``notes`` is what somebody should look at, though it stops nothing.
    """

    project: str
    registry: str
    made_at: str
    policy: str
    seen: str
    rules: dict[str, str]
    packages: tuple[PackagePlan, ...]
    releases: tuple[ReleaseFate, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def deletions(self) -> tuple[Deletion, ...]:
        """What goes, in the order in which it goes; a turn ends where ``fate.turn`` changes."""
        found = [
            Deletion(package.repository, fate) for package in self.packages for fate in package.versions if fate.goes
        ]
        return tuple(sorted(found, key=lambda one: (one.fate.turn, one.repository, one.fate.digest)))

    @property
    def kept(self) -> Iterator[Deletion]:
        """What stays."""
        return (Deletion(p.repository, fate) for p in self.packages for fate in p.versions if not fate.goes)

    @property
    def freed(self) -> int:
        """Bytes of blobs that nothing needs any more, over all repositories."""
        return sum(package.freed for package in self.packages)

    @property
    def digest(self) -> str:
        """The digest of the document: a plan's name."""
        return str(Digest.of(encode_plan(self)))


class _Typed(msgspec.Struct, frozen=True):
    """Only what a document says that it is: a plan without it would be read all the same."""

    media_type: str = msgspec.field(name="mediaType", default="")


def encode_plan(plan: PrunePlan) -> bytes:
    """The plan's JSON; the same plan makes the same bytes."""
    return encode_json(plan)


def decode_plan(content: bytes, *, where: str) -> PrunePlan:
    """Read a plan.

    Raises:
        MalformedDocument: it isn't one, or one of a kind that is not known here.
    """
    kind = decode(content, _Typed, where=where).media_type
    if kind != PLAN_TYPE:
        raise MalformedDocument(f"{where} is {kind[:200] or 'of no type'}, and not a plan of type {PLAN_TYPE}")
    return decode(content, PrunePlan, where=where)
