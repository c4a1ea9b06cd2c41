"""The real transaction in the simulation: its promises hold in every seed, and each part of it is needed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from shipgraph.promote.terms import ALL, SWITCHES
from shipgraph.testing.simulation.report import simulate
from shipgraph.testing.simulation.run import run

SEEDS, PARTS = 2400, 24
"""How many seeds, and into how many tests they are divided."""
RARE = {"blind-retry": 600}
"""Where to begin looking for what one seed in hundreds shows."""


@pytest.mark.parametrize("part", range(PARTS))
def test_no_promise_is_broken(part: int) -> None:
    size = SEEDS // PARTS
    report = simulate(range(part * size, (part + 1) * size))
    if report.broken:
        pytest.fail(run(min(report.broken)).text())
    assert report.seeds == size
    assert len(report.orders) > 0.9 * size
    for fault in ("deaths", "late", "lost after", "stale reads", "aborted"):
        assert report.counts[fault], f"no {fault} in {size} seeds"


@pytest.mark.parametrize("switch", sorted(SWITCHES))
def test_without_one_part_a_promise_is_broken(switch: str) -> None:
    parts = ALL.without(switch)
    first = RARE.get(switch, 0)
    assert any(run(seed, parts).broken for seed in range(first, first + 1500)), f"{switch} was not found"


def test_a_seed_reproduces_a_run_to_the_last_line_in_any_process() -> None:
    here = run(7).text()
    command = [sys.executable, "-m", "shipgraph.testing.simulation", "--seed", "7"]
    for salt in ("1", "2"):
        there = subprocess.run(
            command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": salt}
        )
        assert there.stdout.rstrip("\n") == here


def test_a_broken_promise_ends_the_command_with_its_trace() -> None:
    command = [sys.executable, "-m", "shipgraph.testing.simulation", "--without", "commit-back", "--seeds", "60"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "BROKEN: " in done.stdout
    assert "PUT metadata:journal" in done.stdout
