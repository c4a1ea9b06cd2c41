"""What a builder's end means: its log and exit status as one of shipgraph's errors."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from shipgraph.build.emulation import no_emulator
from shipgraph.errors import BuildFailed, DiskFull, ProcessFailed, ShipgraphError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FULL: Final = ("no space left on device", "disk quota exceeded", "enospc", "507 insufficient storage")
_FOREIGN: Final = "exec format error"
_LINES: Final = 15
_REMEDY: Final = "the whole output is in {log}; fix the cause and run the same command again: finished images stay"


@contextmanager
def builder_failures(what: str, *, log: Path, hint: str = "") -> Iterator[None]:
    """Turn the end of a builder's process into ``BuildFailed``, ``DiskFull``, or ``ToolMissing`` for an emulator.

    ``what`` names the work (``containai-base for linux/amd64 failed``); ``log`` is the file with its output.
    """
    try:
        yield
    except ProcessFailed as error:
        raise _explained(error, what, log, hint) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise disk_full(what, log) from error
    except BaseExceptionGroup as group:
        # the log is written by tasks of a group: a full disk under it comes out wrapped
        full, _ = group.split(lambda one: isinstance(one, OSError) and one.errno in (errno.ENOSPC, errno.EDQUOT))
        if full is None:
            raise
        raise disk_full(what, log) from group


def disk_full(what: str, place: Path) -> DiskFull:
    """The error for a file system without room; ``place`` is a path on or near it."""
    return DiskFull(
        f"{what}: no space left on the disk (last file written: {place})",
        hint="free some room, or move shipgraph's state to a larger disk; then run the same command again",
    )


def is_full(text: str) -> bool:
    """Whether a tool's output says that there is no room left."""
    lower = text.lower()
    return any(sign in lower for sign in _FULL)


def _explained(error: ProcessFailed, what: str, log: Path, hint: str) -> ShipgraphError:
    if is_full(error.tail):
        return disk_full(what, log)
    if _FOREIGN in error.tail.lower():
        return no_emulator(what)
    last = "\n".join(f"  {line}" for line in error.tail.splitlines()[-_LINES:] if line.strip())
    text = f"{what}: {error}" + (f"; its last lines:\n{last}" if last else "")
    return BuildFailed(text, hint=hint or _REMEDY.format(log=log), log=str(log))
