"""Channels that expire soon, refreshed one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final

from shipgraph.channel.metadata import parse_time
from shipgraph.check.channel import read_channel
from shipgraph.engine.viewing import names
from shipgraph.errors import ContentError, ShipgraphError
from shipgraph.events import Note
from shipgraph.tasks import gather

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shipgraph.check.channel import CheckStore
    from shipgraph.engine.recovering import Recovery
    from shipgraph.events import Emit
    from shipgraph.project.release import Release
    from shipgraph.promote.protocol import Settled, Unchanged

THIRD: Final = 3


@dataclass(frozen=True, slots=True)
class Expiring:
    """A channel whose metadata expires soon, and when; empty where it can't be read, which its refresh will explain."""

    channel: str
    expires_at: str


async def find_expiring(view: Release, store: CheckStore) -> list[Expiring]:
    """The published channels with less than a third of a life left: ten days where metadata lives for thirty.

    Raises:
        RegistryError
    """
    project = view.project
    limit = datetime.fromtimestamp(await store.now() + project.metadata.expires_after / THIRD, UTC)

    async def look(channel: str) -> list[Expiring]:
        try:
            metadata = (await read_channel(store, names(view), channel, None)).metadata
            if metadata is None or parse_time(metadata.expires_at) > limit:
                return []
        except ContentError:
            return [Expiring(channel, "")]
        return [Expiring(channel, metadata.expires_at)]

    return [one for some in await gather([partial(look, channel) for channel in project.channels]) for one in some]


async def refresh_all(recovery: Recovery, channels: Sequence[str], *, emit: Emit) -> dict[str, Settled | Unchanged]:
    """Refresh channels. One that can't be refreshed doesn't keep the others from it; its error comes at the end.

    Raises:
        ShipgraphError: see ``Recovery.refresh``; of several, the first.
    """
    done: dict[str, Settled | Unchanged] = {}
    first: ShipgraphError | None = None
    for channel in channels:
        try:
            done[channel] = await recovery.refresh(channel)
        except ShipgraphError as error:
            emit(Note(f"channel {channel} was not refreshed: {error}", warning=True))
            first = first or error
    if first is not None:
        raise first
    return done
