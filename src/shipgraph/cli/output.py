"""Where output goes: results to stdout, everything else to stderr; drawn on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from shipgraph.events import Emit, Event, Failed, Finished, LogLine, Note, Started

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from shipgraph.errors import ShipgraphError


class Output:
    """The program's two streams, and whether the user wants JSON."""

    def __init__(self, *, as_json: bool = False, debug: bool = False) -> None:
        self.as_json, self.debug = as_json, debug
        self._out: TextIO = sys.stdout
        self._err: TextIO = sys.stderr

    @property
    def drawn(self) -> bool:
        """Whether progress is drawn: on a terminal that can, and not in CI."""
        return self._err.isatty() and not os.environ.get("CI") and os.environ.get("TERM") != "dumb"

    def result(self, document: dict[str, Any], text: str) -> None:
        """The command's result: the JSON document, or the text for people."""
        if self.as_json:
            from shipgraph.oci.manifest import encode_json

            self._out.write(encode_json(document).decode())
        elif text:
            self._out.write(text.rstrip("\n") + "\n")
        self._out.flush()

    def say(self, text: str) -> None:
        """Lines for people on stderr."""
        self._err.write((defused(text) if _in_actions() else text) + "\n")
        self._err.flush()

    def error(self, error: ShipgraphError) -> None:
        """See ``show_error``."""
        self.show_error(str(error), error.hint)

    def show_error(self, text: str, hint: str = "") -> None:
        """What, why, and the next step; an annotation too where GitHub Actions reads along."""
        self.say(f"error: {text}")
        if hint:
            self.say(f"  next: {hint}")
        if _in_actions():
            self._err.write(f"::error title=shipgraph::{_escape(text)}\n")
            self._err.flush()

    @contextmanager
    def progress(self) -> Iterator[Emit]:
        """Show events while a command works."""
        if self.drawn:
            from shipgraph.cli.terminal import drawn_progress

            with drawn_progress() as emit:
                yield emit
        else:
            yield PlainProgress(self._err)


class PlainProgress:
    """Events as lines with the seconds since the start, for logs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._began = time.monotonic()
        self._actions = _in_actions()

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
                if warning and self._actions:
                    self._stream.write(f"::warning title=shipgraph::{_escape(text)}\n")
                self._line(f"{'warning: ' if warning else ''}{text}")
            case LogLine():
                pass  # kept in the log file; a failure shows its end
            case _:
                pass  # a log needs no bars

    def _line(self, text: str) -> None:
        line = f"[{time.monotonic() - self._began:7.1f}] {text}"
        self._stream.write((defused(line) if self._actions else line) + "\n")
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


def defused(text: str) -> str:
    """Text that a job of GitHub Actions may print though others wrote it: no line of it is a workflow command."""
    text = text.replace("##[", "# #[").replace("\r", "\n")
    return "\n".join(
        line.replace("::", ": :", 1) if line.lstrip().startswith("::") else line for line in text.split("\n")
    )


def _in_actions() -> bool:
    return os.environ.get("GITHUB_ACTIONS") == "true"


def _escape(text: str) -> str:
    """A workflow command's data (actions/toolkit, command.ts)."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
