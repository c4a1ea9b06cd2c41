"""SIGTERM and Ctrl-C: before the first move nothing moved, after it everything does, and a second one says `resume`."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from .project import META, finish

if TYPE_CHECKING:
    from .project import Control, Demo

INTERRUPTED = 130


def position(control: Control, demo: Demo, request: str) -> int:
    """The number of a request of finalize: a first run without moving anything tells it."""
    control.say(hold=10_000)
    victim = demo.start("finalize")
    done = finish(victim)
    assert done.code == 0, done.err
    return int(control.state()["requests"].index(request)) + 1


def state_of(demo: Demo) -> str:
    status = demo.run("status", "--json").json
    (channel,) = (one for one in status["channels"] if one["channel"] == "dev")
    assert not channel["drift"]
    return f"{channel['metadata']['serial']} {'open' if status['transaction'] else 'closed'}"


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_stopped_before_the_first_move_nothing_moved(control: Control, demo: Demo, sign: signal.Signals) -> None:
    number = position(control, demo, f"PUT /v2/{META}/manifests/journal")
    demo.commit(3)
    demo.run("payload")
    control.say(hold=number, when="after")
    victim = demo.start("finalize")
    assert control.wait_held(victim).endswith("journal")
    victim.send_signal(sign)
    time.sleep(0.3)
    control.say(release=True)
    done = finish(victim)
    assert done.code == INTERRUPTED
    assert "nothing was changed" in done.err
    assert state_of(demo) == "2 closed"


def test_stopped_after_the_first_move_everything_moves(control: Control, demo: Demo) -> None:
    number = position(control, demo, f"PUT /v2/{META}/manifests/dev")
    demo.commit(3)
    demo.run("payload")
    control.say(hold=number, when="before")
    victim = demo.start("finalize")
    assert control.wait_held(victim).endswith("dev")
    victim.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    control.say(release=True)
    done = finish(victim)
    assert done.code == 0, done.err
    assert "stopping: the transaction ends first" in done.err
    assert state_of(demo) == "3 closed"


def test_a_second_signal_stops_at_once_and_says_resume(control: Control, demo: Demo) -> None:
    number = position(control, demo, f"PUT /v2/{META}/manifests/dev")
    demo.commit(3)
    demo.run("payload")
    control.say(hold=number, when="before")
    victim = demo.start("finalize")
    assert control.wait_held(victim).endswith("dev")
    for _ in range(2):
        victim.send_signal(signal.SIGTERM)
        time.sleep(0.3)
    done = finish(victim)
    assert done.code == INTERRUPTED
    assert "shipgraph resume" in done.err
    control.say(release=True, drop=True)
    assert demo.run("status", "--json").json["transaction"]["kind"] == "release"
    control.say(clock=100_000.0)
    assert demo.run("resume", "--json").json["state"] == "settled"
    assert state_of(demo) == "3 closed"
