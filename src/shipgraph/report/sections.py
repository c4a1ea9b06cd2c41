"""The page's sections below the graph: evidence, layers, payload, checklist, history, retention."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from shipgraph.report.html import Html, join, table, tag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shipgraph.report.facts import Evidence, Platform, ReleaseFacts

MOST_LAYERS: Final = 40
MOST_NAMES: Final = 12
_KINDS: Final = ("gate", "test", "provenance")
_DAY: Final = 86400
_SOON: Final = 10
"""Days before its expiry that a channel is worth a colour: the nightly run refreshes it then."""


def evidence_section(facts: ReleaseFacts) -> Html:
    """Who vouches for what: a row for each subject, a column for each kind, and what the statements say."""
    subjects: list[tuple[str, str, Sequence[Evidence]]] = []
    for image in facts.images:
        subjects.append((image.key, "index", image.evidence))
        subjects += [(image.key, platform.name, platform.evidence) for platform in image.platforms]
    if facts.payload is not None:
        subjects.append(("payload", "", facts.payload.evidence))
    subjects.append(("metadata", "", facts.metadata.evidence))
    required = ", ".join(facts.required) or "nothing"
    rows = [
        (tag("strong", name), part, *(_cell(_of(kind, evidence), kind in facts.required) for kind in _KINDS))
        for name, part, evidence in subjects
    ]
    said = [
        _said(f"{name} {part}".strip(), evidence)
        for name, part, evidence in subjects
        if any(one.details or one.reasons for one in evidence)
    ]
    return join(
        [
            tag("p", f"The project requires: {required}. A statement counts where its signer is trusted."),
            table(["subject", "", *_KINDS], rows),
            tag("details", tag("summary", "What the statements say"), *said) if said else None,
        ]
    )


def _of(kind: str, evidence: Sequence[Evidence]) -> Evidence | None:
    return next((one for one in evidence if one.kind == kind), None)


def _cell(found: Evidence | None, required: bool) -> Html:
    if found is None:
        return tag("span", "–", class_="quiet")  # a kind that such a subject doesn't have
    if found.signer:
        return tag("span", f"✓ {found.signer}", class_="good")
    words = "✗ not trusted" if found.reasons else "✗ missing" if required else "none"
    return tag("span", words, class_="bad" if required or found.reasons else "quiet")


def _said(subject: str, evidence: Sequence[Evidence]) -> Html:
    rows = [(one.kind, name, value) for one in evidence for name, value in one.details]
    rows += [(one.kind, "not trusted", reason) for one in evidence for reason in one.reasons]
    return join([tag("h3", subject), table(["kind", "", ""], rows)])


def layer_section(facts: ReleaseFacts) -> Html:
    """Which layers are shared: what a machine that has one image fetches no more for another."""
    sizes: dict[str, int] = {}
    users: dict[str, list[str]] = {}
    for image in facts.images:
        for platform in image.platforms:
            for digest, amount in {layer.digest: layer.size for layer in platform.layers}.items():
                sizes[digest] = amount
                users.setdefault(digest, []).append(f"{image.key} ({_brief(platform)})")
    if not sizes:
        return Html("")
    stored = sum(sizes.values())
    fetched = sum(sizes[digest] * len(used) for digest, used in users.items())
    shared = sorted((digest for digest, used in users.items() if len(used) > 1), key=lambda digest: -sizes[digest])
    rows = [(tag("code", digest), _size(sizes[digest]), _some(users[digest])) for digest in shared[:MOST_LAYERS]]
    head = (
        f"{len(sizes)} layers, {size(stored)} in the registry; without sharing it would be {size(fetched)}."
        f" Shared layers: {len(shared)}."
    )
    return join(
        [
            tag("p", head),
            table(["shared layer", "size", "in"], rows) if rows else None,
            tag("p", f"… and {len(shared) - MOST_LAYERS} more", class_="quiet") if len(shared) > MOST_LAYERS else None,
            tag(
                "details",
                tag("summary", "Every platform's digest and layers"),
                *(
                    _platform(f"{image.key} {platform.name}", platform)
                    for image in facts.images
                    for platform in image.platforms
                ),
            ),
        ]
    )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


def _brief(platform: Platform) -> str:
    return platform.name.partition("/")[2] or platform.name


def _platform(title: str, platform: Platform) -> Html:
    rows = [(tag("code", layer.digest), _size(layer.size)) for layer in platform.layers]
    bill = tag("p", Html(f"SBOM {tag('code', platform.sbom)}")) if platform.sbom else None
    return join([tag("h3", title), tag("p", tag("code", platform.digest)), bill, table(["layer", "size"], rows)])


def payload_section(facts: ReleaseFacts) -> Html:
    """The payload's files."""
    payload = facts.payload
    if payload is None:
        return Html("")
    rows = [(blob.title or "–", tag("code", blob.digest), _size(blob.size)) for blob in payload.blobs]
    named = Html(f"{tag('span', payload.reference.partition('@')[0])}{tag('br')}{tag('code', payload.digest)}")
    return join([tag("p", named), table(["file", "digest", "size"], rows)])


def check_section(facts: ReleaseFacts) -> Html:
    """The checklist, what is broken first."""
    classes = {"ok": "good", "BROKEN": "bad", "MISSING": "warn"}
    ordered = sorted(facts.checks, key=lambda check: check.state != "BROKEN")
    rows = [
        (check.name, tag("span", check.state, class_=classes.get(check.state, "quiet")), check.detail)
        for check in ordered
    ]
    return table(["check", "", ""], rows) if rows else Html("")


def history_section(facts: ReleaseFacts) -> Html:
    """What the channel was before, and what was rolled back."""
    rows = [
        (
            tag("span", past.state, class_="good" if past.state == "now" else "quiet"),
            str(past.serial),
            past.version,
            tag("code", past.immutable_tag),
            moment(past.settled_at),
        )
        for past in facts.history
    ]
    return table(["", "serial", "version", "immutable tag", "settled"], rows) if rows else Html("")


def clean_up_section(facts: ReleaseFacts) -> Html:
    """The last clean-up."""
    found = facts.clean_up
    if found is None:
        return tag("p", "No clean-up of this registry is on record.", class_="quiet")
    counts = ", ".join(f"{count} {name}" for name, count in found.counts.items() if count) or "nothing to delete"
    rows = [
        ("ended", f"{found.outcome}, {moment(found.at)}, by {found.by}"),
        ("versions", counts + (f", {found.left} left" if found.left else "")),
        ("freed", size(found.freed)),
        ("kept", ", ".join(f"{count} {reason}" for reason, count in found.kept.items()) or "–"),
    ]
    if found.problem:
        rows.append(("problem", found.problem))
    return table(["last clean-up", ""], rows)


def expiry(facts: ReleaseFacts) -> tuple[str, str]:
    """When the metadata expires, in words, and the class of that."""
    at = _parsed(facts.metadata.expires_at)
    if at is None:
        return "expires at no time that can be read", "bad"
    days = (at - facts.now).total_seconds() / _DAY
    if days <= 0:
        return f"expired {moment(facts.metadata.expires_at)}", "bad"
    return f"expires in {days:.0f} days" if days >= 1 else "expires today", "warn" if days <= _SOON else "quiet"


def moment(text: str) -> str:
    """A time for people; one that can't be read as it is."""
    at = _parsed(text)
    return text if at is None else f"{at:%Y-%m-%d %H:%M} UTC"


def _parsed(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at.astimezone(UTC) if at.tzinfo is not None else None


def _size(count: int) -> Html:
    return tag("span", size(count), class_="number")


def size(count: float) -> str:
    """Bytes for people: 12.3 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return ""
