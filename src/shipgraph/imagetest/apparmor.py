"""AppArmor profiles: parsed always, enforced where the kernel has AppArmor.

A runtime on a kernel without it may ignore a profile silently (Docker does), so a profile counts as enforced only if
``/proc/self/attr/current`` in the container names it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio

from shipgraph.errors import ConfigurationError, ProcessFailed
from shipgraph.process import find_tool, run

SYNTAX_ONLY: Final = "syntax-only"
ENFORCED: Final = "enforced"
LABEL: Final = "/proc/self/attr/current"
_KERNEL: Final = Path("/sys/module/apparmor/parameters/enabled")
_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class AppArmor:
    """A profile that parses: its name, its file's bytes, and whether the kernel has it loaded."""

    name: str
    raw: bytes
    loaded: bool


def kernel_has_it() -> bool:
    """Whether this kernel enforces AppArmor profiles."""
    try:
        return _KERNEL.read_text().strip() == "Y"
    except OSError:
        return False


async def check_profile(path: Path, shown: str) -> AppArmor:
    """Parse a profile, and load it where the kernel takes it.

    Raises:
        ConfigurationError: it doesn't parse.
        ToolMissing: apparmor_parser is not there.
    """
    parser = find_tool("apparmor_parser", hint="install the package apparmor")
    try:
        await run([parser, "-Q", "-K", "-T", path], timeout=_SECONDS)
        named = await run([parser, "-N", "-K", "-T", path], timeout=_SECONDS)
    except ProcessFailed as error:
        reason = error.tail.strip().splitlines()
        raise ConfigurationError(
            f"the AppArmor profile {shown} does not parse: {reason[-1] if reason else error}"
        ) from error
    names = [line for line in named.stdout.splitlines() if re.fullmatch(r"[^\s/:][^\s:]*", line)]
    if len(names) != 1:
        raise ConfigurationError(f"the AppArmor profile {shown} must define exactly one profile with a name")
    loaded = False
    if kernel_has_it() and os.geteuid() == 0:
        await run([parser, "-r", "-K", "-T", path], timeout=_SECONDS)
        loaded = True
    return AppArmor(names[0], await anyio.Path(path).read_bytes(), loaded)
