"""The consumer's commands: from the project's file to a channel that may be believed, and its payload installed."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import anyio

from shipgraph.consume.channel import Believed, read_believed
from shipgraph.consume.install import Installed, install
from shipgraph.consume.memory import SerialMemory
from shipgraph.engine.opening import open_target, open_view
from shipgraph.engine.signing import rule_of, trust_of
from shipgraph.engine.workspace import Workspace
from shipgraph.errors import ConfigurationError
from shipgraph.evidence.referrers import ReferrerVerifier

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from shipgraph.consume.channel import ConsumerStore
    from shipgraph.evidence.trust import TrustPolicy
    from shipgraph.project.release import Release

SEEN = "seen.json"


@dataclass(frozen=True, slots=True)
class Consumer:
    """A channel that was believed, and what it takes to go on."""

    view: Release
    store: ConsumerStore
    policy: TrustPolicy
    workspace: Workspace
    believed: Believed


@asynccontextmanager
async def open_channel(folder: Path, registry: str | None, root: Path | None, channel: str) -> AsyncIterator[Consumer]:
    """A channel of the project in a folder, verified and remembered.

    Raises:
        ConfigurationError: the project has no such channel.
        Refused: it can't be believed.
        RegistryError
    """
    view = await open_view(folder, registry, root)
    workspace = Workspace.of(view.project.folder)
    workspace.prepare()
    async with open_target(view.registry, view.project, root) as (store, timing, _):
        policy = trust_of(view, workspace, store.host)
        rule = rule_of(view, channel, store.host)
        believed = await read_believed(
            store,
            channel,
            repository=view.metadata_repository,
            artifact_type=view.project.metadata.artifact_type,
            verifier=ReferrerVerifier(store, policy, rule=rule),
            memory=SerialMemory(
                workspace.root / SEEN, view.registry if root is None else f"folder {await anyio.Path(root).resolve()}"
            ),
            now=datetime.now(UTC),
            lag=timing.lag,
            sleep=anyio.sleep,
        )
        yield Consumer(view, store, policy, workspace, believed)


async def install_payload(consumer: Consumer, folder: Path | None) -> Installed:
    """Install a channel's payload, by default below the workspace.

    Raises:
        ConfigurationError: the project has no payload.
        Refused, Conflict, RegistryError
    """
    view = consumer.view
    if view.payload_repository is None:
        raise ConfigurationError("the project has no [payload]", file="shipgraph.toml", key="payload")
    place = folder or consumer.workspace.root / "installed" / consumer.believed.metadata.channel
    return await install(
        consumer.store,
        consumer.believed,
        place,
        payload_repository=view.payload_repository,
        verifier=ReferrerVerifier(consumer.store, consumer.policy),
        required=view.project.evidence,
    )
