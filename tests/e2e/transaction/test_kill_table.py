"""Killed at any request, the channel is whole after the next command; crane looks."""

from __future__ import annotations

import pytest

from .kill_table import rows

pytestmark = pytest.mark.real


@pytest.mark.parametrize("first", range(1, 5))
def test_killed_at_any_request_the_channel_is_whole_after_resume(
    first: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Every fourth request here, in four parts; the command goes through all of them."""
    table = list(rows(tmp_path_factory.mktemp("kill"), first=4 * first, every=16))
    print("\n".join(map(str, table)))  # noqa: T201
    assert len(table) > 15
    assert all(row.view.whole and row.release in ("old", "new") for row in table)


def test_killed_over_ghcrs_habits(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tokens, redirects, lag, no If-Match: around the moves, where a death leaves most behind."""
    table = list(rows(tmp_path_factory.mktemp("kill"), first=180, every=12, last=216, lag=0.2, ghcr=True))
    print("\n".join(map(str, table)))  # noqa: T201
    assert {row.release for row in table} == {"old", "new"}
    assert all(row.view.whole for row in table)


def test_killed_with_lag_and_without_if_match(tmp_path_factory: pytest.TempPathFactory) -> None:
    table = list(rows(tmp_path_factory.mktemp("kill"), first=90, every=8, lag=0.2))
    print("\n".join(map(str, table)))  # noqa: T201
    assert {row.state for row in table} >= {"aborted", "settled"}
    assert all(row.view.whole and row.release in ("old", "new") for row in table)
