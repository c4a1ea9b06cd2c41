"""``.dockerignore`` as Docker reads it (moby/patternmatcher): what doesn't belong to a build's context.

Rules, in Docker's words: lines are patterns of Go's ``filepath.Match`` plus ``**``; ``#`` starts a comment; a leading
``!`` takes files back in; a pattern that matches a folder covers all below it; the last pattern that matches decides.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from shipgraph.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

_ESCAPED: Final = frozenset(".+()|{}$^")
_WILD: Final = frozenset("*?[\\")


@dataclass(frozen=True)
class Pattern:
    """One line: its cleaned text, and whether it takes back in."""

    text: str
    negated: bool

    @cached_property
    def expression(self) -> re.Pattern[str]:
        """The pattern as a regular expression over a whole path."""
        return re.compile(_translate(self.text), re.DOTALL)

    def matches(self, path: str) -> bool:
        """Whether the pattern names the path or one of the folders above it."""
        if self.expression.fullmatch(path):
            return True
        position = path.rfind("/")
        while position > 0:
            if self.expression.fullmatch(path, 0, position):
                return True
            position = path.rfind("/", 0, position)
        return False

    @cached_property
    def literal(self) -> str:
        """What the pattern begins with before its first wildcard."""
        for position, character in enumerate(self.text):
            if character in _WILD:
                return self.text[:position]
        return self.text


@dataclass(frozen=True)
class Ignore:
    """A whole ignore file."""

    patterns: tuple[Pattern, ...] = ()

    @classmethod
    def parse(cls, text: str, *, file: str = ".dockerignore") -> Ignore:
        """Read an ignore file.

        Raises:
            ConfigurationError: a line is ``!`` alone or has a broken character class.
        """
        found = []
        for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
            line = raw.strip()
            if not line or raw.startswith("#"):
                continue
            negated = line.startswith("!")
            body = line[1:].strip() if negated else line
            if not body:
                raise ConfigurationError(f"{line!r} excludes nothing", file=file, line=number, allowed="!PATTERN")
            clean = posixpath.normpath(body)
            clean = clean.lstrip("/") or "." if clean.startswith("/") else clean
            pattern = Pattern(clean, negated)
            try:
                pattern.expression  # noqa: B018 (compiled once, here, so that a mistake is found with its line)
            except re.error as error:
                raise ConfigurationError(f"{line!r} is not a pattern: {error}", file=file, line=number) from error
            found.append(pattern)
        return cls(tuple(found))

    def covers(self, path: str) -> bool:
        """Whether the file or folder of that relative path is left out of the context."""
        out = False
        for pattern in self.patterns:
            # a pattern that can't change the answer isn't tried
            if pattern.negated == out and pattern.matches(path):
                out = not pattern.negated
        return out

    def may_hold(self, folder: str) -> bool:
        """Whether something below a folder that is left out may be taken back in, so that it must be walked."""
        inside = folder + "/"
        return any(
            pattern.negated
            and (
                pattern.literal.startswith(inside)
                or (inside.startswith(pattern.literal) and pattern.literal != pattern.text)
                or inside.startswith(pattern.text + "/")
            )
            for pattern in self.patterns
        )


def ignore_file(context: Path, dockerfile: Path) -> Path | None:
    """The ignore file that applies: ``<Dockerfile>.dockerignore`` beside the Dockerfile, else the context's own."""
    for candidate in (dockerfile.with_name(dockerfile.name + ".dockerignore"), context / ".dockerignore"):
        if candidate.is_file():
            return candidate
    return None


def _translate(pattern: str) -> str:
    out: list[str] = []
    position = 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        if character == "*":
            if pattern[position : position + 1] != "*":
                out.append("[^/]*")
                continue
            position += 1
            if pattern[position : position + 1] == "/":
                position += 1
            out.append(".*" if position >= len(pattern) else "(?:.*/)?")
        elif character == "?":
            out.append("[^/]")
        elif character == "\\":
            out.append(re.escape(pattern[position : position + 1] or "\\"))
            position += 1
        elif character == "[":
            end, piece = _character_class(pattern, position)
            out.append(piece)
            position = end
        elif character in _ESCAPED:
            out.append("\\" + character)
        else:
            out.append(re.escape(character))
    return "".join(out)


def _character_class(pattern: str, position: int) -> tuple[int, str]:
    """``[...]`` from behind its bracket: where it ends, and the same class for ``re``; it never matches ``/``."""
    end = position
    while end < len(pattern) and (pattern[end] != "]" or end == position):
        end += 2 if pattern[end] == "\\" else 1
    body = pattern[position:end]
    if end >= len(pattern) or body in ("", "^"):
        raise re.error("unterminated character class")
    negated, members = body.startswith("^"), body.removeprefix("^")
    members = members.replace("[", "\\[").replace("&&", "&\\&").replace("--", "-\\-").replace("~~", "~\\~")
    return end + 1, f"(?!/)[{'^' if negated else ''}{members.replace('||', '|' + chr(92) + '|')}]"
