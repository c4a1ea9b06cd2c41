"""Whether a verdict that was given earlier counts for this release: its subject is the same, its measure may not be.

An image that didn't change keeps its digest from release to release, and its evidence with it. Meanwhile its tests may
have been changed, the scanner's rules, or the findings that the project accepts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from shipgraph.engine.gating import accepted_findings
from shipgraph.events import Note
from shipgraph.evidence.requirements import Kind
from shipgraph.imagetest.stage import covers
from shipgraph.scan.verdict import still_holds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shipgraph.events import Emit
    from shipgraph.evidence.referrers import ReferrerVerifier
    from shipgraph.evidence.requirements import Subject
    from shipgraph.imagetest.stage import Wanted
    from shipgraph.oci.digest import Digest
    from shipgraph.project.spec import GateSpec


@dataclass(frozen=True, slots=True)
class Validity:
    """A ``referrers.Standing``.

    Args:
        gate: the project's: whose exceptions stand.
        rules: the version of the gate's rules that a verdict must be by; any where None.
        tests: what is asked of each platform now, by repository and digest; of any other, every verdict counts.
    """

    gate: GateSpec
    rules: str | None = None
    tests: Mapping[tuple[str, Digest], Sequence[Wanted]] = field(default_factory=dict)

    def __call__(self, repository: str, digest: Digest, kind: Kind, predicate: Mapping[str, Any]) -> str:
        """See ``Standing``."""
        if kind is Kind.GATE:
            accepted, today = accepted_findings(self.gate), datetime.now(UTC).date()
            if not still_holds(predicate, rules=self.rules, exceptions=accepted, today=today):
                return "it is by other rules than today's, or by an exception that stands no more"
        if kind is Kind.TEST:
            tests = self.tests.get((repository, digest))
            if tests is not None and not covers(predicate, tests):
                return "it is of other tests than today's"
        return ""


@dataclass(frozen=True, slots=True)
class Telling:
    """A ``requirements.Verifier`` that says why what is there doesn't count."""

    verifier: ReferrerVerifier
    emit: Emit

    async def __call__(self, subject: Subject, kind: Kind) -> bool:
        """See ``Verifier``."""
        finding = await self.verifier.find(subject.repository, subject.digest, kind)
        if finding.verified is None and finding.reasons:
            self.emit(Note(f"the evidence of kind {kind} of {subject.name} does not count: {finding.reasons[-1]}"))
        return finding.verified is not None
