"""Where in a TOML text each key and value stands.

``tomllib`` gives values without places, so this small scanner walks the text once more when something has to be said
about a key, or one value replaced and every other byte left as it is. It reads valid TOML 1.0 only: ``tomllib`` has
already refused anything else.
"""

from __future__ import annotations

import re
import tomllib
from typing import Final

KeyPath = tuple[str | int, ...]

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE: Final = re.compile(r"[ \t]*")
_SCALAR: Final = re.compile(r"[^,\]}#\n]*")
_BASIC: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_LITERAL: Final = re.compile(r"'[^']*'")
# Up to two quotation marks may stand right before the three that end a multi-line string.
_LONG_BASIC: Final = re.compile(r'"""(?:[^"\\]|\\.|"(?!""))*"{3,5}', re.DOTALL)
_LONG_LITERAL: Final = re.compile(r"'''(?:[^']|'(?!''))*'{3,5}", re.DOTALL)


def find_lines(text: str) -> dict[KeyPath, int]:
    """The line, from 1, on which each key, table and array element is first mentioned.

    A path is made of keys and, for elements of arrays and arrays of tables, indices.
    """
    return _scan(text).lines


def find_spans(text: str) -> dict[KeyPath, tuple[int, int]]:
    """Start and end of each value's text, as offsets in characters."""
    return _scan(text).spans


def line_of(lines: dict[KeyPath, int], path: KeyPath) -> int | None:
    """The line of a path, or of the nearest table around it that the text mentions."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path)


def show_path(path: KeyPath) -> str:
    """A path as TOML would write it: ``images.base.tests[0]``, keys in quotation marks where they need them."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _BARE.fullmatch(part) else f'"{part}"')
    return text


def _scan(text: str) -> _Scanner:
    scanner = _Scanner(text)
    scanner.scan()
    return scanner


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[KeyPath, int] = {}
        self.spans: dict[KeyPath, tuple[int, int]] = {}
        self.elements: dict[KeyPath, int] = {}  # how many tables each array of tables has so far
        self.counted, self.line = 0, 1

    def scan(self) -> None:
        table: KeyPath = ()
        self.skip(_BLANK)
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self.header()
            else:
                self.pair(table)
            self.skip(_BLANK)

    def skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            return ""
        self.at = match.end()
        return match[0]

    def mark(self, path: KeyPath) -> None:
        self.line += self.text.count("\n", self.counted, self.at)
        self.counted = self.at
        self.lines.setdefault(path, self.line)

    def header(self) -> KeyPath:
        is_array = self.text.startswith("[[", self.at)
        self.at += 2 if is_array else 1
        self.skip(_SPACE)
        path: KeyPath = ()
        parts = self.key()
        for number, part in enumerate(parts, start=1):
            path += (part,)
            self.mark(path)
            if is_array and number == len(parts):
                self.elements[path] = self.elements.get(path, 0) + 1
            if path in self.elements:
                path += (self.elements[path] - 1,)
                self.mark(path)
        self.skip(_SPACE)
        self.at += 2 if is_array else 1
        return path

    def pair(self, table: KeyPath) -> None:
        path = table
        for part in self.key():
            path += (part,)
            self.mark(path)
        self.skip(_SPACE)
        self.at += 1  # the equals sign
        self.skip(_SPACE)
        self.value(path)

    def key(self) -> list[str]:
        """A dotted key; the place is left right behind it."""
        parts: list[str] = []
        while True:
            quote = self.text[self.at]
            if quote in "\"'":
                raw = self.skip(_BASIC if quote == '"' else _LITERAL)
                parts.extend(tomllib.loads(f"{raw}=0"))
            else:
                parts.append(self.skip(_BARE))
            end = self.at
            self.skip(_SPACE)
            if not self.text.startswith(".", self.at):
                self.at = end
                return parts
            self.at += 1
            self.skip(_SPACE)

    def value(self, path: KeyPath) -> None:
        start = self.at
        first = self.text[start]
        if first == '"':
            self.skip(_LONG_BASIC if self.text.startswith('"""', self.at) else _BASIC)
        elif first == "'":
            self.skip(_LONG_LITERAL if self.text.startswith("'''", self.at) else _LITERAL)
        elif first == "[":
            self.array(path)
        elif first == "{":
            self.inline_table(path)
        else:
            self.skip(_SCALAR)
        self.spans[path] = (start, self.at)

    def array(self, path: KeyPath) -> None:
        self.at += 1
        index = 0
        self.skip(_BLANK)
        while self.text[self.at] != "]":
            self.mark((*path, index))
            self.value((*path, index))
            index += 1
            self.comma()
        self.at += 1

    def inline_table(self, path: KeyPath) -> None:
        self.at += 1
        self.skip(_BLANK)
        while self.text[self.at] != "}":
            self.pair(path)
            self.comma()
        self.at += 1

    def comma(self) -> None:
        self.skip(_BLANK)
        if self.text[self.at] == ",":
            self.at += 1
            self.skip(_BLANK)
