"""A store that fails on demand: before a call took effect, or after it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal

from shipgraph.store.decorators.intercepted import Call, Intercepted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from shipgraph.store.protocols import Store


class Faulty(Intercepted):
    """A ``Store`` that raises what ``fail`` gives back for a call and a moment, or goes on where that is None.

    ``"before"`` is a request that never arrived; ``"after"`` is one that was carried out and whose answer was lost.
    """

    def __init__(self, store: Store, fail: Callable[[Call, Literal["before", "after"]], BaseException | None]) -> None:
        super().__init__(store)
        self._fail = fail

    @asynccontextmanager
    async def around(self, call: Call) -> AsyncIterator[None]:
        """See ``Intercepted``."""
        before = self._fail(call, "before")
        if before is not None:
            raise before
        yield
        after = self._fail(call, "after")
        if after is not None:
            raise after
