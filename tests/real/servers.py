"""One server process: started, awaited, and surely stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from .tools import debian

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path


class ServerFailed(Exception):
    """It ended, or did not answer in time. The message has the end of its log."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def server(
    command: Sequence[str | Path],
    *,
    log: Path,
    ready: Callable[[], bool],
    within: float = 30.0,
    grace: float = 10.0,
    environment: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` while the block runs. `ready` is asked until it is true; OSError from it means no.

    At the end it gets SIGTERM, and SIGKILL when it is still there `grace` seconds later.
    """
    if threading.current_thread() is threading.main_thread():
        # The kernel stops the server even if this process is killed. (It watches the thread, hence the condition.)
        command = [debian("setpriv"), "--pdeathsig", "TERM", "--", *command]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    try:
        _await(process, ready, within, log)
        yield process
    finally:
        _stop(process, grace)


def _await(process: subprocess.Popen[bytes], ready: Callable[[], bool], within: float, log: Path) -> None:
    deadline = time.monotonic() + within
    while True:
        if process.poll() is not None:
            raise ServerFailed(f"{_what(process)} ended with {process.returncode}\n{_tail(log)}")
        with suppress(OSError):
            if ready():
                return
        if time.monotonic() > deadline:
            raise ServerFailed(f"{_what(process)} did not answer within {within:.0f} s\n{_tail(log)}")
        time.sleep(0.02)


def _stop(process: subprocess.Popen[bytes], grace: float) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(grace)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # itself if it still runs, and children it left behind
    process.wait()


def _what(process: subprocess.Popen[bytes]) -> str:
    return f"`{' '.join(str(word) for word in process.args)}`" if isinstance(process.args, list) else str(process.args)


def _tail(log: Path, lines: int = 20) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
