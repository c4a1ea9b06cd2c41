"""A run is cancelled in the middle of finalize, with some tags moved: the run's last job ends what it left."""

from __future__ import annotations

import os
import re
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from shipgraph.embedded.fault import Fault

from .test_first_release import RELEASE
from .workflow import Settled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .conftest import World

pytestmark = pytest.mark.real

MOVE = re.compile(r"/v2/acme/demo-(base|app|side)/manifests/dev")


def kill(home: Path) -> int:
    """Kill all processes of one job, as its machine's end would; how many there were."""
    found = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"HOME={home}".encode() in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)
                found += 1
    return found


def test_a_run_that_was_cancelled_between_two_tags_is_ended_by_its_resume(world: World) -> None:
    hub = world.hub
    world.demo.write("payload/readme.txt", "read me once more\n")
    world.demo.write("docker/app/hello", "hello once more from app\n")
    world.demo.write("docker/side/name", "side, changed\n")
    event = world.push()
    home = world.folder / "run-1000" / "homes" / "finalize"
    moves: list[str] = []
    killed: list[int] = []

    def cancel(method: str, path: str, headers: Mapping[str, str]) -> Fault | None:
        if method != "PUT" or not MOVE.fullmatch(path):
            return None
        moves.append(path)
        if len(moves) == 1:
            return None
        killed.append(kill(home))
        return Fault(cut_request_after=0)

    hub.hook = cancel
    run = world.run(event, only=tuple(RELEASE - {"visibility", "retention"}))
    hub.hook = None
    assert run.jobs["finalize"].result == "failure"
    assert killed
    assert killed[0] >= 1
    between = hub.tags()
    wanted = {key: between[f"demo-{key}:sha-{event.commit}"] for key in ("base", "app", "side")}
    moved = {key for key in wanted if between[f"demo-{key}:dev"] == wanted[key]}
    assert moved != set(wanted), "nothing was left to do"
    assert between["demo-metadata:dev"] == between["demo-metadata:dev-1"]

    hub.ahead = 600.0  # the lease of the dead is over
    done = {name: Settled(job.result) for name, job in run.jobs.items() if job.result == "success"}
    ended = world.run(event, settled={**done, "finalize": Settled("cancelled")}, lacking=("resume",))
    ended.check(failed=("resume--without-contents", "resume--without-packages"))
    assert ended.jobs["resume"].result == "success"
    assert set(ended.results) == {"resume", "resume--without-contents", "resume--without-packages"}
    tags = hub.tags()
    assert {key: tags[f"demo-{key}:dev"] for key in wanted} == wanted
    assert tags["demo-metadata:dev"] == tags["demo-metadata:channels"] == tags["demo-metadata:dev-2"]
    assert '"ok": true' in world.shipgraph("verify", "dev", "--json")
