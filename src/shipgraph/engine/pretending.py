"""A folder's registry that behaves as GHCR does, and who we are to it: the rehearsal's workflow.

What GHCR knows beyond bytes is kept in the folder, so a folder that was served with its habits once is served with them
by every command: its tags are the ledger's, and who wrote past it would be overruled.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shipgraph.engine.github_api import source_repository

if TYPE_CHECKING:
    from pathlib import Path

    from shipgraph.embedded.ghcr.state import Ghcr
    from shipgraph.project.release import Release
    from shipgraph.remote.credentials import Credentials


@dataclass(frozen=True, slots=True)
class Pretence:
    """GHCR's habits for a rehearsal.

    ``repository``: ``OWNER/NAME`` of the public repository whose workflow releases. ``lag``: seconds for which a tag
    that was written may read as it was before.
    """

    repository: str
    lag: float = 0.0

    @classmethod
    def of(cls, release: Release, *, lag: float = 0.0) -> Pretence:
        """The workflow of the release's own repository, as far as that may write to its namespace."""
        owner = release.namespace.partition("/")[0]
        named = source_repository(release.source) or ""
        if named.partition("/")[0].lower() != owner:
            named = f"{owner}/{release.project.name}"  # a fork's, or nobody's yet: whoever owns the namespace releases
        return cls(named, lag)


async def pretend(root: Path, pretence: Pretence | None) -> tuple[Ghcr, Credentials] | None:
    """GHCR's mode for a folder, and the credentials of its workflow; None where the folder is a plain registry.

    Args:
        pretence: None: as the folder was used before, without lag.
    """
    from shipgraph.embedded.ghcr.accounts import Accounts, Workflow
    from shipgraph.embedded.ghcr.habits import Habits
    from shipgraph.embedded.ghcr.ledger import FILE
    from shipgraph.embedded.ghcr.state import Ghcr
    from shipgraph.remote.credentials import Credentials
    from shipgraph.store.disk.repository import STATE

    if pretence is None and not (root / STATE / FILE).exists():
        return None
    token = f"ghs_{secrets.token_hex(16)}"
    found: Accounts = Accounts()
    mode = Ghcr(root / STATE, lambda: found, habits=Habits(lag=pretence.lag if pretence else 0.0))
    known = [pretence.repository] if pretence else await mode.ledger.repositories()
    repository = known[0] if known else "rehearsal/rehearsal"
    found = Accounts(
        {token: Workflow(repository, actions="write")},
        {repository: "public"},
        {repository.partition("/")[0]: "organization"},
    )
    return mode, Credentials("rehearsal", token, origin="the rehearsal")
