"""When to try again and how long to wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.remote.fakes import Naps

from shipgraph.remote.limits import RECOVERY, Lane
from shipgraph.remote.retry import RetryPolicy, asked_wait, is_transient, parse_duration
from shipgraph.remote.transport import Headers


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("12.5ms", 0.0125), ("1m30s", 90.0), ("2h", 7200.0), ("500µs", 0.0005), ("1.s", 1.0), ("", None), ("5", None)],
)
def test_go_durations(text: str, seconds: float | None) -> None:
    assert parse_duration(text) == (None if seconds is None else pytest.approx(seconds))


def test_the_hint_in_a_body_of_ghcr() -> None:
    body = b'{"errors":[{"code":"TOOMANYREQUESTS","message":"retry-after: 12.5ms, allowed: 2000/minute"}]}'
    assert asked_wait(Headers(), body) == pytest.approx(0.0125)


def test_retry_after_as_seconds_and_as_a_date() -> None:
    assert asked_wait(Headers([("retry-after", "7")])) == 7
    date = Headers([("Retry-After", "Thu, 01 Jan 1970 00:02:00 GMT")])
    assert asked_wait(date, now=lambda: 100.0) == 20
    assert asked_wait(date, now=lambda: 500.0) == 0
    assert asked_wait(Headers([("Retry-After", "soon")])) is None
    assert asked_wait(Headers()) is None


@given(st.text(), st.binary(max_size=200))
def test_whatever_a_registry_asks_is_a_time_or_nothing(value: str, body: bytes) -> None:
    asked = asked_wait(Headers([("Retry-After", value)]), body)
    assert asked is None or asked >= 0


@given(st.integers(1, 50), st.none() | st.floats(0, 1000), st.floats(0, 1))
def test_waits_are_bounded_and_attempts_end(failures: int, asked: float | None, luck: float) -> None:
    policy = RetryPolicy(random=lambda: luck)
    delay = policy.delay(failures, asked)
    if failures >= policy.attempts or (asked or 0) > policy.patience:
        assert delay is None
    else:
        assert delay is not None
        assert (asked or 0) <= delay <= (asked or 0) + policy.ceiling


def test_transient_statuses() -> None:
    assert all(is_transient(status) for status in (408, 429, 500, 502, 503, 504))
    assert not any(is_transient(status) for status in (200, 301, 400, 401, 403, 404, 405, 409, 412))
    assert is_transient(403, b"You have exceeded a secondary rate limit")


async def test_a_throttled_lane_narrows_waits_and_recovers() -> None:
    naps, now = Naps(), 0.0
    lane = Lane(8, clock=lambda: now, sleep=naps)
    lane.throttled(3.0)
    assert lane.slots == 4
    async with lane.slot():
        pass
    assert naps.slept == [3.0]
    for _ in range(4):
        lane.throttled(None)
    assert lane.slots == 1
    for _ in range(7 * RECOVERY):
        lane.succeeded()
    assert lane.slots == 8
