"""The summary of a job in GitHub Actions: what a command printed as JSON, and how long its tasks took, as Markdown.

It shows the members that it knows (docs/reference/json.md lists them) of whatever command's document.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from shipgraph.report.markdown import block, code, escaped, table
from shipgraph.report.mermaid import Node, draw

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MAX_BYTES: Final = 900_000
"""GitHub takes 1 MiB for each step; more is refused as a whole."""
MOST_ROWS: Final = 200
_SHORT: Final = 19


@dataclass(frozen=True, slots=True)
class Task:
    """A task that has ended: how, and after how many seconds."""

    title: str
    outcome: str
    seconds: float = 0.0
    failed: bool = False


def summarise(command: str, document: Mapping[str, Any], tasks: Sequence[Task] = ()) -> str:
    """The page; empty where there is nothing to show."""
    parts = [
        _error(document),
        _graph(document),
        _builds(document),
        _images(document),
        _evidence(document),
        _moves(document),
        _findings(document),
        _tests(document),
        _checklist(document),
        _access(document),
        _clean_up(document),
        _notes(document),
        _tasks(tasks),
    ]
    shown = [part for part in parts if part]
    if not shown:
        return ""
    text = "\n\n".join([_head(command, document), *shown]) + "\n"
    if len(text.encode()) > MAX_BYTES:
        text = f"{_head(command, document)}\n\nThe summary is too long for GitHub; the log has all of it.\n"
    return text


def _head(command: str, document: Mapping[str, Any]) -> str:
    title = f"### {escaped(command)}"
    channel, version = document.get("channel"), document.get("version")
    if channel:
        title += f": {escaped(str(channel))}"
        if version and version != channel:
            title += f" {escaped(str(version))}"
    if tag := document.get("immutableTag"):
        title += f" ({code(str(tag))})"
    return title


def _error(document: Mapping[str, Any]) -> str:
    error = document.get("error")
    if not isinstance(error, dict):
        return ""
    first, *rest = str(error.get("message", "")).splitlines() or [""]
    lines = ["[!CAUTION]", f"**{escaped(first) or 'failed'}**"]
    if rest:
        lines += ["", *block(rest[-MOST_ROWS:])]
    if hint := error.get("hint"):
        lines += ["", f"next: {escaped(str(hint))}"]
    return "\n".join(f"> {line}".rstrip() for line in lines)


def _graph(document: Mapping[str, Any]) -> str:
    nodes = [
        Node(str(image["key"]), image["parent"], str(image.get("outcome", "")) or _would(image))
        for image in _dicts(document.get("images"))
        if "parent" in image and "key" in image
    ]
    return draw(nodes) if nodes else ""


def _would(image: Mapping[str, Any]) -> str:
    """What a plan would do with an image, in one word."""
    actions = {str(one.get("action")) for one in _values(image.get("platforms"))}
    return "build" if "build" in actions else "reuse" if actions else ""


def _builds(document: Mapping[str, Any]) -> str:
    """What a plan would build, and why."""
    rows = [
        [code(str(image.get("key"))), escaped(platform), escaped(str(one.get("action"))), escaped(str(one.get("why")))]
        for image in _dicts(document.get("images"))
        for platform, one in _items(image.get("platforms"))
        if isinstance(one, dict)
    ]
    return _table(["image", "platform", "would", "because"], rows)


def _images(document: Mapping[str, Any]) -> str:
    rows = []
    for image in _dicts(document.get("images")):
        if "repository" not in image or "digest" not in image or "platforms" not in image:
            continue
        rows.append(
            [
                code(str(image["repository"])),
                code(str(image["digest"])) if image["digest"] else "not assembled",
                "<br>".join(
                    f"{escaped(platform)} {code(str(digest)[:_SHORT])}"
                    for platform, digest in _items(image["platforms"])
                ),
                escaped(str(image.get("outcome", ""))),
            ]
        )
    for name in ("payload", "metadata"):
        thing = document.get(name)
        if isinstance(thing, dict) and "digest" in thing and "repository" in thing:
            serial = f"serial {document['serial']}" if name == "metadata" and document.get("serial") else ""
            rows.append([code(str(thing["repository"])), code(str(thing["digest"])), name, escaped(serial)])
    return _table(["repository", "digest", "platforms", ""], rows)


def _evidence(document: Mapping[str, Any]) -> str:
    evidence = document.get("evidence")
    if not isinstance(evidence, dict) or not evidence:
        return ""
    marks = [
        f"{'✅' if state == 'ok' else '⚠️'} {escaped(str(kind))}: {escaped(str(state))}"
        for kind, state in evidence.items()
    ]
    return "**Evidence**: " + " · ".join(marks)


def _moves(document: Mapping[str, Any]) -> str:
    moves = _dicts(document.get("moves"))
    rows = [
        [code(f"{move.get('repository')}:{move.get('tag')}"), _short(move.get("before")), _short(move.get("after"))]
        for move in moves
    ]
    if rows and not any("after" in move for move in moves):  # a plan
        return "**Tags that would move together**\n\n" + _table(["tag", "now"], [row[:2] for row in rows])
    if rows:
        return "**Tags that moved together**\n\n" + _table(["tag", "before", "after"], rows)
    if "moved" not in document:
        return ""
    if document.get("metadata") is None:
        return "**Nothing is published**"
    tags = ", ".join(code(str(tag)) for tag in document.get("movingTags") or [document.get("channel")] if tag)
    if document["moved"]:
        return f"**Moved**: {tags} of every image, together"
    return f"**Nothing moved**: {tags} already is this release" if tags else ""


def _findings(document: Mapping[str, Any]) -> str:
    rows = []
    for image in _dicts(document.get("images")):
        for manifest in _dicts(image.get("manifests")):
            rows += [
                [
                    escaped(str(found.get("severity"))) + (" **refuses**" if found.get("fails") else ""),
                    code(str(found.get("rule"))),
                    code(f"{found.get('path')}:{found['line']}" if found.get("line") else str(found.get("path"))),
                    code(str(found.get("masked") or found.get("title"))),
                    escaped(f"{image.get('name')} {manifest.get('platform') or ''}"),
                ]
                for found in _dicts(manifest.get("findings"))
            ]
    if rows:
        return "**Findings of the gate**\n\n" + _table(["severity", "rule", "where", "looks like", "in"], rows)
    if "refused" in document:
        return "**Gate**: refused" if document["refused"] else "**Gate**: passed, no findings"
    return ""


def _tests(document: Mapping[str, Any]) -> str:
    rows = [
        [
            escaped(f"{image.get('key')} {image.get('platform')}"),
            escaped(str(test.get("name"))),
            escaped(str(test.get("outcome"))),
            escaped(str(test.get("reason"))),
        ]
        for image in _dicts(document.get("images"))
        for test in _dicts(image.get("tests"))
    ]
    return "**Tests**\n\n" + _table(["image", "test", "", ""], rows) if rows else ""


def _checklist(document: Mapping[str, Any]) -> str:
    marks = {"ok": "✅", "BROKEN": "❌", "FAILED": "❌", "MISSING": "⚠️", "warning": "⚠️"}
    rows = [
        [
            escaped(str(row.get("name"))),
            f"{marks.get(str(row.get('state')), '➖')} {escaped(str(row.get('state')))}",
            "<br>".join(escaped(str(row[key])) for key in ("detail", "next") if row.get(key)),
        ]
        for row in _dicts(document.get("rows"))
    ]
    return _table(["check", "", ""], rows)


def _access(document: Mapping[str, Any]) -> str:
    """What is public; private packages with the page that a person has to open."""
    if "verdict" not in document or "private" not in document:
        return ""
    mark = {"public": "✅", "not public": "❌"}.get(str(document["verdict"]), "➖")
    reason = f": {escaped(str(document['reason']))}" if document.get("reason") else ""
    rows = [
        [code(str(one.get("repository"))), escaped(str(one.get("settings") or "–"))]
        for one in _dicts(document["private"])
    ]
    table = _table(["private package", "where a person makes it public"], rows)
    return f"{mark} {escaped(str(document['verdict']))}{reason}" + (f"\n\n{table}" if table else "")


def _clean_up(document: Mapping[str, Any]) -> str:
    """How many versions a clean-up may delete, and what became of them."""
    outcomes = document.get("outcomes")
    if not isinstance(outcomes, dict) or "going" not in document:
        return ""
    done = ", ".join(f"{count} {escaped(kind)}" for kind, count in _items(outcomes) if count)
    left = f", {document['left']} left: {escaped(str(document.get('whyLeft')))}" if document.get("left") else ""
    head = f"**Clean-up**: {document['going']} of {document.get('versions')} versions may go; "
    return head + (done or "nothing was deleted") + left


def _notes(document: Mapping[str, Any]) -> str:
    notes = [*_texts(document.get("notes"))]
    if omitted := _texts(document.get("omittedPlatforms")):
        notes.append(f"not built: {', '.join(omitted)}")
    return "\n".join(f"- {escaped(note)}" for note in notes[:MOST_ROWS])


def _tasks(tasks: Sequence[Task]) -> str:
    rows = [
        [
            escaped(task.title),
            ("❌ " if task.failed else "") + escaped(task.outcome),
            f"{task.seconds:.1f} s" if task.seconds else "",
        ]
        for task in sorted(tasks, key=lambda task: (not task.failed, -task.seconds))
    ]
    if not rows:
        return ""
    return f"<details><summary>Timings</summary>\n\n{_table(['task', '', ''], rows)}\n\n</details>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """At most so many rows as a page bears; how many are left out is said."""
    if not rows:
        return ""
    more = f"\n\n… and {len(rows) - MOST_ROWS} more" if len(rows) > MOST_ROWS else ""
    return table(head, rows[:MOST_ROWS]) + more


def _short(digest: Any) -> str:
    return code(str(digest)[:_SHORT]) if digest else "–"


def _dicts(value: Any) -> Iterable[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _items(value: Any) -> Iterable[tuple[str, Any]]:
    return [(str(key), one) for key, one in value.items()] if isinstance(value, dict) else []


def _values(value: Any) -> list[dict[str, Any]]:
    return [one for _, one in _items(value) if isinstance(one, dict)]


def _texts(value: Any) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, (list, tuple)) else []
