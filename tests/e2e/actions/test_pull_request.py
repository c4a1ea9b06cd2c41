"""A pull request is released into a registry of each job's own, and the real one is never even asked."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from . import events

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .conftest import World
    from .sigstore import Authorities

pytestmark = pytest.mark.real

JOBS = ("rehearse-linux-amd64", "rehearse-linux-arm64")


RUNS = ".shipgraph/runs.sqlite"
"""What GitHub itself notes about the run."""


def files_of(folder: Path) -> dict[str, str]:
    """Every file and the hash of its content."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / RUNS
    }


def test_a_pull_request_leaves_the_registry_byte_for_byte_as_it_was(world: World, sigstore: Authorities) -> None:
    demo, hub = world.demo, world.hub
    demo.git("checkout", "--quiet", "-b", "feature")
    demo.write("docker/app/hello", "hello from the feature\n")
    head = demo.commit("the feature")
    demo.git("checkout", "--quiet", "--detach", "main")
    demo.git("merge", "--quiet", "--no-ff", "-m", "the merge", "feature")
    merge = demo.git("rev-parse", "HEAD")
    demo.push("feature", "HEAD:refs/pull/7/merge")
    before, ceremonies, asked = files_of(hub.root), sigstore.ceremonies, []

    def remember(method: str, path: str, headers: Mapping[str, str]) -> None:
        asked.append(f"{method} {path}")

    hub.hook = remember
    run = world.run(events.pull_request(7, merge, head), lacking=JOBS[:1])
    run.check(failed=("rehearse-linux-amd64--without-contents",))
    assert {name for name in run.results if "--without-" not in name} == set(JOBS)
    assert asked == []
    assert files_of(hub.root) == before
    assert sigstore.ceremonies == ceremonies
    for job, built, left_out in (
        (JOBS[0], "linux/amd64", "linux/arm64"),
        (JOBS[1], "linux/arm64", "linux/amd64"),
    ):
        log = run.jobs[job].log
        assert "pr-7" in log
        assert f"app {built}: built" in log
        assert f"app {left_out}" not in log
        assert f"not built: {left_out}" in log
        assert ("left out: side, not for linux/arm64" in log) is (job == JOBS[1])
