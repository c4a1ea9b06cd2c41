"""The job's summary shows what a document says, and text of others stays text."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from shipgraph.report.markdown import block, code, escaped, plain, table
from shipgraph.report.mermaid import Node, draw
from shipgraph.report.summary import MAX_BYTES, MOST_ROWS, Task, summarise

GITHUB = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
HOSTILE = "<img src=x onerror=alert(1)> [a](https://evil) ![](x) | **b** `c` @everyone <!-- --> &lt;\n# head\n```"


def rendered(markdown: str) -> str:
    return str(GITHUB.render(markdown))


def words(html: str) -> str:
    """What a reader sees."""
    text = re.sub(r"<[^>]*>", "", html)
    for entity, char in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
        text = text.replace(entity, char)
    return text


@settings(deadline=None)
@given(st.text(max_size=60) | st.just(HOSTILE))
def test_escaped_text_is_read_as_it_was_written(text: str) -> None:
    html = rendered(f"({escaped(text)})")
    assert re.fullmatch(r"<p>[^<]*</p>\n", html), html
    assert words(html).strip() == f"({plain(text)})"


@settings(deadline=None)
@given(st.text(max_size=60) | st.just(HOSTILE))
def test_code_in_a_table_stays_in_its_cell(text: str) -> None:
    html = rendered(table(["a", "b"], [[code(text), escaped(text)]]))
    assert html.count("<td>") == 2
    assert set(re.findall(r"</?([a-z]+)", html)) <= {"table", "thead", "tbody", "tr", "th", "td", "code"}


@settings(deadline=None)
@given(st.lists(st.text(max_size=20) | st.just("```") | st.just("</code></pre><b>"), min_size=1, max_size=5))
def test_a_block_ends_where_it_should(lines: list[str]) -> None:
    html = rendered("\n".join([*block(lines), "", "after"]))
    assert re.fullmatch(r'<pre><code class="language-text">[^<]*</code></pre>\n<p>after</p>\n', html), html


@given(key=st.text(max_size=20) | st.just('"]\n  click n0 "https://evil"\n%%{init: {}}%%\n```\n<script>'))
def test_no_name_leaves_its_label(key: str) -> None:
    lines = draw([Node(key, None, "built"), Node("child", key)]).split("\n")
    assert (lines[0], lines[1], lines[-1]) == ("```mermaid", "graph LR", "```")
    assert len(lines) == 3 + 2 + 1 + 1
    assert re.fullmatch(r'  n0\["[^"`<>%]*(<br/>built)?"\]:::built', lines[2]) or key == "child"


def test_the_graph_has_an_arrow_for_each_parent() -> None:
    text = draw([Node("base"), Node("app", "base"), Node("proxy"), Node("lost", "gone")])
    assert re.findall(r"n(\d) --> n(\d)", text) == [("0", "1")]


def release(**more: Any) -> dict[str, Any]:
    return {
        "channel": "prod",
        "version": "v1.2.3",
        "immutableTag": "sha-" + "0" * 40,
        "serial": 4,
        "moved": True,
        "movingTags": ["prod", "v1.2.3"],
        "images": [
            {
                "key": "app",
                "parent": None,
                "repository": "ghcr.io/acme/app",
                "digest": "sha256:" + "a" * 64,
                "platforms": {"linux/amd64": "sha256:" + "b" * 64},
                "outcome": "built",
            }
        ],
        "payload": None,
        "metadata": {"repository": "ghcr.io/acme/metadata", "digest": "sha256:" + "c" * 64},
        "evidence": {"gate": "ok", "test": "MISSING (2)"},
        "omittedPlatforms": ["linux/arm64"],
        **more,
    }


def test_a_release() -> None:
    text = summarise(
        "shipgraph release", release(), [Task("app linux/amd64", "built", 12.34), Task("x", "bad", 0, True)]
    )
    seen = words(rendered(text))
    for piece in (
        "shipgraph release: prod v1.2.3",
        "ghcr.io/acme/app",
        "sha256:" + "a" * 64,
        "serial 4",
        "✅ gate: ok",
        "⚠️ test: MISSING (2)",
        "Moved: prod, v1.2.3 of every image, together",
        "not built: linux/arm64",
        "12.3 s",
    ):
        assert piece in seen, piece
    assert "```mermaid" in text


def test_a_release_that_was_there_moved_nothing() -> None:
    assert "Nothing moved" in summarise("x", release(moved=False))
    assert "Nothing is published" in summarise("x", release(moved=False, metadata=None))


def test_a_refused_gate_shows_each_finding_masked() -> None:
    finding = {
        "severity": "CRITICAL", "fails": True, "rule": "aws", "title": "AWS key", "path": "etc/a|b", "line": 3,
        "masked": "AKIA…(20)",
    }  # fmt: skip
    manifests = [{"platform": "linux/arm64", "findings": [finding]}]
    text = summarise("gate", {"refused": True, "images": [{"name": "app", "manifests": manifests}]})
    seen = words(rendered(text))
    for piece in ("CRITICAL refuses", "aws", "etc/a|b:3", "AKIA…(20)", "app linux/arm64"):
        assert piece in seen, piece


def test_tests_checks_and_moves() -> None:
    results = [{"name": "squid -v", "outcome": "FAILED", "reason": "exit 1"}]
    seen = words(
        rendered(summarise("test", {"images": [{"key": "proxy", "platform": "linux/amd64", "tests": results}]}))
    )
    assert "squid -v" in seen
    assert "exit 1" in seen
    rows = [{"name": "payload", "state": "BROKEN", "detail": "gone"}, {"name": "run", "state": "not applicable"}]
    seen = words(rendered(summarise("verify", {"channel": "dev", "rows": rows})))
    assert "❌ BROKEN" in seen
    assert "➖ not applicable" in seen
    moves = [{"repository": "acme/app", "tag": "prod", "before": None, "after": "sha256:" + "a" * 64}]
    assert "acme/app:prod" in words(rendered(summarise("rollback", {"moves": moves})))


def test_a_plan_says_what_would_be_built_and_moved() -> None:
    platforms = {"linux/amd64": {"action": "build", "why": "the Dockerfile changed", "digest": None}}
    images = [{"key": "app", "repository": "r", "parent": None, "base": "scratch", "platforms": platforms}]
    moves = [{"repository": "acme/app", "tag": "dev", "before": "sha256:" + "a" * 64}]
    text = summarise("plan", {"channel": "dev", "images": images, "moves": moves, "notes": ["a note"]})
    seen = words(rendered(text))
    for piece in ("the Dockerfile changed", "would move together", "acme/app:dev", "a note"):
        assert piece in seen, piece
    assert "app<br/>build" in text


def test_private_packages_come_with_the_page_to_open() -> None:
    private = [{"repository": "acme/app", "settings": "https://github.com/orgs/acme/packages/container/app/settings"}]
    document = {"verdict": "not public", "reason": "1 is private", "private": private, "subjects": []}
    seen = words(rendered(summarise("visibility", document)))
    for piece in (
        "❌ not public: 1 is private",
        "acme/app",
        "https://github.com/orgs/acme/packages/container/app/settings",
    ):
        assert piece in seen, piece


def test_a_clean_up_is_counted() -> None:
    document = {"going": 3, "versions": 9, "outcomes": {"deleted": 2, "refused": 1}, "left": 1, "whyLeft": "the hour"}
    seen = words(rendered(summarise("prune", document)))
    assert "3 of 9 versions may go; 2 deleted, 1 refused, 1 left: the hour" in seen
    assert "nothing was deleted" in summarise("prune", {"going": 3, "versions": 9, "outcomes": {"deleted": 0}})


def test_what_a_doctor_warns_of_comes_with_the_next_step() -> None:
    rows = [{"name": "clock", "state": "warning", "detail": "behind", "next": "set it"}]
    seen = words(rendered(summarise("doctor", {"ok": True, "rows": rows})))
    assert "⚠️ warning" in seen
    assert "set it" in seen


def test_an_error_says_what_and_what_next() -> None:
    html = rendered(summarise("finalize", {"error": {"message": "tag moved\n  <b>badly", "hint": "run repair"}}))
    assert "<strong>tag moved</strong>" in html
    assert '<code class="language-text">  &lt;b&gt;badly' in html
    assert "next: run repair" in words(html)
    assert "**failed**" in summarise("x", {"error": {}})


@pytest.mark.parametrize("document", [{}, {"images": 5, "rows": "x", "evidence": [], "moves": None, "payload": "y"}])
def test_a_document_of_another_shape_is_no_error(document: dict[str, Any]) -> None:
    assert summarise("x", document) == ""


def test_a_long_document_stays_within_the_limit() -> None:
    rows = [{"name": "n" * 100, "state": "ok", "detail": "d" * 100}] * 1000
    text = summarise("verify", {"rows": rows})
    assert f"{1000 - MOST_ROWS} more" in text
    rows = [{"name": "n" * 100_000, "state": "ok", "detail": ""}] * 100
    assert len(summarise("verify", {"rows": rows}).encode()) < MAX_BYTES
