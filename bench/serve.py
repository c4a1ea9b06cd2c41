"""``shipgraph serve`` beside distribution v3: the same clients, one after the other, in one run.

    python -m bench.serve [--rounds 3] [--megabytes 1024] [--count 2000]

A layer is pushed and pulled by crane, an index of small manifests by regctl: the quickest of their kind.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path

from bench.manifests import make_index
from bench.transfer import SERVERS, clients, make_layout, measured


def main() -> None:
    parser = argparse.ArgumentParser(description="shipgraph serve beside distribution v3.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--scratch", type=Path, default=Path("/dev/shm"))
    options = parser.parse_args()
    seconds: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory(dir=options.scratch, prefix="serve-") as held:
        directory = Path(held)
        make_layout(directory / "layer", 1, options.megabytes)
        make_index(directory / "index", options.count)
        for _ in range(options.rounds):
            for server, start in SERVERS.items():
                place = directory / server
                with start(place / "registry") as host:
                    for source, client in (("layer", "crane"), ("index", "regctl")):
                        push, pull = clients(host)[client]
                        name, pulled = f"{host}/bench/{source}:v1", str(place / source)
                        pushed = measured(push(str(directory / source), name))
                        seconds[f"push {source} ({client})"][server].append(pushed.seconds)
                        seconds[f"pull {source} ({client})"][server].append(measured(pull(name, pulled)).seconds)
                shutil.rmtree(place)
    print(f"{options.megabytes} MB, {options.count} manifests, {options.rounds} rounds; best seconds (median)")
    print(f"{'':22} {'serve':>14} {'v3':>14} {'serve to v3':>12}")
    for what, by_server in seconds.items():
        best = {server: min(found) for server, found in by_server.items()}
        shown = {server: f"{best[server]:.2f} ({statistics.median(found):.2f})" for server, found in by_server.items()}
        print(f"{what:22} {shown['serve']:>14} {shown['v3']:>14} {best['serve'] / best['v3']:11.2f}x")


if __name__ == "__main__":
    main()
