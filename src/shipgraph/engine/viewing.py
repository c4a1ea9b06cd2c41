"""Looking at what is published: status and the checklist, from the project's names."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import anyio

from shipgraph.check.channel import Names
from shipgraph.check.checklist import Expected, check_channel
from shipgraph.check.evidence import Verifiers
from shipgraph.check.row import Row, State
from shipgraph.engine.signing import rule_of, trust_of
from shipgraph.errors import ConfigurationError
from shipgraph.evidence.referrers import ReferrerVerifier
from shipgraph.oci.reference import is_loopback

if TYPE_CHECKING:
    from pathlib import Path

    from shipgraph.engine.workspace import Workspace
    from shipgraph.project.release import Release
    from shipgraph.remote.store import RemoteStore


def names(release: Release) -> Names:
    """Where the project's things are."""
    project = release.project
    return Names(
        host=release.registry,
        project=project.name,
        metadata=release.metadata_repository,
        metadata_type=project.metadata.artifact_type,
        payload=release.payload_repository,
    )


async def verify(
    release: Release,
    store: RemoteStore,
    workspace: Workspace,
    channel: str,
    payload: Path | None,
    *,
    lag: float = 0.0,
) -> list[Row]:
    """The checklist of one channel; what is broken is looked at again once the registry's ``lag`` (seconds) has passed.

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
    async with AsyncExitStack() as stack:
        anonymous = None
        if not is_loopback(store.host):
            from shipgraph.remote.store import RemoteStore

            anonymous = await stack.enter_async_context(RemoteStore(store.host, credentials=None))

        async def check() -> list[Row]:
            return await check_channel(
                store,
                names(release),
                channel,
                expected,
                verifiers=Verifiers(
                    ReferrerVerifier(store, policy),
                    ReferrerVerifier(store, policy, rule=rule_of(release, channel, store.host)),
                ),
                anonymous=anonymous,
                local_payload=payload,
            )

        rows = await check()
        if lag and any(row.state is State.BROKEN for row in rows):
            await anyio.sleep(lag)  # what was published a moment ago may not be seen yet
            rows = await check()
        return rows
