"""A run that is cancelled: the runner interrupts one process, and that has to be shipgraph."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from .projects import SHAPES, make, read, scripts

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = f"""\
#!{sys.executable}
import os, pathlib, signal, sys
place = pathlib.Path(os.environ["PLACE"])
def ended(*_):
    place.joinpath("ended").write_text("cleanly")
    sys.exit(0)
signal.signal(signal.SIGINT, ended)
place.joinpath("started").write_text(" ".join(sys.argv[1:]))
signal.pause()
"""


@pytest.mark.parametrize("job", ["finalize", "promote", "rollback", "refresh", "resume", "repair", "prune"])
def test_the_signal_of_a_cancelled_run_reaches_what_moves_tags(tmp_path: Path, job: str) -> None:
    """As actions/runner does it: a file that bash runs, and SIGINT to that process alone."""
    script = scripts(read(make(tmp_path / "p", SHAPES["payload"]))["jobs"][job])[-1]
    (tmp_path / "script.sh").write_text(script)
    program = tmp_path / "bin" / "shipgraph"
    program.parent.mkdir()
    program.write_text(PROGRAM)
    program.chmod(0o755)
    environment = {
        **os.environ, "PATH": f"{program.parent}:/usr/bin:/bin", "PLACE": str(tmp_path), "CHANNEL": "dev",
        "VERSION": "v1.2.3", "GITHUB_EVENT_PATH": "event.json",
    }  # fmt: skip
    shell = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", str(tmp_path / "script.sh")]
    with subprocess.Popen(shell, env=environment, start_new_session=True) as process:
        while not (tmp_path / "started").exists():
            assert process.poll() is None
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(30) == 0
    assert (tmp_path / "ended").read_text() == "cleanly"
    words = (tmp_path / "started").read_text().split()
    expected = {
        "promote": ["promote", "--wait", "--version=v1.2.3", "--channel=dev"],
        "rollback": ["rollback", "--wait", "--to=v1.2.3", "--", "dev"],
        "refresh": ["refresh", "--wait", "--", "dev"],
    }
    assert words == expected.get(job, words)
