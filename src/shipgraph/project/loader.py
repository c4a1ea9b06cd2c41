"""Read ``shipgraph.toml``: everything that is wrong with it at once, each with file, line and key."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from shipgraph.errors import ConfigurationError
from shipgraph.project.config import FILE_NAME, ProjectFile
from shipgraph.project.deriving import derive
from shipgraph.project.reading import Problem, read_tables
from shipgraph.project.toml_lines import find_lines, line_of, show_path

if TYPE_CHECKING:
    from pathlib import Path

    from shipgraph.project.spec import Project

MAX_FILE: Final = 1 << 20
_PLACE: Final = re.compile(r" \(at (?:line ([0-9]+), column [0-9]+|end of document)\)$")


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake in the file, placed: ``file`` as the user knows it, ``line`` from 1, ``key`` as TOML writes it."""

    what: str
    file: str
    line: int | None = None
    key: str = ""
    allowed: str = ""
    hint: str = ""

    def error(self) -> ConfigurationError:
        """The mistake as an exception."""
        return ConfigurationError(
            self.what, hint=self.hint, file=self.file, line=self.line, key=self.key, allowed=self.allowed
        )

    def __str__(self) -> str:
        text = str(self.error())
        return f"{text}; {self.hint}" if self.hint else text


def load_project(folder: Path) -> Project:
    """Read and check the project in a folder.

    Raises:
        ConfigurationError: the file is missing or wrong; the message lists every mistake.
    """
    project, mistakes = check_project(folder)
    if project is None:
        raise _all(mistakes, str(folder / FILE_NAME))
    return project


def check_project(folder: Path) -> tuple[Project | None, tuple[Mistake, ...]]:
    """Read and check the project in a folder: the project, or all mistakes in the order of the file."""
    path = folder.absolute() / FILE_NAME
    shown = str(folder / FILE_NAME)
    try:
        if path.stat().st_size > MAX_FILE:
            return None, (Mistake("the file is too big", shown, allowed=f"{MAX_FILE >> 20} MB"),)
        content = path.read_bytes()
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            hint = "name the project's folder with --project, or let `shipgraph init` draft the file"
            return None, (Mistake(f"there is no {FILE_NAME} in {path.parent}", "", hint=hint),)
        return None, (Mistake(f"{error.strerror}", shown, hint="mend that, or name another folder with --project"),)
    parsed = _parse(content, shown)
    if isinstance(parsed, Mistake):
        return None, (parsed,)
    text, data = parsed
    problems: list[Problem] = []
    file = read_tables(ProjectFile, data, problems)
    project = None if file is None else derive(file, path, problems)
    if project is not None:
        return project, ()
    try:
        lines = find_lines(text)
    except RecursionError:  # nested just as deeply as tomllib itself still bears
        lines = {}
    mistakes = [
        Mistake(
            problem.what, shown, line_of(lines, problem.path), show_path(problem.path), problem.allowed, problem.hint
        )
        for problem in problems
    ]
    return None, tuple(sorted(mistakes, key=lambda mistake: mistake.line or 0))


def _parse(content: bytes, shown: str) -> tuple[str, dict[str, Any]] | Mistake:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        return Mistake("the file is not UTF-8", shown, content.count(b"\n", 0, error.start) + 1)
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        place = _PLACE.search(message)
        last = text.rstrip().count("\n") + 1
        line = int(place[1]) if place and place[1] else last
        return Mistake(f"not TOML: {_PLACE.sub('', message)}", shown, line)
    except RecursionError:
        return Mistake("the file is nested too deeply", shown)


def _all(mistakes: tuple[Mistake, ...], shown: str) -> ConfigurationError:
    if len(mistakes) == 1:
        return mistakes[0].error()
    error = ConfigurationError(
        "\n".join([f"{shown} has {len(mistakes)} mistakes:", *(f"  {each}" for each in mistakes)])
    )
    error.mistakes = tuple(mistake.error() for mistake in mistakes)
    return error
