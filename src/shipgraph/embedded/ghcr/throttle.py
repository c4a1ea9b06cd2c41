"""How much is too much: GHCR's requests a minute, and the hours and points of GitHub's API. In memory, by a clock."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

_MINUTE, _HOUR = 60.0, 3600.0


class Rate:
    """So many a minute, with a bucket for bursts. ``per_minute`` 0: as many as come."""

    def __init__(self, per_minute: int, burst: float, clock: Callable[[], float]) -> None:
        self.per_minute = per_minute
        self._each = _MINUTE / per_minute if per_minute else 0.0
        self._room = max(1.0, burst * per_minute / _MINUTE)
        self._clock = clock
        self._level, self._at = 0.0, clock()

    def take(self) -> float:
        """Take one: 0 if it is granted, else how many seconds too early it is."""
        if not self.per_minute:
            return 0.0
        now = self._clock()
        self._level = max(0.0, self._level - max(0.0, now - self._at) / self._each)
        self._at = now
        if self._level + 1.0 > self._room:
            return (self._level + 1.0 - self._room) * self._each
        self._level += 1.0
        return 0.0


@dataclass(frozen=True, slots=True)
class Hour:
    """Where somebody stands in their hour."""

    limit: int
    used: int
    reset: int
    """When it begins anew, in seconds since the epoch."""

    @property
    def headers(self) -> dict[str, str]:
        """GitHub's headers that say so."""
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(max(0, self.limit - self.used)),
            "X-RateLimit-Used": str(min(self.used, self.limit)),
            "X-RateLimit-Reset": str(self.reset),
            "X-RateLimit-Resource": "core",
        }


class Hours:
    """Requests an hour, for each who asks: the hour begins with their first request."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began: dict[Hashable, tuple[float, int]] = {}
        self._lock = threading.Lock()

    def take(self, who: Hashable, limit: int, *, cost: int = 1) -> tuple[Hour, bool]:
        """Count a request (``cost`` 0: only look); where they stand now, and whether it is granted."""
        with self._lock:
            now = self._clock()
            began, used = self._began.get(who, (now, 0))
            if now >= began + _HOUR:
                began, used = now, 0
            granted = used + cost <= limit
            used += cost if granted else 0
            self._began[who] = began, used
        return Hour(limit, used, int(began + _HOUR)), granted


class Points:
    """Points a minute, for each who asks at each place: GitHub's secondary limit."""

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self._limit, self._clock = per_minute, clock
        self._spent: dict[Hashable, deque[tuple[float, int]]] = {}
        self._lock = threading.Lock()

    def take(self, key: Hashable, cost: int) -> float:
        """Spend points: 0 if that is granted, else how many seconds to wait."""
        if not self._limit:
            return 0.0
        with self._lock:
            now = self._clock()
            spent = self._spent.setdefault(key, deque())
            while spent and spent[0][0] <= now - _MINUTE:
                spent.popleft()
            if sum(points for _, points in spent) + cost > self._limit:
                return max(1.0, spent[0][0] + _MINUTE - now) if spent else _MINUTE
            spent.append((now, cost))
            return 0.0


def go_duration(seconds: float) -> str:
    """A short time as Go prints it: ``12.5ms``."""
    return f"{round(seconds, 2):g}s" if seconds >= 1 else f"{max(0.1, round(seconds * 1000, 1)):g}ms"
