"""Findings that somebody has looked at and accepted, for a reason and until a day."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from shipgraph.scan.finding import Finding


@dataclass(frozen=True, slots=True)
class Accepted:
    """One entry of ``[[gate.exceptions]]``: a rule, a path (``*`` and ``?`` allowed) and a fingerprint, all of which
    must match; why; and the last day on which it holds.
    """

    rule: str
    path: str
    fingerprint: str
    reason: str
    expires: date

    def matches(self, finding: Finding) -> bool:
        """Whether it speaks of this finding."""
        return (
            self.rule == finding.rule
            and self.fingerprint == finding.fingerprint
            and fnmatch.fnmatchcase(finding.path, self.path)
        )


@dataclass(frozen=True, slots=True)
class Judged:
    """A finding, and the exception that speaks of it, if any; ``expired`` if that one holds no more."""

    finding: Finding
    accepted: Accepted | None = None
    expired: bool = False

    @property
    def fails(self) -> bool:
        """Whether it refuses the release."""
        return self.finding.severity.fails and (self.accepted is None or self.expired)


def judge(findings: Sequence[Finding], exceptions: Sequence[Accepted], today: date) -> tuple[Judged, ...]:
    """Each finding with what was decided about it; of several exceptions, the one that holds longest counts."""
    out: list[Judged] = []
    for finding in findings:
        matching = sorted((e for e in exceptions if e.matches(finding)), key=lambda e: e.expires)
        out.append(Judged(finding, matching[-1], matching[-1].expires < today) if matching else Judged(finding))
    return tuple(out)
