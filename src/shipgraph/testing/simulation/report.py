"""Many seeds at once, on all cores, and what came of them."""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING

from shipgraph.promote.terms import ALL
from shipgraph.testing.simulation.run import run

if TYPE_CHECKING:
    from collections.abc import Iterable

BATCH = 50


@dataclass(slots=True)
class Report:
    """What a number of seeds did; ``broken`` maps a seed to the first promise it broke."""

    seeds: int = 0
    orders: set[int] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    broken: dict[int, str] = field(default_factory=dict)

    def add(self, other: Report) -> None:
        """Take another report in."""
        self.seeds += other.seeds
        self.orders |= other.orders
        self.counts += other.counts
        self.broken |= other.broken

    def text(self) -> str:
        """For people."""
        count = self.counts
        what = {
            "different orders of writes": len(self.orders),
            "PUTs of tags": count["puts"],
            "deaths": count["deaths"],
            "late PUTs": count["late"],
            "lost answers": count["lost after"],
            "cut before": count["lost before"],
            "slow": count["slow"],
            "429": count["throttled"],
            "refused": count["refused"],
            "reads without answer": count["unread"],
            "stale reads": count["stale reads"],
            "settled": count["Settled"],
            "adopted forward": count["settled"],
            "adopted and aborted": count["aborted"],
            "taken back": count["Refused"],
            "left open": count["TransactionUnfinished"] + count["TransactionRefused"],
            "busy": count["ChannelBusy"],
            "ahead": count["ChannelAhead"],
            "unchanged": count["Unchanged"],
        }
        lines = [f"{self.seeds} seeds", *(f"  {number:>9,} {name}" for name, number in what.items())]
        if self.broken:
            shown = sorted(self.broken.items())[:5]
            lines.append(f"BROKEN in {len(self.broken)} seeds: " + "; ".join(f"{seed}: {why}" for seed, why in shown))
        else:
            lines.append("no promise was broken")
        return "\n".join(lines)


def simulate(seeds: Iterable[int], without: str | None = None) -> Report:
    """Run seeds, one after the other."""
    parts = ALL if without is None else ALL.without(without)
    report = Report()
    for seed in seeds:
        outcome = run(seed, parts)
        report.seeds += 1
        report.orders.add(outcome.order)
        report.counts += outcome.counts
        if outcome.broken:
            report.broken[seed] = outcome.broken[0]
    return report


def simulate_all(first: int, count: int, without: str | None = None, *, until_broken: bool = False) -> Report:
    """Run seeds on all cores; ``until_broken``: no more once a promise was broken."""
    report = Report()
    batches = [range(start, min(start + BATCH, first + count)) for start in range(first, first + count, BATCH)]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=get_context("spawn")) as pool:
        for part in pool.map(partial(simulate, without=without), batches):
            report.add(part)
            if until_broken and report.broken:
                pool.shutdown(wait=False, cancel_futures=True)
                break
    return report
