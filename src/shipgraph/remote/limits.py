"""How many requests are in flight: bounded, fewer after a 429, more again while all goes well."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

RECOVERY: Final = 20
"""So many good answers in a row raise a narrowed lane by one."""


class Lane:
    """A bounded number of slots. A 429 halves them and holds new requests back for as long as the registry asked."""

    def __init__(
        self,
        slots: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._most = slots
        self._limiter = anyio.CapacityLimiter(slots)
        self._good = 0
        self._clock, self._sleep = clock, sleep
        self._resume_at = 0.0

    @property
    def slots(self) -> int:
        """How many requests may be in flight at the moment."""
        return int(self._limiter.total_tokens)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold one slot."""
        # each holder is an object of its own: one task may hold several (a blob's stream, and a manifest beside it)
        holder = object()
        await self._limiter.acquire_on_behalf_of(holder)
        try:
            wait = self._resume_at - self._clock()
            if wait > 0:
                await self._sleep(wait)
            yield
        finally:
            self._limiter.release_on_behalf_of(holder)

    def narrow(self, most: int) -> None:
        """Never let more than so many through from now on."""
        self._most = min(self._most, most)
        self._limiter.total_tokens = min(self.slots, self._most)

    def throttled(self, asked: float | None) -> None:
        """The registry said that it is too much; ``asked`` is how many seconds it wants to be left alone."""
        self._good = 0
        self._limiter.total_tokens = max(1, self.slots // 2)
        self._resume_at = max(self._resume_at, self._clock() + min(asked or 0.0, 60.0))

    def succeeded(self) -> None:
        """The registry answered well."""
        if self.slots >= self._most:
            return
        self._good += 1
        if self._good >= RECOVERY:
            self._good = 0
            self._limiter.total_tokens = self.slots + 1


class Limits:
    """Three lanes, always taken in this order, so that no two wait for each other: streams, writes, reads."""

    def __init__(self, *, reads: int, writes: int) -> None:
        self.streams = Lane(reads)
        self.writes = Lane(writes)
        self.reads = Lane(reads)
        # one thread for each request in flight, a few for tokens, and slack for threads that were just abandoned
        self.threads = anyio.CapacityLimiter(2 * (2 * reads + writes) + 4)
