"""Where output goes: results to stdout, everything else to stderr; drawn on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import click

from shipgraph.cli.redaction import Redactor
from shipgraph.events import Emit, Event, Failed, Finished, LogLine, Note, Started

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from shipgraph.errors import ShipgraphError
    from shipgraph.report.summary import Task


class Output:
    """The program's two streams, and whether the user wants JSON."""

    def __init__(self, *, as_json: bool = False, debug: bool = False) -> None:
        self.as_json, self.debug = as_json, debug
        self._out: TextIO = sys.stdout
        self._err: TextIO = sys.stderr
        self._actions = os.environ.get("GITHUB_ACTIONS") == "true"
        self._redactor = Redactor.of()
        self._tasks: list[Task] = []
        self._told = False

    @property
    def drawn(self) -> bool:
        """Whether progress is drawn: on a terminal that can, and not in CI."""
        return self._err.isatty() and not os.environ.get("CI") and os.environ.get("TERM") != "dumb"

    def result(self, document: dict[str, Any], text: str) -> None:
        """The command's result: the JSON document, or the text for people."""
        if self.as_json:
            from shipgraph.oci.manifest import encode_json

            self._out.write(self._redactor(encode_json(document).decode()))
        elif text:
            self._out.write(self._harmless(text).rstrip("\n") + "\n")
        self._out.flush()
        self._tell_actions(document)

    def say(self, text: str) -> None:
        """Lines for people on stderr."""
        self._err.write(self._harmless(text) + "\n")
        self._err.flush()

    def error(self, error: ShipgraphError) -> None:
        """What, why, and the next step; an annotation for each mistake too where GitHub Actions reads along."""
        self._show(str(error), error.hint)
        if self._actions:
            from shipgraph.cli.actions import error_annotations

            self._mark(error_annotations(error), str(error), error.hint)

    def show_error(self, text: str, hint: str = "") -> None:
        """The same for what is no error of its own class."""
        self._show(text, hint)
        if self._actions:
            from shipgraph.cli.actions import annotation

            self._mark([annotation("error", text)], text, hint)

    def _show(self, text: str, hint: str) -> None:
        self.say(f"error: {text}")
        if hint:
            self.say(f"  next: {hint}")

    def _mark(self, annotations: list[str], text: str, hint: str) -> None:
        self._err.write("".join(self._redactor(line) + "\n" for line in annotations))
        self._err.flush()
        if not self.as_json:  # else the document comes, and tells it
            self._tell_actions({"error": {"message": text, "hint": hint}})

    def _harmless(self, text: str) -> str:
        """Text that others may have written, for a stream that GitHub Actions reads along."""
        text = self._redactor(text)
        if not self._actions:
            return text
        from shipgraph.cli.actions import defused

        return defused(text)

    def _tell_actions(self, document: dict[str, Any]) -> None:
        """The step's outputs and the job's summary, once."""
        if not self._actions or self._told:
            return
        from shipgraph.cli.actions import step_outputs, write_outputs, write_summary

        self._told = True
        context = click.get_current_context(silent=True)
        write_outputs(step_outputs(document))
        write_summary("shipgraph" if context is None else context.command_path, document, self._tasks, self._redactor)

    @contextmanager
    def progress(self) -> Iterator[Emit]:
        """Show events while a command works."""
        if self.drawn:
            from shipgraph.cli.terminal import drawn_progress

            with drawn_progress(self._redactor) as emit:
                yield emit
        elif self._actions:
            from shipgraph.cli.actions import ActionsProgress

            yield ActionsProgress(self._err, self._redactor, self._tasks)
        else:
            yield PlainProgress(self._err, self._redactor)


class PlainProgress:
    """Events as lines with the seconds since the start, for logs."""

    def __init__(self, stream: TextIO, redactor: Redactor) -> None:
        self._stream, self._redactor = stream, redactor
        self._began = time.monotonic()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        match event:
            case Started(_, title, _):
                self._line(f"{title}: started")
            case Finished(_, title, outcome, seconds):
                self._line(f"{title}: {outcome}" + (f" in {seconds:.1f} s" if seconds else ""))
            case Failed(_, title, reason, log):
                self._line(f"{title}: FAILED: {reason.splitlines()[0]}" + (f" (log: {log})" if log else ""))
            case Note(text, warning):
                self._line(f"{'warning: ' if warning else ''}{text}")
            case LogLine():
                pass  # kept in the log file; a failure shows its end
            case _:
                pass  # a log needs no bars

    def _line(self, text: str) -> None:
        self._stream.write(f"[{time.monotonic() - self._began:7.1f}] {self._redactor(text)}\n")
        self._stream.flush()


def table(rows: Sequence[Sequence[str]], *, head: Sequence[str]) -> str:
    """Rows as aligned columns under a head."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    top = "  ".join(cell.ljust(width) for cell, width in zip(head, widths, strict=True)).rstrip()
    return "\n".join([top, "-" * len(top), *lines])


def size(count: float) -> str:
    """Bytes for people: 12.3 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return ""


def error_document(kind: str, message: str, hint: str, code: int) -> dict[str, Any]:
    """The document that a command prints instead of its result."""
    return {"error": {"kind": kind, "message": message, "hint": hint, "exitCode": code}}
