"""Where things are in the repository that the workflow runs in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from shipgraph.errors import ConfigurationError
from shipgraph.workflow.pins import Pin

_ACTION: Final = re.compile(r"([^@]+)@([0-9a-f]{40})")
_FOLDER: Final = re.compile(r"[A-Za-z0-9_./+-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Place:
    """The project's folder, POSIX, relative to the repository's root and empty for the root itself.

    ``own_action`` is the folder of shipgraph's action in the repository, likewise, or None where it is another's;
    ``action`` that one.
    """

    folder: str = ""
    own_action: str | None = None
    action: Pin | None = None

    def __post_init__(self) -> None:
        if not _FOLDER.fullmatch(self.folder) or self.folder.startswith("-"):
            raise ConfigurationError(
                f"the project's folder {self.folder[:100]!r} can't stand in a workflow's script",
                allowed="letters, digits, and . _ + - / in the folder's path within the repository",
            )

    @property
    def uses(self) -> str:
        """The action as ``uses`` names it."""
        if self.own_action is not None:
            return f"./{self.own_action}" if self.own_action else "./"
        assert self.action is not None  # noqa: S101 (one of the two is given: see ``find_place``)
        return self.action.uses

    @property
    def option(self) -> str:
        """What commands need to find the project; nothing at the root."""
        return f" --project {self.folder}" if self.folder else ""


def find_place(folder: str, action: str | None, version: str, *, is_shipgraph: bool, file: str = "") -> Place:
    """Where a project and its action are.

    Args:
        folder: the project's, relative to the repository's root.
        action: what the project's file says.
        is_shipgraph: whether shipgraph's action is at the repository's root.
        file: the project's, for messages.

    Raises:
        ConfigurationError: the file names no action, and the repository has none.
    """
    if folder == ".":
        folder = ""
    if action is None:
        if is_shipgraph:
            return Place(folder, own_action="")
        raise ConfigurationError(
            "the workflow needs to know where shipgraph's action is",
            file=file,
            key="workflow.action",
            allowed="OWNER/REPOSITORY@COMMIT with 40 hexadecimal digits, or ./FOLDER",
            hint="set action in [workflow] to the commit of the release you want, and action-version to its name",
        )
    if found := _ACTION.fullmatch(action):
        return Place(folder, action=Pin(found[1], found[2], version))
    return Place(folder, own_action=action.removeprefix(".").strip("/"))
