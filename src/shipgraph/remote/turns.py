"""Who may write an index of referrers now, and what was put into it lately: known to the whole process.

A program may hold several stores of one registry, each on an event loop of its own; an index that all of them keep is
safe only if they share this.
"""

from __future__ import annotations

import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_PAUSE: Final = 0.005  # between two looks whether it is our turn: a lock that several event loops share has no queue

Key: TypeAlias = "tuple[str, str, str]"
"""The registry's base URL, the repository, and the subject's digest."""


class Turn:
    """One index. ``added`` belongs to whoever holds the turn: by digest, when it was added, and the entry."""

    def __init__(self) -> None:
        self.added: dict[str, tuple[float, dict[str, Any]]] = {}
        self._lock = threading.Lock()

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Wait until nobody else in this process writes, and keep others out meanwhile."""
        while not self._lock.acquire(blocking=False):  # noqa: ASYNC110 (no event crosses event loops)
            await anyio.sleep(_PAUSE)
        try:
            yield
        finally:
            self._lock.release()


_turns: dict[Key, Turn] = {}


def turn(key: Key) -> Turn:
    """The turn of an index, the same for the whole process."""
    return _turns.setdefault(key, Turn())


def forget() -> None:
    """Forget all (for tests, which reuse names)."""
    _turns.clear()
