"""A release to draw, as values."""

from __future__ import annotations

from datetime import UTC, datetime

from shipgraph.report.facts import (
    Blob,
    Check,
    CleanUp,
    Evidence,
    Image,
    Metadata,
    Past,
    Payload,
    Platform,
    ReleaseFacts,
)

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def digest(letter: str) -> str:
    return "sha256:" + letter * 64


def signed(*kinds: str, by: str = "key release") -> tuple[Evidence, ...]:
    return tuple(Evidence(kind, by, details=(("builder", f"what {kind} says"),)) for kind in kinds)


def release(text: str = "text") -> ReleaseFacts:
    """Two images over a shared layer, a payload, a history, a clean-up; ``text`` stands wherever text may."""
    shared = Blob(digest("1"), 40_000_000)
    base = Platform("linux/amd64", digest("a"), 500, (shared,), signed("gate", "test", "provenance"), digest("9"))
    app = Platform(
        "linux/amd64",
        digest("b"),
        500,
        (shared, Blob(digest("2"), 1_500_000)),
        (*signed("gate", by=text), Evidence("test", reasons=(text,)), Evidence("provenance")),
    )
    return ReleaseFacts(
        project="demo",
        registry="ghcr.io",
        channel="prod",
        version="v1.2.3",
        immutable_tag="sha-" + "0" * 40,
        commit="0" * 40,
        moving_tags=("prod", "v1.2.3"),
        images=(
            Image("base", "ghcr.io/acme/demo-base", digest("c"), None, (base,), signed("provenance"), text),
            Image("app", "ghcr.io/acme/demo-app", digest("d"), "base", (app,), (Evidence("provenance"),)),
        ),
        payload=Payload(text, digest("e"), (Blob(digest("3"), 21_000, text),), signed("gate", "provenance")),
        metadata=Metadata(
            "ghcr.io/acme/demo-metadata",
            digest("f"),
            4,
            "2026-11-24T06:00:00Z",
            "2026-12-24T06:00:00Z",
            signed("provenance", by="key boss"),
        ),
        now=NOW,
        required=("gate", "test", "provenance"),
        source="https://github.com/acme/demo",
        history=(
            Past("now", 4, "v1.2.3", "sha-" + "0" * 40, "0" * 40, "2026-11-24T06:00:05Z"),
            Past("rolled back", 3, text, text, text, text),
        ),
        hold=text,
        checks=(Check("images", "ok"), Check(text, "BROKEN", text), Check("public", "not applicable", text)),
        clean_up=CleanUp(
            "complete", "2026-11-24T07:00:00Z", text, {"deleted": 12, "gone": 0}, {"release": 9}, 0, 10**9
        ),
    )
