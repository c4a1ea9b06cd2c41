"""The gate: every manifest of an image, by digest, from wherever a fetcher reads it.

A gate that has nothing to look at, no scanner or no rules refuses: it never passes what it didn't see. It takes a
``Fetcher``, so it can't change anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final

from shipgraph.errors import ContentError, NotFound, Refused, RegistryError, ShipgraphError
from shipgraph.events import Failed, Finished, Started
from shipgraph.oci.manifest import ImageIndex, ImageManifest
from shipgraph.oci.media_types import INDEXES, MANIFESTS
from shipgraph.scan.exceptions import judge
from shipgraph.scan.verdict import ManifestVerdict, Verdict
from shipgraph.tasks import gather

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import date

    from shipgraph.events import Emit
    from shipgraph.oci.digest import Digest
    from shipgraph.oci.platform import Platform
    from shipgraph.scan.exceptions import Accepted
    from shipgraph.scan.scanner import Scanner
    from shipgraph.store.protocols import Fetcher

DEPTH: Final = 3
"""Indexes in indexes."""
MANIFESTS_LIMIT: Final = 256
LISTED: Final = 50
"""So many findings stand in a refusal."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is to be gated; ``name`` is for people, ``repository`` the full name without the host."""

    name: str
    repository: str
    digest: Digest


async def gate_images(
    fetcher: Fetcher,
    subjects: Sequence[Subject],
    *,
    scanner: Scanner,
    exceptions: Sequence[Accepted] = (),
    today: date | None = None,
    platforms: Collection[Platform] = (),
    emit: Emit,
) -> tuple[Verdict, ...]:
    """Gate several images at once; what they share is scanned once, and a refusal of one doesn't stop the others.

    Args:
        exceptions: findings that were accepted.
        today: the day by which exceptions expire; by default this one, in UTC.
        platforms: only these of an index; all where empty.

    Raises:
        Refused: there is nothing to gate, or the scanner is not there or has no rules.
        RegistryError: the registry failed, or refused to be read; raised once everything else has been looked at.
    """
    if not subjects:
        raise Refused("there is no image to gate, and a gate over nothing proves nothing")
    await scanner.prepare()
    gates = [
        partial(_gate, fetcher, subject, scanner, tuple(exceptions), today or datetime.now(UTC).date(), platforms, emit)
        for subject in subjects
    ]
    verdicts = await gather(gates)
    for verdict in verdicts:
        if isinstance(verdict, RegistryError):
            raise verdict
    return tuple(verdict for verdict in verdicts if isinstance(verdict, Verdict))


async def gate_image(
    fetcher: Fetcher,
    repository: str,
    digest: Digest,
    *,
    scanner: Scanner,
    name: str = "",
    exceptions: Sequence[Accepted] = (),
    today: date | None = None,
    platforms: Collection[Platform] = (),
    emit: Emit,
) -> Verdict:
    """Gate one image, payload or other artifact; see ``gate_images``."""
    subject = Subject(name or repository, repository, digest)
    (verdict,) = await gate_images(
        fetcher, [subject], scanner=scanner, exceptions=exceptions, today=today, platforms=platforms, emit=emit
    )
    return verdict


def check_verdicts(verdicts: Sequence[Verdict], *, listed: bool = False) -> None:
    """Refuse if any verdict does, in one message that names all of them.

    Args:
        listed: the user has seen the findings; else the message lists them too, with what an exception needs.

    Raises:
        Refused: findings or problems; or no verdicts.
    """
    if not verdicts:
        raise Refused("no image was gated")
    refused = [verdict for verdict in verdicts if verdict.refused]
    if not refused:
        return
    findings = [] if listed else list(dict.fromkeys(line for verdict in refused for line in _findings(verdict)))
    if len(findings) > LISTED:
        findings[LISTED:] = [f"  and {len(findings) - LISTED} more"]
    raise Refused(
        "\n".join(["the secret gate refuses " + "; ".join(map(_reason, refused)), *findings]),
        hint="take the secret out of the image and revoke it, or accept the finding in [[gate.exceptions]]",
    )


def _findings(verdict: Verdict) -> list[str]:
    """What fails, a line each, without the secrets."""
    failing = sorted(
        (judged.finding for _, judged in verdict.judged if judged.fails),
        key=lambda finding: (finding.severity.rank, finding),
    )
    return [
        f"  {one.severity} {one.rule} in {one.path}{f':{one.line}' if one.line else ''}: "
        f"{one.masked or one.title} (fingerprint {one.fingerprint})"
        for one in failing
    ]


def _reason(verdict: Verdict) -> str:
    problems = [text for text in (verdict.problem, *(m.problem for m in verdict.manifests)) if text]
    failing = [judged for _, judged in verdict.judged if judged.fails]
    parts = problems[:1]
    if failing:
        worst = min(failing, key=lambda judged: judged.finding.severity.rank).finding
        more = f" and {len(failing) - 1} more" if len(failing) > 1 else ""
        parts.append(f"{worst.severity} {worst.rule} in {worst.path}{more}")
        if expired := sum(judged.expired for judged in failing):
            parts.append(f"{expired} by an exception that has expired")
    if left := sum(manifest.more for manifest in verdict.manifests):
        parts.append(f"{left} findings too many to keep")
    return f"{verdict.name} ({'; '.join(parts) or 'nothing was scanned'})"


async def _gate(
    fetcher: Fetcher,
    subject: Subject,
    scanner: Scanner,
    exceptions: tuple[Accepted, ...],
    today: date,
    platforms: Collection[Platform],
    emit: Emit,
) -> Verdict | RegistryError:
    task, title = f"gate:{subject.name}", f"gate {subject.name}"
    emit(Started(task, title))
    try:
        found = await _manifests(fetcher, subject.repository, subject.digest, None, DEPTH)
        wanted = [(m, p) for m, p in found if not platforms or p is None or p in platforms]
        if not wanted:
            raise Refused(f"{subject.name} has no manifest for a platform to gate")
        results = await gather(
            [partial(_gate_manifest, fetcher, subject, m, p, scanner, exceptions, today, emit) for m, p in wanted]
        )
    except (ContentError, NotFound, Refused) as error:
        emit(Failed(task, title, str(error)))
        return _verdict(subject, scanner, (), problem=str(error))
    except RegistryError as error:
        emit(Failed(task, title, str(error)))
        return error
    fresh = sum(count for _, count in results)
    verdict = _verdict(subject, scanner, tuple(m for m, _ in results), fresh=fresh)
    if verdict.refused:
        emit(Failed(task, title, f"refused: {_reason(verdict)}"))
    else:
        emit(Finished(task, title, "clean" if fresh else "clean, nothing new to scan"))
    return verdict


def _verdict(
    subject: Subject, scanner: Scanner, manifests: tuple[ManifestVerdict, ...], *, problem: str = "", fresh: int = 0
) -> Verdict:
    return Verdict(
        name=subject.name,
        repository=subject.repository,
        digest=subject.digest,
        scanner=scanner.name,
        rules=scanner.version,
        manifests=manifests,
        problem=problem,
        fresh=fresh,
    )


async def _gate_manifest(
    fetcher: Fetcher,
    subject: Subject,
    manifest: ImageManifest,
    platform: Platform | None,
    scanner: Scanner,
    exceptions: tuple[Accepted, ...],
    today: date,
    emit: Emit,
) -> tuple[ManifestVerdict, int]:
    try:
        scanned = await scanner.scan(fetcher, subject.repository, manifest, platform, emit=emit)
    except ShipgraphError as error:
        if isinstance(error, Refused) or (isinstance(error, RegistryError) and not isinstance(error, NotFound)):
            raise
        return ManifestVerdict(manifest.digest, platform, (), (), str(error)), 0
    if not scanned.reports:
        return ManifestVerdict(manifest.digest, platform, (), (), "nothing of it was scanned"), 0
    judged = tuple(
        (report.digest, one) for report in scanned.reports for one in judge(report.findings, exceptions, today)
    )
    return ManifestVerdict(manifest.digest, platform, scanned.reports, judged), scanned.fresh


async def _manifests(
    fetcher: Fetcher, repository: str, digest: Digest, platform: Platform | None, depth: int
) -> list[tuple[ImageManifest, Platform | None]]:
    """All image manifests below a digest, each once, with the platform that the index gives it."""
    top = await fetcher.manifest(repository, digest)
    if isinstance(top, ImageManifest):
        return [(top, platform)]
    if depth == 0:
        raise Refused(f"{repository}@{digest} is an index nested too deeply")
    if not top.manifests:
        raise Refused(f"{repository}@{digest} is an index without manifests")
    if len(top.manifests) > MANIFESTS_LIMIT:
        raise Refused(f"{repository}@{digest} has more than {MANIFESTS_LIMIT} manifests")
    out: dict[Digest, tuple[ImageManifest, Platform | None]] = {}
    for child in _children(top, repository):
        for manifest, found in await _manifests(fetcher, repository, child[0], child[1], depth - 1):
            out.setdefault(manifest.digest, (manifest, found))
    return list(out.values())


def _children(index: ImageIndex, repository: str) -> list[tuple[Digest, Platform | None]]:
    for child in index.manifests:
        if child.media_type not in INDEXES | MANIFESTS:
            raise Refused(f"{repository}@{index.digest} holds {child.media_type}, which is neither image nor index")
    return [(child.digest, child.platform) for child in index.manifests]
