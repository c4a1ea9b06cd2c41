"""Two writers at once: one whole winner, and the other goes on where it is still ahead."""

from __future__ import annotations

import pytest

from .two_writers import races

pytestmark = pytest.mark.real


@pytest.mark.parametrize("lag", [0.0, 0.2])
def test_two_finalize_at_once_never_mix(lag: float, tmp_path_factory: pytest.TempPathFactory) -> None:
    found = list(races(tmp_path_factory.mktemp("race"), 4, lag=lag))
    assert all(race.good for race in found), "\n".join(map(str, found))
