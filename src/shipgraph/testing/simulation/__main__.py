"""``python -m shipgraph.testing.simulation``: any number of seeds, one of them with its trace, or a part left out."""

from __future__ import annotations

import sys

import click

from shipgraph.promote.terms import ALL, SWITCHES
from shipgraph.testing.simulation.report import simulate_all
from shipgraph.testing.simulation.run import run


@click.command()
@click.option("--seeds", default=2400, show_default=True, help="How many.")
@click.option("--first", default=0, show_default=True, help="The first one.")
@click.option("--seed", type=int, help="This one alone, with its trace.")
@click.option("--without", type=click.Choice(sorted(SWITCHES)), help="Leave one part of the protocol out.")
@click.option("--crippled", is_flag=True, help="Leave each part out in turn, until a promise is broken.")
def main(seeds: int, first: int, seed: int | None, without: str | None, crippled: bool) -> None:
    """Simulate the channel transaction. Exit code 1: a promise was broken; the first such seed is shown."""
    if crippled:
        missed = 0
        for name in SWITCHES:
            report = simulate_all(first, seeds, name, until_broken=True)
            found = min(report.broken, default=None)
            missed += found is None
            why = "NOT FOUND" if found is None else f"seed {found}: {report.broken[found]}"
            click.echo(f"{name:<12} {report.seeds:>6} seeds: {why}")
        sys.exit(1 if missed else 0)
    parts = ALL if without is None else ALL.without(without)
    if seed is not None:
        outcome = run(seed, parts)
        click.echo(outcome.text())
        sys.exit(1 if outcome.broken else 0)
    report = simulate_all(first, seeds, without)
    if report.broken:
        click.echo(run(min(report.broken), parts).text())
    click.echo(report.text())
    sys.exit(1 if report.broken else 0)


if __name__ == "__main__":
    main()
