"""A scanner that knows one word."""

from __future__ import annotations

from shipgraph.scan.finding import Hit
from shipgraph.scan.severity import Severity

WORD = b"open-sesame-0123456789"


class WordScanner:
    """Finds ``WORD``, and remembers what it was shown."""

    def __init__(self, *, rules: int = 1, severity: Severity = Severity.HIGH) -> None:
        self.seen: list[tuple[str, int]] = []
        self.largest = 0
        self._rules = rules
        self._severity = severity

    @property
    def name(self) -> str:
        return "word 1"

    @property
    def version(self) -> str:
        return "word 1+0"

    def rules(self) -> int:
        return self._rules

    def scan(self, path: str, data: bytes) -> list[Hit]:
        self.seen.append((path, len(data)))
        self.largest = max(self.largest, len(data))
        if WORD not in data:
            return []
        line = data[: data.index(WORD)].count(b"\n") + 1
        return [Hit("word", "the word", self._severity, "high", WORD.decode(), line)]

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.seen]
