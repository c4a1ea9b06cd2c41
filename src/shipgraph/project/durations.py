"""Durations as ``shipgraph.toml`` writes them: a whole number and a unit."""

from __future__ import annotations

import re
from typing import Final

from shipgraph.errors import ConfigurationError

DURATION_PATTERN: Final = "^[1-9][0-9]{0,5}[smhdw]$"
DURATION_ALLOWED: Final = 'a whole number and a unit of s, m, h, d or w, like "14d"'
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION: Final = re.compile(r"([1-9][0-9]{0,5})([smhdw])", re.ASCII)


def parse_duration(text: str) -> int:
    """The seconds that ``14d``, ``6h`` and the like stand for.

    Raises:
        ConfigurationError: it isn't a duration.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ConfigurationError(
            f"{text[:100]!r} is not a duration", allowed="a whole number and a unit of s, m, h, d or w"
        )
    return int(match[1]) * _UNITS[match[2]]
