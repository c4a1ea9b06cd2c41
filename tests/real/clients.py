"""Foreign clients as functions: arguments in, standard output out. Loopback registries are spoken to without TLS.

None of them sees the credentials or the configuration of whoever runs the tests.
"""

from __future__ import annotations

import atexit
import functools
import os
import re
import shutil
import subprocess
import tempfile
from typing import TYPE_CHECKING

from .tools import debian, pinned

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LOOPBACK = re.compile(r"127\.0\.0\.1:\d+")


class ClientFailed(Exception):
    """A client ended with another code than 0, or not in time. The message has what it wrote."""


def skopeo(command: str, *arguments: str, timeout: float = 120.0) -> str:
    both_sides = ("--src-tls-verify=false", "--dest-tls-verify=false")
    plain = {"copy": both_sides, "sync": both_sides, "manifest-digest": (), "standalone-verify": ()}
    flags = plain.get(command, ("--tls-verify=false",))
    return _run([debian("skopeo"), command, *flags, *arguments], timeout)


def crane(*arguments: str, timeout: float = 120.0) -> str:
    return _run([pinned("crane"), "--insecure", *arguments], timeout)


def oras(*arguments: str, timeout: float = 120.0) -> str:
    """`oras copy` and its kin name both sides; every other command has one registry."""
    if arguments[0] in ("cp", "copy"):
        flags: tuple[str, ...] = ("--from-plain-http", "--to-plain-http")
    else:
        flags = ("--plain-http",)
    return _run([pinned("oras"), *arguments, *flags], timeout)


def regctl(*arguments: str, timeout: float = 120.0) -> str:
    hosts = sorted({host for argument in arguments for host in LOOPBACK.findall(argument)})
    flags = [flag for host in hosts for flag in ("--host", f"reg={host},tls=disabled")]
    return _run([pinned("regctl"), *flags, *arguments], timeout)


def _run(command: Sequence[str | Path], timeout: float) -> str:
    words = " ".join(str(word) for word in command)
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, env=_environment()
        )
    except subprocess.TimeoutExpired as late:
        raise ClientFailed(f"{words}: not done after {timeout:.0f} s") from late
    if done.returncode != 0:
        raise ClientFailed(f"{words}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


@functools.cache
def _environment() -> dict[str, str]:
    secrets = ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "REGCTL_CONFIG", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME")
    kept = {name: value for name, value in os.environ.items() if name not in secrets}
    return kept | {"HOME": _empty_home(), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


@functools.cache
def _empty_home() -> str:
    home = tempfile.mkdtemp(prefix="shipgraph-home-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    return home
