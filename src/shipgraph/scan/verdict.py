"""What a gate says about one image, payload or other artifact."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shipgraph.evidence.predicates import gate_verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from shipgraph.oci.digest import Digest
    from shipgraph.oci.platform import Platform
    from shipgraph.scan.exceptions import Accepted, Judged
    from shipgraph.scan.scanner import Report


@dataclass(frozen=True, slots=True)
class ManifestVerdict:
    """One manifest: ``platform`` is None where the index names none; ``reports`` what was scanned of it.

    ``judged`` are the findings, each with the digest of the layer (or manifest) that it is in.
    """

    digest: Digest
    platform: Platform | None
    reports: tuple[Report, ...]
    judged: tuple[tuple[str, Judged], ...]
    problem: str = ""

    @property
    def refused(self) -> bool:
        """Whether anything of it refuses the release."""
        return bool(self.problem) or any(judged.fails for _, judged in self.judged) or self.more > 0

    @property
    def more(self) -> int:
        """Findings beyond the limit of what is kept; nobody has looked at them, so they fail."""
        return sum(report.more for report in self.reports)

    def counts(self) -> dict[str, int]:
        """Findings that no exception covers, by severity in lower case."""
        left = [judged for _, judged in self.judged if judged.accepted is None or judged.expired]
        return dict(Counter(str(judged.finding.severity).lower() for judged in left))

    def predicate(self, *, scanner: str, rules: str, finished_on: str) -> dict[str, Any]:
        """What a statement about this manifest says (``urn:shipgraph:gate:v1``).

        Args:
            scanner: its name and version, with a space between them.
            rules: the version of the rules.
            finished_on: RFC 3339.
        """
        name, _, version = scanner.partition(" ")
        accepted = {one.accepted: None for _, one in self.judged if one.accepted is not None and not one.expired}
        return gate_verdict(
            scanner=name,
            version=version,
            rules=rules,
            passed=not self.refused,
            finished_on=finished_on,
            blobs=len(self.reports),
            size=sum(report.bytes for report in self.reports),
            findings=self.counts(),
            exceptions=[
                {"rule": one.rule, "reason": one.reason, "expires": one.expires.isoformat()} for one in accepted
            ],
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """One image with all its platforms. ``digest`` is what was asked about; ``fresh`` counts what was scanned now."""

    name: str
    repository: str
    digest: Digest
    scanner: str
    rules: str
    manifests: tuple[ManifestVerdict, ...]
    problem: str = ""
    fresh: int = field(default=0, compare=False)

    @property
    def refused(self) -> bool:
        """Whether it refuses the release: a finding, a problem, or nothing that was looked at."""
        return bool(self.problem) or not self.manifests or any(manifest.refused for manifest in self.manifests)

    @property
    def judged(self) -> dict[tuple[str, Judged], list[str]]:
        """Each finding once, by its layer, with the platforms that have it."""
        out: dict[tuple[str, Judged], list[str]] = {}
        for manifest in self.manifests:
            for place in manifest.judged:
                out.setdefault(place, []).append(str(manifest.platform or ""))
        return out

    def to_json(self) -> dict[str, Any]:
        """As a document."""
        return {
            "name": self.name,
            "repository": self.repository,
            "digest": str(self.digest),
            "refused": self.refused,
            "problem": self.problem or None,
            "scanner": self.scanner,
            "rules": self.rules,
            "fresh": self.fresh,
            "manifests": [
                {
                    "digest": str(manifest.digest),
                    "platform": None if manifest.platform is None else str(manifest.platform),
                    "refused": manifest.refused,
                    "problem": manifest.problem or None,
                    "scanned": [report.digest for report in manifest.reports],
                    "files": sum(report.files for report in manifest.reports),
                    "bytes": sum(report.bytes for report in manifest.reports),
                    "more": manifest.more,
                    "findings": [{"digest": digest, **finding_json(judged)} for digest, judged in manifest.judged],
                }
                for manifest in self.manifests
            ],
        }


def still_holds(
    predicate: Mapping[str, Any], *, rules: str | None, exceptions: Sequence[Accepted], today: date
) -> bool:
    """Whether an earlier verdict would be the same today: by the same rules, and with exceptions that still stand.

    Args:
        predicate: what ``ManifestVerdict.predicate`` made, read back from a trusted statement.
        rules: the version of today's rules; None where a verdict by any counts.
        exceptions: the project's, of today.
    """
    scanner, listed = predicate.get("scanner"), predicate.get("exceptions")
    if not isinstance(scanner, dict) or not isinstance(listed, list):
        return False
    if rules is not None and scanner.get("rules") != rules:
        return False
    standing = [
        {"rule": one.rule, "reason": one.reason, "expires": one.expires.isoformat()}
        for one in exceptions
        if one.expires >= today
    ]
    return all(one in standing for one in listed)


def finding_json(judged: Judged) -> dict[str, Any]:
    """A finding as a document; nowhere in it is a secret."""
    finding, accepted = judged.finding, judged.accepted
    return {
        "severity": str(finding.severity),
        "fails": judged.fails,
        "rule": finding.rule,
        "title": finding.title,
        "path": finding.path,
        "line": finding.line or None,
        "confidence": finding.confidence or None,
        "base64": finding.encoded,
        "masked": finding.masked or None,
        "fingerprint": finding.fingerprint,
        "exception": None
        if accepted is None
        else {"reason": accepted.reason, "expires": accepted.expires.isoformat(), "expired": judged.expired},
    }
