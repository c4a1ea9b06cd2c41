"""Where the programs are. One that can't be had is a failure with the remedy in it, never a reason to skip."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@functools.cache
def pinned(name: str) -> Path:
    """A tool of tools/go.mod; built now if it is not in the cache yet."""
    answer = subprocess.run([TOOLS / "install", name], stdout=subprocess.PIPE, text=True)
    if answer.returncode != 0:
        raise RuntimeError(f"`tools/install {name}` failed; what it said is above")
    return Path(answer.stdout.splitlines()[-1]) / name


@functools.cache
def debian(name: str) -> Path:
    """A program of a Debian package in tools/debian-packages.txt."""
    found = shutil.which(name)
    if found is None:
        raise RuntimeError(f"`{name}` is not installed: run tools/install-debian")
    return Path(found)


@functools.cache
def enable_arm64() -> None:
    """Make sure that linux/arm64 programs run on this machine."""
    answer = subprocess.run([TOOLS / "enable-arm64"], stderr=subprocess.PIPE, text=True)
    if answer.returncode != 0:
        raise RuntimeError(answer.stderr.strip())


def cache() -> Path:
    """shipgraph's cache directory, shared with tools/install."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shipgraph"
