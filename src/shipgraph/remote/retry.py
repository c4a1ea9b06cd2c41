"""When to try again, and how long to wait before: backoff with full jitter, and what the registry itself asks for."""

from __future__ import annotations

import random
import re
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shipgraph.remote.transport import Headers

_UNITS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART: Final = r"[0-9]{1,9}(?:\.[0-9]{0,9})?(?:ns|us|µs|μs|ms|s|m|h)"
_DURATION: Final = re.compile(rf"(?:{_PART}){{1,6}}", re.ASCII)
_HINT: Final = re.compile(rf"retry-after:\s*((?:{_PART}){{1,6}})", re.ASCII | re.IGNORECASE)
_RATE_LIMIT: Final = re.compile(r"rate limit|too many requests", re.IGNORECASE)

REQUEST_TIMEOUT, TOO_MANY_REQUESTS, FORBIDDEN, UNAVAILABLE = 408, 429, 403, 503


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently. All times in seconds.

    A wait is drawn between 0 and ``min(ceiling, base · 2^n)``; where the registry names a time, that is waited out
    first, and where it names more than ``patience``, nothing is waited for at all.
    """

    attempts: int = 6
    base: float = 0.25
    ceiling: float = 15.0
    patience: float = 120.0
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    random: Callable[[], float] = random.random

    def delay(self, failures: int, asked: float | None = None) -> float | None:
        """How long to wait after so many failures (1 for the first), or None to give up."""
        if failures >= self.attempts or (asked is not None and asked > self.patience):
            return None
        jitter = self.random() * min(self.ceiling, self.base * 2.0 ** min(failures - 1, 32))
        return (asked or 0.0) + jitter


def is_transient(status: int, body: bytes = b"") -> bool:
    """Whether a status means that trying again may help.

    GHCR answers 403 for its secondary rate limit; its text is all that tells it from a real refusal.
    """
    if status == FORBIDDEN:
        return _RATE_LIMIT.search(body[:4096].decode("utf-8", "replace")) is not None
    return status in {REQUEST_TIMEOUT, TOO_MANY_REQUESTS} or status >= 500


def was_declined(status: int, body: bytes, asked: float | None) -> bool:
    """Whether an answer says that the request was turned away before anything was done; ``asked`` as in ``asked_wait``.

    Only a 503 that names a time is of that kind (RFC 9110 § 15.6.4); others may come in the middle of the work.
    """
    return is_transient(status, body) and (
        status in {TOO_MANY_REQUESTS, FORBIDDEN} or (status == UNAVAILABLE and asked is not None)
    )


def asked_wait(headers: Headers, body: bytes = b"", *, now: Callable[[], float] = time.time) -> float | None:
    """Seconds that the registry asks to wait: ``Retry-After`` (RFC 9110 § 10.2.3), or GHCR's hint in the body."""
    value = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", value, re.ASCII):
        return float(value)
    if value:
        try:
            return max(0.0, parsedate_to_datetime(value).timestamp() - now())
        except (ValueError, OverflowError):
            return parse_duration(value)
    hint = _HINT.search(body[:4096].decode("utf-8", "replace"))
    return None if hint is None else parse_duration(hint[1])


def parse_duration(text: str) -> float | None:
    """Seconds of a Go duration (``12.5ms``, ``1m30s``), or None if it isn't one."""
    if _DURATION.fullmatch(text) is None:
        return None
    parts: list[tuple[str, str]] = re.findall(r"([0-9.]+)([a-zµμ]+)", text)
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
