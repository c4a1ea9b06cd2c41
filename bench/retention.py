"""Planning a clean-up of 100,000 versions: time and memory; and what clean-ups by other rules break.

    python -m bench.retention [--versions 100000] [--rounds 3]
    python -m bench.retention --peers

The first measures ``make_plan`` after everything was listed, each round in a process of its own. The second lets other
tools' rules loose on one history of releases, and counts what each breaks of the releases that should stay.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from bench.retention_history import IMAGES, METADATA, METADATA_TYPE, OWNER, PAYLOAD, PAYLOAD_TYPE, Project

from shipgraph.evidence.requirements import Kind
from shipgraph.retain.history import History
from shipgraph.retain.inventory import Inventory
from shipgraph.retain.plan import encode_plan
from shipgraph.retain.planning import make_plan
from shipgraph.retain.policy import Policy, Role
from shipgraph.retain.versions import ArtifactTypes

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.retention_history import Item

PER_RELEASE = 95
"""Versions that a release adds, about, where half of the images didn't change."""


def policy() -> Policy:
    """The runbook's: 15 of the main image, 10 of everything else."""
    roles = {f"{OWNER}/{image}": Role.IMAGE for image in IMAGES} | {PAYLOAD: Role.PAYLOAD, METADATA: Role.METADATA}
    return Policy(
        project="containai",
        registry="ghcr.io",
        metadata=METADATA,
        types=ArtifactTypes(metadata=METADATA_TYPE, payload=PAYLOAD_TYPE),
        roles=MappingProxyType(roles),
        keep=MappingProxyType({f"{OWNER}/containai": 15}),
        default=10,
        grace=86_400,
        unfinished=30 * 86_400,
        channels=("dev", "nightly", "prod"),
        evidence=frozenset(Kind),
    )


def megabytes() -> float:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def one_round(releases: int) -> dict[str, float]:
    """List, plan and write down once; in seconds and megabytes."""
    project = Project(releases)
    before = megabytes()
    inventory, history = Inventory(), History()
    for entry in project.entries():
        history.add(entry)
    # What listing costs without the network; making the synthetic history is most of it.
    for version, node in project.items():
        inventory.add(version, node)
    listed = megabytes()
    started, began = time.perf_counter(), time.process_time()
    plan = make_plan(inventory, history, policy(), now=project.now)
    planned, busy = time.perf_counter() - started, time.process_time() - began
    peak = megabytes()
    started = time.perf_counter()
    written = encode_plan(plan)
    return {
        "versions": len(inventory),
        "go": len(plan.deletions),
        "plan s": planned,
        "of processor s": busy,
        "write s": time.perf_counter() - started,
        "start MB": before,
        "listed MB": listed,
        "planned MB": peak,
        "written MB": megabytes(),
        "document MB": len(written) / 1e6,
    }


def measure(versions: int, rounds: int) -> None:
    """Rounds in processes of their own; the best time, the most memory."""
    releases = max(20, versions // PER_RELEASE)
    found = []
    for _ in range(rounds):
        done = subprocess.run(
            [sys.executable, "-m", "bench.retention", "--child", str(releases)],
            check=True,
            capture_output=True,
            text=True,
        )
        found.append(json.loads(done.stdout))
    for name in found[0]:
        times = [one[name] for one in found]
        print(f"{name:>16} {min(times) if name.endswith(' s') else max(times):10,.2f}")


# --- what others would do ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Peer:
    """Another rule: which of a package's versions it deletes; ``keep`` is the count of the package."""

    name: str
    deletes: Callable[[list[Item], int], set[str]]


def newest_versions(items: list[Item], keep: int) -> set[str]:
    """Keep the newest N versions by date, as ``delete-package-versions`` does with ``min-versions-to-keep``."""
    by_age = sorted(items, key=lambda item: item[0].created_at or 0, reverse=True)
    return {version.digest for version, _ in by_age[keep:]}


def untagged(items: list[Item], keep: int) -> set[str]:  # noqa: ARG001 (it knows no count)
    """Delete what has no tag, as ``delete-only-untagged-versions`` does."""
    return {version.digest for version, _ in items if not version.tags}


def untagged_but_children(items: list[Item], keep: int) -> set[str]:
    """Keep the newest N tagged versions and the children of what is tagged; delete the rest."""
    tagged = sorted((item for item in items if item[0].tags), key=lambda item: item[0].created_at or 0, reverse=True)
    kept = {version.digest for version, _ in tagged[:keep]}
    children = {child for version, node in tagged[:keep] for child in node.children}
    return {version.digest for version, _ in items} - kept - children


PEERS = (
    Peer("newest N versions by date", newest_versions),
    Peer("everything untagged", untagged),
    Peer("newest N tags, with their children", untagged_but_children),
)


def compare(releases: int) -> None:
    """How many of the releases that should stay each rule breaks."""
    project = Project(releases)
    items = list(project.items())
    by_place: dict[str, list[Item]] = {}
    for item in items:
        by_place.setdefault(item[0].repository, []).append(item)
    rules = policy()
    inventory, history = Inventory(), History()
    for entry in project.entries():
        history.add(entry)
    for version, node in items:
        inventory.add(version, node)
    plan = make_plan(inventory, history, rules, now=project.now)
    wanted = [*range(releases - 10, releases), *(n for n in range(releases - 10) if project.version_of(n))]
    print(
        f"{releases} releases, {len(items)} versions; {len(wanted)} releases should stay: the 10 newest, and versions"
    )
    print(f"{'rule':<36}{'deleted':>8}{'no pull':>9}{'no evidence':>13}{'whole':>7}")
    ours = {(deletion.repository, deletion.fate.digest) for deletion in plan.deletions}
    _show("shipgraph prune", items, ours, project, wanted)
    for peer in PEERS:
        gone = {(place, digest) for place, own in by_place.items() for digest in peer.deletes(own, rules.count(place))}
        _show(peer.name, items, gone, project, wanted)


def _show(name: str, items: list[Item], gone: set[tuple[str, str]], project: Project, wanted: list[int]) -> None:
    nodes = {(version.repository, version.digest): node for version, node in items}
    referrers: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for (place, digest), node in nodes.items():
        if node.subject:
            referrers.setdefault((place, node.subject), []).append((place, digest))
    count: Counter[str] = Counter()
    for release in wanted:
        whole = [(f"{OWNER}/{image}", project.index(image, release)) for image in IMAGES]
        whole += [(PAYLOAD, project.payload(release)), (METADATA, project.metadata(release))]
        parts = whole + [(place, child) for place, index in whole for child in nodes[place, index].children]
        evidence = [one for part in parts for one in referrers.get(part, [])]
        pulls, proves = not gone & set(parts), not gone & set(evidence)
        count.update(["no pull"] * (not pulls) + ["no evidence"] * (not proves) + ["whole"] * (pulls and proves))
    print(f"{name:<36}{len(gone):>8}{count['no pull']:>9}{count['no evidence']:>13}{count['whole']:>7}")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--versions", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(one_round(given.child)))
    elif given.peers:
        compare(60)
    else:
        measure(given.versions, given.rounds)


if __name__ == "__main__":
    main()
