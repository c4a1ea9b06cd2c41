"""The OCI distribution conformance suite over several registries, counted: ``python -m bench.conformance``."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

from tests.conformance.program import shipgraph_serve
from tests.conformance.suite import SWITCHES, run_suite
from tests.real.registries import distribution_v3, docker_registry

REGISTRIES = {
    "shipgraph serve": shipgraph_serve,
    "docker-registry (Debian)": docker_registry,
    "distribution v3": distribution_v3,
}


def main() -> None:
    print(f"{'':26} {'passed':>7} {'failed':>7} {'skipped':>8}")
    for name, start in REGISTRIES.items():
        with tempfile.TemporaryDirectory() as held, start(Path(held) / "registry") as address:
            outcomes = run_suite(address, Path(held) / "results", SWITCHES)
        counted = Counter(outcomes.values())
        print(f"{name:26} {counted['passed']:7} {counted['failed']:7} {counted['skipped']:8}")


if __name__ == "__main__":
    main()
