"""How a check says that a rule is broken."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shipgraph.errors import ShipgraphError


class NotConforming(AssertionError):
    """An implementation does something else than its protocol says."""


def hold(condition: bool, rule: str) -> None:
    """Raise ``NotConforming`` unless the rule holds."""
    if not condition:
        raise NotConforming(f"broken: {rule}")


@asynccontextmanager
async def raising(kind: type[ShipgraphError], doing: str) -> AsyncIterator[None]:
    """Raise ``NotConforming`` unless the block raises that error."""
    try:
        yield
    except kind:
        return
    raise NotConforming(f"{doing} did not raise {kind.__name__}")
