"""A release that is stopped or killed in the middle of a build."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from tests.e2e.release.conftest import Demo, finish, mounts_below, moving_tags_of, outcomes, processes_of, wait_for

if TYPE_CHECKING:
    import subprocess

pytestmark = pytest.mark.real

MARK = "the step has begun"


def begun(demo: Demo) -> subprocess.Popen[str]:
    """A rehearsal that is in the middle of a build which would take a minute."""
    running = demo.start("rehearse")
    log = demo.folder / ".shipgraph" / "logs" / "side-linux-amd64.log"
    wait_for(lambda: log.exists() and f"\n{MARK}\n" in log.read_text(), "the build's step")
    return running


def slow(demo: Demo) -> None:
    """Give one image a step that takes a minute."""
    demo.edit("docker/side/Dockerfile", "RUN", f"RUN echo {MARK}; sleep 60;")
    demo.commit()


def mend(demo: Demo) -> None:
    """Take it away."""
    demo.edit("docker/side/Dockerfile", f"echo {MARK}; sleep 60;", "echo mended;")
    demo.commit()


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_stopped(rehearsed: Demo, kind: signal.Signals) -> None:
    before = moving_tags_of(rehearsed.root)
    slow(rehearsed)
    running = begun(rehearsed)
    running.send_signal(kind)
    done = finish(running, code=130, timeout=20)
    assert "interrupted; running the same command again goes on where this one stopped" in done.err
    wait_for(lambda: not processes_of(rehearsed.folder), "the end of all processes", 5.0)
    assert [mount for mount in mounts_below(rehearsed.folder) if not mount.endswith("/overlay")] == []
    assert list((rehearsed.folder / ".shipgraph" / "jobs").iterdir()) == []
    assert moving_tags_of(rehearsed.root) == before
    mend(rehearsed)
    assert outcomes(rehearsed.json("rehearse"))["app"] == "unchanged"


def test_killed(rehearsed: Demo) -> None:
    before = moving_tags_of(rehearsed.root)
    slow(rehearsed)
    running = begun(rehearsed)
    running.kill()
    running.communicate()
    mend(rehearsed)
    released = rehearsed.json("rehearse")
    assert released["moved"] is True
    assert moving_tags_of(rehearsed.root) != before
    jobs = list((rehearsed.folder / ".shipgraph" / "jobs").iterdir())
    assert jobs == [], "what the killed run left is gone"
    for line in processes_of(rehearsed.folder):
        os.kill(int(line.partition(":")[0]), signal.SIGKILL)
