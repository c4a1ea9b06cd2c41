"""The attestation store of the repository whose workflow runs here."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from shipgraph.engine.github_api import actions_api

if TYPE_CHECKING:
    from shipgraph.evidence.bundle import Bundle

_TOKENS: Final = ("GITHUB_TOKEN", "GH_TOKEN")


class RunningRepository:
    """An ``AttestationStore``: GitHub's, for the repository of this run; the job needs ``attestations: write``."""

    def __init__(self, repository: str) -> None:
        self._repository = repository

    async def publish(self, bundle: Bundle) -> None:
        """See ``AttestationStore``."""
        from shipgraph.github.attestations import GitHubAttestations

        async with actions_api(*_TOKENS) as api:
            await GitHubAttestations(api, self._repository).publish(bundle)


def running_repository() -> RunningRepository | None:
    """That of this run; None outside of GitHub Actions."""
    repository = os.environ.get("GITHUB_REPOSITORY", "")
    return RunningRepository(repository) if os.environ.get("GITHUB_ACTIONS") == "true" and repository else None
