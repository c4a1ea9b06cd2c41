"""The prune record: what the last clean-up planned and did. Tag ``retention`` in the metadata repository.

It is what ``verify`` reads, and how the next clean-up knows that this policy has been shown to somebody before. What
was deleted stands in the journal too, written before it was done; ``prune --undo`` reads that.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from shipgraph.records.document import Document, build_document, decode

PRUNE_TYPE: Final = "application/vnd.shipgraph.prune.v1+json"
RETENTION: Final = "retention"
"""The record's tag in the metadata repository."""


class Outcome(StrEnum):
    """How a clean-up ended."""

    PLANNED = "planned"  # a policy's first plan: nothing was deleted
    COMPLETE = "complete"  # everything that was planned is done, or refused for good
    PARTIAL = "partial"  # some is left, and the next clean-up goes on
    FAILED = "failed"  # an error ended it
    UNDONE = "undone"  # it brought back what another had deleted


class Done(StrEnum):
    """What became of one version that was planned to go."""

    DELETED = "deleted"
    GONE = "gone"  # it was gone already
    REFUSED = "refused"  # the registry keeps it, and always will
    CHANGED = "changed"  # it is not any more what was decided about
    HELD = "held"  # something stays that needs it
    RESTORED = "restored"
    LOST = "lost"  # it can't be brought back


class PrunedVersion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """One version that was planned to go. ``reason`` and ``because`` are the plan's; ``detail`` is about ``done``."""

    repository: str
    digest: str
    done: Done
    tags: tuple[str, ...] = ()
    id: int | None = None
    reason: str = ""
    because: str = ""
    detail: str = ""


class PruneRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """One clean-up. Times are RFC 3339 in UTC.

    ``run`` names it in the journal and ``by`` whose run it was; ``policy``, ``plan`` and ``rules`` are the plan's own;
    ``versions`` is what was tried of the plan, in its order, and ``left`` how many were not; ``kept`` counts what
    stays, by reason; ``freed`` is in bytes. ``first_seen`` is for registries that don't tell when something was pushed:
    since when each version (by repository and the digest's first 16 digits) is known, in seconds since the epoch.
    ``pending`` is for those that list only tags: digests by repository that were to go, and that no tag may lead to any
    more. A record with them is written before the first deletion.
    """

    project: str
    run: str
    by: str
    began_at: str
    ended_at: str
    outcome: Outcome
    policy: str = ""
    plan: str = ""
    rules: dict[str, str] = {}
    kept: dict[str, int] = {}
    versions: tuple[PrunedVersion, ...] = ()
    left: int = 0
    freed: int = 0
    problem: str = ""
    undoes: str = ""
    first_seen: dict[str, dict[str, int]] = {}
    pending: dict[str, tuple[str, ...]] = {}

    def count(self, done: Done) -> int:
        """How many versions ended so."""
        return sum(version.done is done for version in self.versions)


def encode_prune(record: PruneRecord) -> Document:
    """The record's artifact."""
    return build_document(PRUNE_TYPE, record, title="prune.json")


def decode_prune(content: bytes, *, where: str) -> PruneRecord:
    """Read a record.

    Raises:
        MalformedDocument: it isn't one.
    """
    return decode(content, PruneRecord, where=where)
