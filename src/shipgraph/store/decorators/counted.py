"""A store that remembers what was asked of it: for "does nothing the second time", and for figures."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from shipgraph.store.decorators.intercepted import Call, Intercepted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shipgraph.store.protocols import Store


class Counted(Intercepted):
    """A ``Store`` that keeps its calls, in the order in which they began, also those that failed."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.calls: list[Call] = []

    def count(self, method: str) -> int:
        """How often a method was called."""
        return sum(call.method == method for call in self.calls)

    @property
    def writes(self) -> list[Call]:
        """The calls that may have changed something."""
        return [call for call in self.calls if call.writes]

    @asynccontextmanager
    async def around(self, call: Call) -> AsyncIterator[None]:
        """See ``Intercepted``."""
        self.calls.append(call)
        yield
