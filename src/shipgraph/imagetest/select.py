"""Which engines run images here: docker, podman, else an OCI runtime; the first that works is taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shipgraph.errors import ConfigurationError
from shipgraph.imagetest.engine import Engine, EngineBroken
from shipgraph.imagetest.programs import ProgramEngine
from shipgraph.imagetest.runtime import RuntimeEngine

if TYPE_CHECKING:
    from shipgraph.imagetest.snapshots import Blobs, Snapshots

NAMES: Final = ("docker", "podman", "runc", "crun")


async def find_engines(
    snapshots: Snapshots, store: Blobs, *, choice: str = "auto"
) -> tuple[tuple[Engine, ...], tuple[str, ...]]:
    """The engines that answer here, in the order of preference, and why others don't.

    Args:
        choice: only that one.

    Raises:
        ConfigurationError: there is no engine of that name.
    """
    if choice not in ("auto", *NAMES):
        raise ConfigurationError(f"there is no engine {choice!r}", allowed=", ".join(("auto", *NAMES)))
    found: list[Engine] = []
    problems: list[str] = []
    for name in NAMES if choice == "auto" else (choice,):
        try:
            if name in ("docker", "podman"):
                found.append(await ProgramEngine.find(name))
            else:
                found.append(await RuntimeEngine.find(name, snapshots, store))
        except EngineBroken as error:
            problems.append(str(error))
    return tuple(found), tuple(problems)
