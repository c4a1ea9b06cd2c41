"""Release versions: Semantic Versioning 2.0.0 behind a prefix, as git tags carry them (``v1.2.3``)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import total_ordering
from typing import Final

from shipgraph.errors import ConfigurationError

# semver.org's own expression, without build metadata: a registry's tag can't hold its "+".
_NUMBER: Final = r"(?:0|[1-9][0-9]*)"
_PRE: Final = rf"(?:{_NUMBER}|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)"
_SEMVER: Final = re.compile(rf"({_NUMBER})\.({_NUMBER})\.({_NUMBER})(?:-({_PRE}(?:\.{_PRE})*))?", re.ASCII)
MAX_VERSION: Final = 64


@total_ordering
@dataclass(frozen=True, slots=True)
class Version:
    """A version; ``text`` is the whole git tag. Ordered by SemVer's precedence (§ 11), never by text."""

    text: str
    numbers: tuple[int, int, int]
    pre: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str, *, prefix: str = "v") -> Version:
        """Parse ``<prefix>MAJOR.MINOR.PATCH[-PRERELEASE]``.

        Raises:
            ConfigurationError: it isn't one, is longer than 64 characters, or carries build metadata.
        """
        match = _SEMVER.fullmatch(text.removeprefix(prefix)) if text.startswith(prefix) else None
        if match is None or len(text) > MAX_VERSION:
            hint = "a tag in a registry can't hold `+`: leave build metadata out" if "+" in text else ""
            raise ConfigurationError(
                f"{text[:100]!r} is not a release version",
                allowed=f"{prefix}MAJOR.MINOR.PATCH[-PRERELEASE] as in semver.org, at most {MAX_VERSION} characters",
                hint=hint,
            )
        return cls(text, (int(match[1]), int(match[2]), int(match[3])), tuple(match[4].split(".")) if match[4] else ())

    def _order(self) -> tuple[tuple[int, int, int], bool, tuple[tuple[bool, int, str], ...]]:
        pre = tuple((not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in self.pre)
        return self.numbers, not self.pre, pre

    def __lt__(self, other: Version) -> bool:
        return self._order() < other._order()

    def __str__(self) -> str:
        return self.text


def looks_like_version(text: str) -> bool:
    """Whether a tag would be taken for a release: a SemVer version, with or without a ``v``."""
    return _SEMVER.fullmatch(text.removeprefix("v")) is not None
