"""Which jobs an event starts, here and in a fork. Tokens may do nothing, so each job ends as soon as it has started."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from . import events
from .act import run
from .project import WORKFLOW, make

if TYPE_CHECKING:
    from pathlib import Path

    from .act import Event
    from .github import GitHub

pytestmark = pytest.mark.real

REHEARSE = {"rehearse-linux-amd64", "rehearse-linux-arm64"}


def test_a_fork_rehearses_and_nothing_else(hub: GitHub, tmp_path: Path) -> None:
    demo = make(hub, tmp_path / "demo", "{}")
    demo.run("workflow")
    commit = demo.commit()
    demo.push("main", "main:refs/pull/3/merge")

    def started(name: str, event: Event) -> set[str]:
        done = run(hub, event, tmp_path / name, file=WORKFLOW, powerless=True)
        assert set(done.results.values()) <= {"failure"}
        return set(done.results)

    for name, event, here, in_fork in (
        ("push", events.pushed(commit), {"set"}, REHEARSE),
        ("tag", events.tagged("v1.0.0", commit), {"set"}, REHEARSE),
        ("schedule", events.scheduled("0 6 * * *", commit), {"set", "refresh-expiring"}, REHEARSE),
        ("pull", events.pull_request(3, commit, commit), REHEARSE, REHEARSE),
        ("auto", events.dispatched(commit), {"set"}, REHEARSE),
        ("promote", events.dispatched(commit, version="v1.0.0"), {"promote"}, set()),
        ("prune", events.dispatched(commit, operation="prune"), {"prune"}, set()),
    ):
        assert started(name, event) == here, name
        assert started(f"{name}-in-fork", events.in_fork(event)) == in_fork, name
