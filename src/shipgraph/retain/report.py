"""A clean-up as a document and as a page: what went, what stays and why, and what was freed. Values in, text out.

The page is one file that loads nothing and runs nothing, for it is opened where people keep what they trust; whatever
comes from a registry is escaped.
"""

from __future__ import annotations

from collections import Counter
from html import escape
from typing import TYPE_CHECKING, Final

import msgspec

from shipgraph.oci.manifest import encode_json
from shipgraph.records.prune import Done, Outcome
from shipgraph.retain.plan import MEANINGS, Reason, ReleaseFate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from shipgraph.records.prune import PrunedVersion, PruneRecord
    from shipgraph.retain.plan import Deletion, PackagePlan, PrunePlan

REPORT_TYPE: Final = "application/vnd.shipgraph.prune-report.v1+json"
ROWS: Final = 300
"""Lines that a table of the page has at most; the document has all."""


class PackageReport(msgspec.Struct, frozen=True, kw_only=True):
    """One repository: how many versions stay and go, by reason, and the bytes of blobs that only those need that go."""

    repository: str
    stay: dict[str, int]
    go: dict[str, int]
    freed: int


class ReportedVersion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One version that goes; ``done`` and ``detail`` say what came of it, where the plan was carried out."""

    repository: str
    digest: str
    tags: tuple[str, ...] = ()
    id: int | None = None
    reason: str = ""
    because: str = ""
    done: str = ""
    detail: str = ""


class PruneReport(msgspec.Struct, frozen=True, kw_only=True, tag_field="mediaType", tag=REPORT_TYPE):
    """A clean-up. ``outcome`` is empty where nothing was carried out: then ``versions`` is what would go, without
    ``done``. Times are RFC 3339, ``freed`` is in bytes."""

    project: str
    registry: str
    made_at: str
    ended_at: str
    outcome: str
    problem: str
    policy: str
    rules: dict[str, str]
    stay: int
    go: int
    done: dict[str, int]
    freed: int
    packages: tuple[PackageReport, ...]
    releases: tuple[ReleaseFate, ...]
    versions: tuple[ReportedVersion, ...]
    notes: tuple[str, ...]


def build_report(plan: PrunePlan, record: PruneRecord | None = None) -> PruneReport:
    """What a plan says, and what came of it where it was carried out."""
    done = record.versions if record is not None and record.outcome is not Outcome.PLANNED else None
    versions = map(_planned, plan.deletions) if done is None else map(_carried_out, done)
    packages = tuple(map(_package, plan.packages))
    return PruneReport(
        project=plan.project,
        registry=plan.registry,
        made_at=plan.made_at,
        ended_at=record.ended_at if record is not None else "",
        outcome=str(record.outcome) if record is not None else "",
        problem=record.problem if record is not None else "",
        policy=plan.policy,
        rules=plan.rules,
        stay=sum(sum(one.stay.values()) for one in packages),
        go=sum(sum(one.go.values()) for one in packages),
        done=_count(str(one.done) for one in done or ()),
        freed=plan.freed,
        packages=packages,
        releases=plan.releases,
        versions=tuple(versions),
        notes=plan.notes,
    )


def _planned(deletion: Deletion) -> ReportedVersion:
    fate = deletion.fate
    return ReportedVersion(
        repository=deletion.repository,
        digest=fate.digest,
        tags=fate.tags,
        id=fate.id,
        reason=fate.reason,
        because=fate.because,
    )


def _carried_out(version: PrunedVersion) -> ReportedVersion:
    return ReportedVersion(
        repository=version.repository,
        digest=version.digest,
        tags=version.tags,
        id=version.id,
        reason=version.reason,
        because=version.because,
        done=version.done,
        detail=version.detail,
    )


def report_json(report: PruneReport) -> bytes:
    """The report as a document."""
    return encode_json(report)


def report_html(report: PruneReport) -> str:
    """The report as a page."""
    return "\n".join(_page(report)) + "\n"


def _package(package: PackagePlan) -> PackageReport:
    return PackageReport(
        repository=package.repository,
        stay=_count(str(fate.reason) for fate in package.versions if not fate.goes),
        go=_count(str(fate.reason) for fate in package.versions if fate.goes),
        freed=package.freed,
    )


def _count(words: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(words).items(), key=lambda pair: (-pair[1], pair[0])))


# --- the page ---------------------------------------------------------------------------------------------------------

_STYLE: Final = """
:root { color-scheme: light dark; --line: #8884; --stay: #2a78d6; --go: #c2410c; --dim: #777; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin-bottom: 0; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; } th { text-align: left; font-weight: 600; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .75rem .25rem 0; vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; } code { font-size: .85em; word-break: break-all; }
.dim { color: var(--dim); } .facts { display: flex; flex-wrap: wrap; gap: 2rem; margin: 1.5rem 0; }
.facts b { display: block; font-size: 1.6rem; font-weight: 600; } .bar { display: flex; height: .6rem; width: 12rem; }
.bar i { background: var(--stay); } .bar i + i { background: var(--go); margin-left: 2px; }
.problem { color: var(--go); }
"""
_OUTCOMES: Final = {
    "": "nothing was carried out",
    Outcome.PLANNED: "the first plan of this policy: nothing was carried out",
    Outcome.COMPLETE: "carried out",
    Outcome.PARTIAL: "carried out in part; the next clean-up goes on",
    Outcome.FAILED: "ended by an error",
    Outcome.UNDONE: "another clean-up was undone",
}


def _page(report: PruneReport) -> Iterator[str]:
    title = f"Clean-up of {report.project}"
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>"
    yield f"<h1>{escape(title)}</h1>"
    when = report.ended_at or report.made_at
    outcome = _OUTCOMES.get(report.outcome, report.outcome)
    yield f'<p class="dim">{escape(report.registry)} · {escape(when)} · {escape(outcome)}</p>'
    if report.problem:
        yield f'<p class="problem">{escape(report.problem)}</p>'
    yield '<div class="facts">'
    gone = report.done.get(Done.DELETED, 0) + report.done.get(Done.GONE, 0)
    facts = [(_number(report.stay), "versions stay")]
    facts.append((_number(gone), "versions deleted") if report.done else (_number(report.go), "versions would go"))
    facts.append((_bytes(report.freed), "that nothing else needs"))
    yield from (f"<div><b>{value}</b> {escape(label)}</div>" for value, label in facts)
    yield "</div>"
    yield from _notes(report)
    yield "<h2>Packages</h2>"
    yield from _table(["repository", "", "stay", "go", "bytes freed"], map(_package_row, report.packages), {2, 3, 4})
    yield "<h2>Why</h2>"
    yield from _table(["", "reason", "", "versions"], _reason_rows(report), {3})
    if report.releases:
        yield "<h2>Releases</h2>"
        header = ["release", "channels and versions", "settled", "newer ones", "stays in"]
        yield from _table(header, map(_release_row, report.releases), {3})
    if report.versions:
        yield f"<h2>{'What went' if report.done else 'What would go'}</h2>"
        header = ["version", "tags", "reason", *(["outcome"] if report.done else [])]
        yield from _table(header, map(_version_row, report.versions), set())
    yield "<h2>Rules</h2>"
    rules: Mapping[str, str] = {**report.rules, "policy": report.policy}
    yield from _table(["", ""], ([escape(name), escape(rule)] for name, rule in rules.items()), set())
    yield "</body>\n</html>"


def _notes(report: PruneReport) -> Iterator[str]:
    if report.notes:
        yield "<h2>Worth a look</h2>\n<ul>"
        yield from (f"<li>{escape(note)}</li>" for note in report.notes)
        yield "</ul>"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], numeric: set[int]) -> Iterator[str]:
    """A table; ``rows`` hold markup, of which only the first ``ROWS`` are shown."""
    marks = [' class="n"' if column in numeric else "" for column in range(len(header))]
    yield "<table>"
    if any(header):
        yield "<tr>" + "".join(f"<th{m}>{escape(cell)}</th>" for m, cell in zip(marks, header, strict=True)) + "</tr>"
    left = 0
    for number, row in enumerate(rows):
        if number < ROWS:
            yield "<tr>" + "".join(f"<td{m}>{cell}</td>" for m, cell in zip(marks, row, strict=True)) + "</tr>"
        else:
            left += 1
    yield "</table>"
    if left:
        yield f'<p class="dim">… and {_number(left)} more</p>'


def _package_row(package: PackageReport) -> list[str]:
    stay, go = sum(package.stay.values()), sum(package.go.values())
    share = 100 * stay / ((stay + go) or 1)
    bar = f'<div class="bar"><i style="width:{share:.1f}%"></i><i style="width:{100 - share:.1f}%"></i></div>'
    return [escape(package.repository), bar, _number(stay), _number(go), _bytes(package.freed)]


def _reason_rows(report: PruneReport) -> Iterator[list[str]]:
    for word, counts in (
        ("stays", [one.stay for one in report.packages]),
        ("goes", [one.go for one in report.packages]),
    ):
        total: Counter[str] = Counter()
        for count in counts:
            total.update(count)
        for reason in Reason:
            if total[reason]:
                yield [word, escape(reason), escape(MEANINGS[reason]), _number(total[reason])]


def _release_row(release: ReleaseFate) -> list[str]:
    tag = f"<code>{escape(release.immutable_tag)}</code>"
    if release.lacks:
        tag += f'<br><span class="problem">doesn\'t count: it lacks {escape(release.lacks)}</span>'
    kept = ", ".join(release.kept) or "goes, but for what something else needs"
    return [tag, escape(", ".join(release.names)), escape(release.settled_at), _number(release.rank), escape(kept)]


def _version_row(version: ReportedVersion) -> list[str]:
    row = [
        f"{escape(version.repository)}<br><code>{escape(version.digest)}</code>",
        escape(", ".join(version.tags)),
        escape(f"{version.reason} {version.because}".strip()),
    ]
    return [*row, escape(f"{version.done} {version.detail}".strip())] if version.done else row


def _number(value: int) -> str:
    return f"{value:,}"


def _bytes(value: int) -> str:
    size = float(value)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"
