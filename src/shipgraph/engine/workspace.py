"""Where shipgraph keeps things on this machine: the folder ``.shipgraph`` beside ``shipgraph.toml``, ignored by git."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = ".shipgraph"
IGNORE: Final = "# made by shipgraph\n*\n"


@dataclass(frozen=True, slots=True)
class Workspace:
    """The folders; nothing in them is needed but to save time: the registry alone is the database."""

    root: Path

    @classmethod
    def of(cls, project_folder: Path) -> Workspace:
        """The workspace of a project's folder."""
        return cls(project_folder / FOLDER)

    @property
    def registry(self) -> Path:
        """The rehearsal's registry."""
        return self.root / "registry"

    @property
    def ghcr(self) -> Path:
        """The registry of a rehearsal with GHCR's habits."""
        return self.root / "ghcr"

    @property
    def builder(self) -> Path:
        """The builders' own state, root file systems among it."""
        return self.root / "builder"

    @property
    def logs(self) -> Path:
        """A log file for each image and platform."""
        return self.root / "logs"

    @property
    def jobs(self) -> Path:
        """Registries of running jobs, one folder each."""
        return self.root / "jobs"

    @property
    def payload(self) -> Path:
        """The payload as it was packed last."""
        return self.root / "payload"

    def prepare(self) -> None:
        """Make the folder, and keep it out of git even where the project's own ignore file doesn't."""
        self.root.mkdir(parents=True, exist_ok=True)
        ignore = self.root / ".gitignore"
        if not ignore.exists():
            ignore.write_text(IGNORE)


def user_cache() -> Path | None:
    """Where a user's programs cache what all projects can share (``$XDG_CACHE_HOME``); None where there is no home."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    if Path(named).is_absolute():
        return Path(named) / "shipgraph"
    try:
        return Path.home() / ".cache" / "shipgraph"
    except RuntimeError:
        return None
