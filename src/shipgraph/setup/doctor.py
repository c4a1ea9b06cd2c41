"""What stands between this machine and a release: values, and the checks' one frame.

A check says what it saw, never what it hopes: what could not be looked at is not ``ok``. A check that changes something
is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from shipgraph.errors import ShipgraphError
from shipgraph.tasks import gather

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence


class State(StrEnum):
    """How one thing stands."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "FAILED"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, slots=True)
class Finding:
    """One row: what was looked at, how it stands, what was seen, and the next step where something is to be done."""

    name: str
    state: State
    detail: str = ""
    next: str = ""


Check: TypeAlias = "Callable[[], Awaitable[Finding | Sequence[Finding]]]"


async def examine(checks: Sequence[tuple[str, Check]]) -> list[Finding]:
    """Every check, at the same time; one that fails is a row of its own and stops no other."""

    async def one(name: str, check: Check) -> Sequence[Finding]:
        try:
            found = await check()
        except ShipgraphError as error:
            return [failed(name, error)]
        return [found] if isinstance(found, Finding) else found

    return [finding for found in await gather([partial(one, *each) for each in checks]) for finding in found]


def failed(name: str, error: ShipgraphError) -> Finding:
    """The row of an error."""
    return Finding(name, State.FAILED, str(error), error.hint)
