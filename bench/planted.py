"""What the gate finds, and what Trivy finds: twenty kinds of secret in six places, as the table of the documentation.

    python -m bench.planted [--trivy PROGRAM]

Each kind and place is an image of its own, of two platforms, in an embedded registry; both scanners are run as
`shipgraph gate` runs them, on each platform, by digest. `●` refuses the release, `○` is reported below HIGH, `·` was
not found.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.unit.scan.places import PLACES, push_planted
from tests.unit.scan.planted import planted

from shipgraph.embedded.serving import serve
from shipgraph.events import silent
from shipgraph.remote.store import RemoteStore
from shipgraph.scan.kingfisher import Kingfisher
from shipgraph.scan.layers import LayeredScanner
from shipgraph.scan.stage import Subject, gate_images
from shipgraph.scan.trivy import Trivy
from shipgraph.store.disk import DiskStore

if TYPE_CHECKING:
    from shipgraph.scan.scanner import Scanner

Cells = dict[tuple[str, str], str]


async def find(store: RemoteStore, subjects: dict[tuple[str, str], Subject], scanner: Scanner) -> Cells:
    """What a scanner makes of every image."""
    verdicts = await gate_images(store, list(subjects.values()), scanner=scanner, emit=silent)
    return {
        cell: "●" if verdict.refused else "○" if verdict.judged else "·"
        for cell, verdict in zip(subjects, verdicts, strict=True)
    }


async def compare(folder: Path, trivy: str) -> dict[str, Cells]:
    """The cells of each scanner."""
    secrets = planted(11)
    store = DiskStore(folder / "registry", durable=False)
    subjects = {}
    for number, place in enumerate(PLACES):
        for one in secrets:
            repository = f"planted/{one.kind}-{number}"
            digest = await push_planted(store, repository, one, place)
            subjects[one.kind, place] = Subject(f"{one.kind}, {place}", repository, digest)
    async with serve(store) as address, RemoteStore(address) as remote:
        found = {"shipgraph": await find(remote, subjects, LayeredScanner(Kingfisher(folder / "rules")))}
        if trivy:
            scanner = Trivy(address, folder=folder / "trivy")
            found["trivy"] = await find(remote, subjects, scanner)
            found[scanner.name] = found.pop("trivy")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trivy", default="", help="the program, of that name; without it, ours alone")
    asked = parser.parse_args()
    if asked.trivy:
        os.environ["PATH"] = f"{Path(asked.trivy).absolute().parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        found = asyncio.run(compare(Path(name), asked.trivy))
    kinds = list(dict.fromkeys(kind for kind, _ in next(iter(found.values()))))
    for scanner, cells in found.items():
        print(f"\n| {scanner} | {' | '.join(PLACES)} |\n|---|{'---|' * len(PLACES)}")
        for kind in kinds:
            print(f"| {kind} | {' | '.join(cells[kind, place] for place in PLACES)} |")
        totals = [sum(cells[kind, place] == "●" for kind in kinds) for place in PLACES]
        print(f"| **refused** | {' | '.join(f'{total} of {len(kinds)}' for total in totals)} |")


if __name__ == "__main__":
    main()
