"""The checklist of a published channel, with everything that this machine can ask."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import anyio

from shipgraph.check.checklist import Expected, Sources, check_channel
from shipgraph.check.evidence import Verifiers
from shipgraph.check.row import Row, State
from shipgraph.engine.github_api import actions_api, source_repository
from shipgraph.engine.signing import rule_of, trust_of
from shipgraph.engine.viewing import names
from shipgraph.engine.visibility import NotAsked, channel_subjects, prove_public
from shipgraph.errors import ConfigurationError, RegistryError
from shipgraph.evidence.referrers import ReferrerVerifier

if TYPE_CHECKING:
    from pathlib import Path

    from shipgraph.channel.journal import Owner
    from shipgraph.check.history import AskRun
    from shipgraph.engine.workspace import Workspace
    from shipgraph.events import Emit
    from shipgraph.github.runs import RunAttempt
    from shipgraph.project.release import Release
    from shipgraph.remote.store import RemoteStore


async def verify(
    release: Release,
    store: RemoteStore,
    workspace: Workspace,
    channel: str,
    payload: Path | None,
    *,
    lag: float = 0.0,
    emit: Emit,
) -> list[Row]:
    """The checklist of one channel; what is broken is looked at again once the registry's ``lag`` (seconds) has passed.

    Args:
        payload: an archive on this disk that should be the channel's payload.

    Raises:
        ConfigurationError: the project has no such channel.
        RegistryError: the registry gives no answer.
    """
    project = release.project
    if channel not in project.channels:
        raise ConfigurationError(f"there is no channel {channel!r}", allowed=", ".join(project.channels))
    expected = Expected(
        repositories=tuple(release.repository(image.key) for image in project.graph),
        platforms={}
        if release.rehearsal
        else {release.repository(image.key): release.image_platforms(image.key) for image in project.graph},
        required=frozenset(project.evidence),
    )
    policy = trust_of(release, workspace, store.host)

    async def public() -> Row | list[str]:
        proof = await prove_public(release, store, await channel_subjects(release, store, channel), lag=lag, emit=emit)
        if isinstance(proof, NotAsked):
            return Row("public", State.NOT_APPLICABLE, proof.reason)
        return list(proof.problems)

    async def check() -> list[Row]:
        sources = Sources(
            Verifiers(
                ReferrerVerifier(store, policy),
                ReferrerVerifier(store, policy, rule=rule_of(release, channel, store.host)),
            ),
            public=public,
            run=run_asker(release.source),
            local_payload=payload,
        )
        return await check_channel(store, names(release), channel, expected, sources=sources)

    rows = await check()
    if lag and any(row.state is State.BROKEN for row in rows):
        await anyio.sleep(lag)  # what was published a moment ago may not be seen yet
        rows = await check()
    return rows


def run_asker(source: str) -> AskRun | None:
    """Asks GitHub about runs of a source repository; None where the source is not on the forge that is asked."""
    server = (os.environ.get("GITHUB_SERVER_URL") or "https://github.com").rstrip("/")
    repository = source_repository(source) if source.startswith(f"{server}/") else None
    if repository is None:
        return None

    async def ask(owner: Owner) -> RunAttempt | None:
        from shipgraph.github.runs import find_attempt
        from shipgraph.remote.retry import RetryPolicy

        try:
            async with actions_api("GITHUB_TOKEN", "GH_TOKEN", retries=RetryPolicy(attempts=2, patience=5)) as api:
                return await find_attempt(api, repository, int(owner.run), owner.attempt)
        except RegistryError:
            return None  # no answer is no source

    return ask
