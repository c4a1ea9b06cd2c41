"""Places for work, given to the largest piece that waits: so the last one to run isn't the one that takes longest."""

from __future__ import annotations

import heapq
import itertools
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Turns:
    """At most ``places`` pieces of work at a time, the largest first."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._numbers = itertools.count()
        self._waiting: list[tuple[int, int, anyio.Event]] = []

    @asynccontextmanager
    async def turn(self, size: int) -> AsyncIterator[None]:
        """Wait for a place, and hold it."""
        if self._free:
            self._free -= 1
        else:
            await self._wait(size)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, size: int) -> None:
        entry = (-size, next(self._numbers), anyio.Event())
        heapq.heappush(self._waiting, entry)
        try:
            await entry[2].wait()
        except BaseException:
            if entry[2].is_set():
                self._pass_on()  # it was its turn, but it is cancelled
            else:
                self._waiting.remove(entry)
                heapq.heapify(self._waiting)
            raise

    def _pass_on(self) -> None:
        if self._waiting:
            heapq.heappop(self._waiting)[2].set()
        else:
            self._free += 1
