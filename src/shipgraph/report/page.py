"""A page about a published release: one file, no script, nothing loaded from anywhere, for screen and paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shipgraph.report.html import Html, join, table, tag
from shipgraph.report.picture import Box, draw
from shipgraph.report.sections import (
    check_section,
    clean_up_section,
    evidence_section,
    expiry,
    history_section,
    layer_section,
    moment,
    payload_section,
    size,
)
from shipgraph.report.style import STYLE

if TYPE_CHECKING:
    from shipgraph.report.facts import Image, ReleaseFacts

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def render(facts: ReleaseFacts) -> str:
    """The page."""
    title = f"{facts.project} {facts.version} on {facts.channel}"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title),
        tag("style", Html(STYLE)),
    )
    sections = [
        _section("Graph", _graph(facts, title)),
        _section("Images", _images(facts)),
        _section("Payload", payload_section(facts)),
        _section("Evidence", evidence_section(facts)),
        _section("Layers", layer_section(facts)),
        _section("Checklist", check_section(facts)),
        _section("History of the channel", history_section(facts)),
        _section("Retention", clean_up_section(facts)),
    ]
    made = tag("footer", tag("p", f"As the registry was at {facts.now:%Y-%m-%d %H:%M:%S} UTC. Made by shipgraph."))
    body = tag("body", _top(facts), tag("main", *sections), made)
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _section(title: str, content: Html) -> Html:
    return tag("section", tag("h2", title), content) if content else Html("")


def _top(facts: ReleaseFacts) -> Html:
    broken = [check for check in facts.checks if check.state == "BROKEN"]
    marks = [tag("span", facts.channel, class_="mark channel")]
    if facts.checks:
        verdict = f"{len(broken)} of {len(facts.checks)} checks broken" if broken else "all checks hold"
        marks.append(tag("span", verdict, class_="mark bad" if broken else "mark good"))
    words, kind = expiry(facts)
    marks.append(tag("span", words, class_=f"mark {kind}"))
    if facts.hold:
        marks.append(tag("span", f"held: {facts.hold}", class_="mark warn"))
    commit: Html | str = tag("code", facts.commit)
    if facts.source.startswith("https://"):
        commit = tag("a", tag("code", facts.commit), href=f"{facts.source}/commit/{facts.commit}")
    rows: list[tuple[str, Html | str]] = [
        ("Immutable tag", tag("code", facts.immutable_tag)),
        ("Commit", commit),
        ("Moving tags", join(_spaced([tag("code", name) for name in facts.moving_tags]))),
        ("Published", f"{moment(facts.metadata.generated_at)}, serial {facts.metadata.serial}"),
        ("Expires", moment(facts.metadata.expires_at)),
        ("Metadata", _content(facts.metadata.repository, facts.metadata.digest)),
        ("Signed by", _signers(facts)),
    ]
    return tag(
        "header",
        tag("h1", Html(f"{tag('span', facts.project)} {tag('span', facts.version, class_='version')}")),
        tag("p", *_spaced(marks), class_="marks"),
        tag("dl", *(piece for name, value in rows for piece in (tag("dt", name), tag("dd", value)))),
    )


def _signers(facts: ReleaseFacts) -> str:
    names = dict.fromkeys(one.signer for one in facts.metadata.evidence if one.signer)
    return ", ".join(names) or "nobody whom the project trusts"


def _graph(facts: ReleaseFacts, title: str) -> Html:
    picture = draw([_box(image, facts) for image in facts.images], f"How the images of {title} are built")
    legend = "An arrow leads from an image to what is built on it: first digits of its digest, largest platform's size."
    if facts.required:
        legend += " Dashed: evidence that the project requires is missing."
    return join([picture, tag("p", legend, class_="quiet")]) if picture else picture


def _box(image: Image, facts: ReleaseFacts) -> Box:
    """A node of the picture: its kind is good where everything that the project requires is there."""
    given = [*image.evidence, *(one for platform in image.platforms for one in platform.evidence)]
    wanted = [one for one in given if one.kind in facts.required]
    kind = "" if not wanted else "good" if all(one.signer for one in wanted) else "bad"
    note = image.digest.partition(":")[2][:12]
    largest = max((platform.size for platform in image.platforms), default=0)
    return Box(image.key, image.parent, f"{note} · {size(largest)}", kind)


def _images(facts: ReleaseFacts) -> Html:
    largest = max((platform.size for image in facts.images for platform in image.platforms), default=0) or 1
    rows = [
        (
            Html(f"{tag('strong', image.key)}{tag('br')}{_below(image)}"),
            _content(image.repository, image.digest),
            join([_bar(platform.name, platform.size, largest) for platform in image.platforms]),
        )
        for image in facts.images
    ]
    return table(["image", "repository and digest of the index", "compressed size, by platform"], rows)


def _below(image: Image) -> Html:
    if image.parent is not None:
        return tag("small", f"on {image.parent}")
    return tag("small", f"on {image.built_on}") if image.built_on else Html("")


def _bar(name: str, amount: int, largest: int) -> Html:
    bar = tag("span", class_="fill", style=f"width:{100 * amount / largest:.1f}%")
    return tag(
        "div",
        tag("span", name, class_="what"),
        tag("span", bar, class_="bar"),
        tag("span", size(amount)),
        class_="sized",
    )


def _content(repository: str, digest: str) -> Html:
    return Html(f"{tag('span', repository)}{tag('br')}{tag('code', digest)}")


def _spaced(pieces: list[Html]) -> list[Html]:
    return [piece for one in pieces for piece in (one, Html(" "))]
