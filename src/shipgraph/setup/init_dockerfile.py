"""What a Dockerfile says about where its image comes from: stages, arguments, files it copies, secrets it mounts.

Only as much of the language as a draft needs, after BuildKit's reference: the ``escape`` directive, continuation lines,
comments within them, and here-documents, whose lines are no instructions. (``dockerfile-parse`` knows no
here-documents, and is neither typed nor kept up.) What can't be understood is passed over: a draft is read by a person.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BASE_ARGUMENT: Final = "BASE_IMAGE"
SCRATCH: Final = "scratch"
_DIRECTIVE: Final = re.compile(r"#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(.*?)\s*")
_HEREDOC: Final = re.compile(r"(?<!<)<<(-?)([\"']?)([A-Za-z_][A-Za-z0-9_.-]*)\2")
_WITH_HEREDOC: Final = frozenset({"RUN", "COPY", "ADD"})
_VARIABLE: Final = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)(?:(:?[-+])([^}]*))?\}|([A-Za-z_][A-Za-z0-9_]*))")
_SECRET_ID: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Stage:
    """One ``FROM``: the image as written and with its variables filled in, name, platform, line (from 1)."""

    written: str
    image: str
    name: str = ""
    platform: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """A Dockerfile. ``arguments`` stand before the first stage, by name, with their defaults (None: without one)."""

    stages: tuple[Stage, ...] = ()
    arguments: Mapping[str, str | None] = field(default_factory=dict)
    needed: tuple[str, ...] = ()
    """Arguments within stages that have no default, and so must be given."""
    copied: tuple[str, ...] = ()
    """What is copied out of the build context, as written."""
    secrets: tuple[str, ...] = ()

    @property
    def origin(self) -> Stage | None:
        """The ``FROM`` that the last stage leads back to: what the image is built on. None without stages."""
        by_name: dict[str, Stage] = {}
        found: Stage | None = None
        for stage in self.stages:
            found = by_name.get(stage.image.lower(), stage)
            if stage.name:
                by_name[stage.name.lower()] = found
        return found

    @property
    def takes_base(self) -> bool:
        """Whether the image is built on what ``BASE_IMAGE`` says."""
        origin = self.origin
        variable = None if origin is None else _VARIABLE.fullmatch(origin.written)
        return variable is not None and BASE_ARGUMENT in (variable[1], variable[4])


def parse_dockerfile(text: str) -> Dockerfile:
    """Read a Dockerfile."""
    arguments: dict[str, str | None] = {}
    stages: list[Stage] = []
    needed: list[str] = []
    copied: list[str] = []
    secrets: list[str] = []
    for line, instruction, rest in _instructions(text):
        match instruction:
            case "FROM":
                stage = _stage(rest, line, arguments)
                if stage is not None:
                    stages.append(stage)
            case "ARG":
                for name, default in _arguments(rest, arguments):
                    if not stages:
                        arguments[name] = default
                    elif default is None and name not in arguments:
                        needed.append(name)
            case "COPY" | "ADD" if stages:
                copied += _sources(rest)
            case "RUN" if stages:
                secrets += _secrets(rest)
            case _:
                pass
    return Dockerfile(tuple(stages), arguments, _once(needed), _once(copied), _once(secrets))


def _once(names: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _instructions(text: str) -> Iterator[tuple[int, str, str]]:
    """Each instruction in upper case with its line and what follows it, here-documents left out."""
    lines = text.removeprefix("\ufeff").splitlines()
    escape = _escape(lines)
    position = 0
    while position < len(lines):
        first, parts = position + 1, list[str]()
        while position < len(lines):
            line = lines[position].rstrip()
            position += 1
            if line.lstrip().startswith("#") or (parts and not line.strip()):
                if parts:
                    continue  # a comment or an empty line within an instruction doesn't end it
                break
            if not line.endswith(escape):
                parts.append(line)
                break
            parts.append(line[:-1])
        instruction, _, rest = "".join(parts).strip().replace("\t", " ").partition(" ")
        if not instruction:
            continue
        name = instruction.upper()
        if name in _WITH_HEREDOC:
            for dash, _, end in _HEREDOC.findall(rest):
                position = _after(lines, position, end, tabs=bool(dash))
        yield first, name, rest.strip()


def _escape(lines: list[str]) -> str:
    for line in lines:
        directive = _DIRECTIVE.fullmatch(line.strip())
        if directive is None:
            break
        if directive[1].lower() == "escape" and directive[2] in ("\\", "`"):
            return directive[2]
    return "\\"


def _after(lines: list[str], position: int, end: str, *, tabs: bool) -> int:
    """The line after a here-document; where it never ends there is none, and it is taken for something else."""
    for number in range(position, len(lines)):
        if (lines[number].lstrip("\t") if tabs else lines[number]) == end:
            return number + 1
    return position


def _stage(rest: str, line: int, arguments: Mapping[str, str | None]) -> Stage | None:
    words = rest.split()
    platform = ""
    while words and words[0].startswith("--"):
        option, _, value = words.pop(0).partition("=")
        if option == "--platform":
            platform = expand(value, arguments)
    if not words:
        return None
    name = words[2] if len(words) >= 3 and words[1].upper() == "AS" else ""
    written = _unquoted(words[0])
    return Stage(written, expand(written, arguments), name, platform, line)


def expand(text: str, arguments: Mapping[str, str | None]) -> str:
    """Variables filled in, with ``${NAME:-default}`` and ``${NAME:+other}``; what has no value becomes nothing."""

    def value(match: re.Match[str]) -> str:
        name, operator, word, plain = match.groups()
        found = arguments.get(name or plain)
        there = found is not None and (found != "" or not (operator or "").startswith(":"))
        if operator and operator.endswith("-"):
            return found or "" if there else word
        if operator:
            return word if there else ""
        return found or ""

    return _VARIABLE.sub(value, text)


def _arguments(rest: str, known: Mapping[str, str | None]) -> Iterator[tuple[str, str | None]]:
    try:
        words = shlex.split(rest, comments=False)
    except ValueError:
        words = rest.split()
    for word in words:
        name, equals, value = word.partition("=")
        if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            yield name, expand(value, known) if equals else None


def _sources(rest: str) -> list[str]:
    """What ``COPY`` or ``ADD`` takes from the build context."""
    while rest.startswith("--"):
        option, _, rest = rest.partition(" ")
        rest = rest.lstrip()
        if option.startswith("--from="):
            return []
    if rest.startswith("["):
        try:
            words = json.loads(rest)
        except ValueError:
            return []
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            return []
    else:
        words = rest.split()
    return [
        word
        for word in words[:-1]
        if word and "$" not in word and "://" not in word and not word.startswith(("<<", "git@"))
    ]


def _secrets(rest: str) -> list[str]:
    found = []
    while rest.startswith("--"):
        option, _, rest = rest.partition(" ")
        rest = rest.lstrip()
        name, _, value = option.partition("=")
        pairs = [pair.partition("=") for pair in value.split(",")]
        if name == "--mount" and ("type", "=", "secret") in pairs:
            named = {key: content for key, _, content in pairs}
            secret = named.get("id") or named.get("target", named.get("dst", "")).rpartition("/")[2]
            if _SECRET_ID.fullmatch(secret):
                found.append(secret)
    return found


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'" else text
