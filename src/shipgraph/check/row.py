"""One row of the checklist."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How a row of the checklist stands."""

    OK = "ok"
    BROKEN = "BROKEN"
    MISSING = "MISSING"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, slots=True)
class Row:
    """One row: what was checked, how it stands, and what was found."""

    name: str
    state: State
    detail: str = ""
