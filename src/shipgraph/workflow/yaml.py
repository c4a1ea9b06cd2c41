"""Values as YAML for people: block style, comments, and strings quoted wherever YAML could take them for another thing.

A writer of its own, because no library keeps comments beside values without parsing YAML first. It knows only what a
workflow needs; tests read everything it writes with PyYAML and compare.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias, Union

if TYPE_CHECKING:
    from collections.abc import Iterator

Value: TypeAlias = Union[str, int, bool, "Noted", "Mapping[str, Value]", "Sequence[Value]", None]

# What stands in no need of quotes: printable ASCII from a letter, / . or $ on, in which no ": " or " #" ends it early.
_PLAIN: Final = re.compile(r"[A-Za-z/.$](?:[\x20-\x22\x24-\x39\x3b-\x7e]|:(?=[\x21-\x7e])|(?<=[\x21-\x7e])#)*")
_SPECIAL: Final = re.compile(r"true|false|yes|no|on|off|null|y|n|[.][0-9_.inf]*|[.]nan|[.][0-9.]*e.*", re.IGNORECASE)
_UNSEEN: Final = re.compile("[\x7f-\x9f\xad\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_FLOW_WIDTH: Final = 100


@dataclass(frozen=True, slots=True)
class Noted:
    """A value with a comment: ``after`` on its line, ``above`` on lines of their own before its key."""

    value: Value
    after: str = ""
    above: str = ""


def write(document: Mapping[str, Value]) -> str:
    """A document as text, its keys in the order given.

    Raises:
        ValueError: a comment has several lines where there is room for one.
    """
    return "\n".join(_mapping(document, 0)) + "\n"


def _mapping(mapping: Mapping[str, Value], depth: int) -> Iterator[str]:
    for key, value in mapping.items():
        yield from _entry(f"{scalar(key)}:", value, depth)


def _entry(head: str, noted: Value, depth: int) -> Iterator[str]:
    """One key or list item, and what belongs to it."""
    indent = "  " * depth
    value, after = noted, ""
    if isinstance(noted, Noted):
        value, after = noted.value, noted.after
        if "\n" in after:
            raise ValueError(f"a comment of several lines behind a value: {after!r}")
        for line in noted.above.splitlines():
            yield f"{indent}# {line}".rstrip()
    tail = f"  # {after}" if after else ""
    if isinstance(value, str) and _is_block(value):
        yield f"{indent}{head} |{'' if value.endswith(chr(10)) else '-'}{tail}"
        for line in value.removesuffix("\n").split("\n"):
            yield f"{indent}  {line}" if line else ""
    elif isinstance(value, Mapping):
        yield f"{indent}{head} {{}}{tail}" if not value else f"{indent}{head}{tail}"
        yield from _mapping(value, depth + 1)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        yield from _sequence(f"{indent}{head}", value, tail, depth)
    else:
        yield f"{indent}{head} {scalar(value)}{tail}"  # type: ignore[arg-type]  # nothing else is left


def _sequence(head: str, values: Sequence[Value], tail: str, depth: int) -> Iterator[str]:
    if all(isinstance(value, (str, int)) for value in values):
        flow = f"{head} [{', '.join(scalar(value, flow=True) for value in values)}]{tail}"  # type: ignore[arg-type]
        if len(flow) <= _FLOW_WIDTH:
            yield flow
            return
    yield f"{head}{tail}"
    for value in values:
        inner = value.value if isinstance(value, Noted) else value
        if isinstance(inner, Mapping) and inner:
            lines = list(_mapping(inner, depth + 2))
            if isinstance(value, Noted):
                yield from ("  " * (depth + 1) + f"# {line}".rstrip() for line in value.above.splitlines())
            # the first key stands beside the dash; comments above it come before the dash
            first = next(number for number, line in enumerate(lines) if not line.lstrip().startswith("#"))
            yield from (line[2:] for line in lines[:first])
            yield "  " * (depth + 1) + "- " + lines[first].lstrip()
            yield from lines[first + 1 :]
        else:
            yield from _entry("-", value, depth + 1)


def _is_block(text: str) -> bool:
    """Whether a text of several lines can stand below its key just as it is."""
    lines = text.removesuffix("\n").split("\n")
    return len(lines) > 1 and not lines[0].startswith(" ") and all(lines[:1] + lines[-1:]) and _printable(lines)


def _printable(lines: Sequence[str]) -> bool:
    return all(re.fullmatch(r"[\x20-\x7e]*", line) for line in lines)


def scalar(value: str | int | bool | None, *, flow: bool = False) -> str:
    """A single value; ``flow`` within ``[]``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    plain = _PLAIN.fullmatch(value) and not _SPECIAL.fullmatch(value) and not value.endswith(" ")
    if plain and not (flow and re.search(r"[\[\]{},]", value)):
        return value
    quoted = json.dumps(value, ensure_ascii=False)
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted)
