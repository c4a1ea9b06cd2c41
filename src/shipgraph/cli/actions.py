"""What GitHub Actions reads along: groups, annotations, a step's outputs and its summary.

A runner takes every line that begins with ``::`` for a command to itself, whoever wrote it. So text of others is either
made harmless, or shown while the runner is told to listen to nothing (docs.github.com, "Workflow commands").
"""

from __future__ import annotations

import os
import secrets
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from shipgraph.errors import ConfigurationError
from shipgraph.events import Event, Failed, Finished, LogLine, Note, Started
from shipgraph.report.summary import Task, summarise

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from shipgraph.cli.redaction import Redactor
    from shipgraph.errors import ShipgraphError

KEPT_LINES: Final = 2000
"""Lines of a task's output that are shown; the log file has all of them."""
_LINE: Final = 4000
_MAX_OUTPUT: Final = 500_000
_SIMPLE: Final = {
    "immutableTag": "immutable_tag",
    "channel": "channel",
    "version": "version",
    "serial": "serial",
    "moved": "moved",
    "unchanged": "unchanged",
    "changed": "changed",
    "refused": "refused",
    "ok": "ok",
}


def defused(text: str) -> str:
    """Text that a job of GitHub Actions may print though others wrote it: no line of it is a workflow command."""
    text = text.replace("##[", "# #[").replace("\r", "\n")
    return "\n".join(
        line.replace("::", ": :", 1) if line.lstrip().startswith("::") else line for line in text.split("\n")
    )


def annotation(level: str, text: str, *, file: str = "", line: int | None = None) -> str:
    """A line that marks something; in a file and at a line, if there is one in the workspace."""
    properties = {"title": "shipgraph"}
    if place := _in_workspace(file):
        properties["file"] = place
        if line is not None:
            properties["line"] = str(line)
    told = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::{level} {told}::{_data(text)}"


def error_annotations(error: ShipgraphError) -> list[str]:
    """The annotations of an error: one for each mistake of a file, at its line."""
    if not isinstance(error, ConfigurationError):
        return [annotation("error", str(error))]
    return [annotation("error", str(one), file=one.file, line=one.line) for one in error.mistakes or (error,)]


class ActionsProgress:
    """Events as lines with the seconds since the start; what a task wrote is shown as a group once it has ended."""

    def __init__(self, stream: TextIO, redactor: Redactor, tasks: list[Task]) -> None:
        self._stream, self._redactor, self._tasks = stream, redactor, tasks
        self._began = time.monotonic()
        self._started: dict[str, float] = {}
        self._lines: dict[str, deque[str]] = {}

    def __call__(self, event: Event) -> None:
        """Show one event."""
        match event:
            case Started(task, title, _):
                self._started[task] = time.monotonic()
                self._write(self._line(f"{title}: started"))
            case LogLine(task, line):
                self._lines.setdefault(task, deque(maxlen=KEPT_LINES)).append(self._redactor(line)[:_LINE])
            case Finished(task, title, outcome, seconds):
                seconds = seconds or self._since(task)
                self._tasks.append(Task(title, outcome, seconds))
                self._end(task, f"{title}: {outcome}" + (f" in {seconds:.1f} s" if seconds >= 0.05 else ""))
            case Failed(task, title, reason, log):
                first = reason.splitlines()[0] if reason else ""
                self._tasks.append(Task(title, first, self._since(task), failed=True))
                self._end(task, f"{title}: FAILED: {first}" + (f" (log: {log})" if log else ""))
            case Note(text, warning):
                if warning:
                    self._write(annotation("warning", self._redactor(text)))
                self._write(self._line(f"{'warning: ' if warning else ''}{text}"))
            case _:
                pass  # a log needs no bars

    def _since(self, task: str) -> float:
        began = self._started.pop(task, None)
        return 0.0 if began is None else time.monotonic() - began

    def _end(self, task: str, text: str) -> None:
        lines = self._lines.pop(task, None)
        line = self._line(text)
        if not lines:
            self._write(line)
            return
        # One write: other tasks write too, and nothing of theirs may stand where the runner doesn't listen.
        silence = secrets.token_hex(16)
        shown = "\n".join(lines).replace("\r", "\n")
        head = f"::group::{_data(line.lstrip(':'))}"
        self._write(f"{head}\n::stop-commands::{silence}\n{shown}\n::{silence}::\n::endgroup::")

    def _line(self, text: str) -> str:
        return defused(self._redactor(f"[{time.monotonic() - self._began:7.1f}] {text}"))

    def _write(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()


def step_outputs(document: Mapping[str, Any]) -> dict[str, str]:
    """What later steps may want of a command's document: ``digests`` is JSON, from an image's key to its digest."""
    if "error" in document:
        return {}
    found = {name: _text(document[key]) for key, name in _SIMPLE.items() if document.get(key) is not None}
    images = document.get("images")
    digests = {
        str(image["key"]): image["digest"]
        for image in (images if isinstance(images, list) else ())
        if isinstance(image, dict) and isinstance(image.get("digest"), str) and "repository" in image and "key" in image
    }
    if digests:
        found["digests"] = _text(digests)
    for name in ("payload", "metadata"):
        thing = document.get(name)
        if isinstance(thing, dict) and isinstance(thing.get("digest"), str):
            found[f"{name}_digest"] = thing["digest"]
        elif isinstance(thing, str):
            found[f"{name}_digest"] = thing
    return {name: value for name, value in found.items() if len(value) <= _MAX_OUTPUT}


def write_outputs(values: Mapping[str, str]) -> None:
    """Append to the step's outputs, if there is a file for them. No value can end early or set another."""
    entries = []
    for name, value in values.items():
        end = f"end_{secrets.token_hex(16)}"
        entries.append(f"{name}<<{end}\n{value}\n{end}\n")
    _append("GITHUB_OUTPUT", entries)


def write_summary(command: str, document: Mapping[str, Any], tasks: Iterable[Task], redactor: Redactor) -> None:
    """Append to the job's summary, if there is a file for it."""
    text = summarise(command, document, list(tasks))
    if text:
        _append("GITHUB_STEP_SUMMARY", [redactor(text), "\n"])


def _append(variable: str, parts: Iterable[str]) -> None:
    place = os.environ.get(variable)
    if not place:
        return
    with Path(place).open("a", encoding="utf-8", newline="\n", errors="replace") as file:
        file.write("".join(parts))


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    import msgspec

    return msgspec.json.encode(value).decode()


def _in_workspace(file: str) -> str:
    """A file's path in the checkout, as annotations want it; empty for one that is elsewhere."""
    workspace = os.environ.get("GITHUB_WORKSPACE")
    if not file or not workspace:
        return ""
    path = Path(file).resolve()
    root = Path(workspace).resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else ""


def _data(text: str) -> str:
    """A workflow command's data (actions/toolkit, command.ts)."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """A workflow command's property."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")
