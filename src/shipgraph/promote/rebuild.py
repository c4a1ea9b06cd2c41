"""What a lost journal can be built anew from: the names and the contents of immutable tags. Values in, values out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shipgraph.channel.journal import HISTORY, ChannelHead, HeadRelease

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shipgraph.channel.journal import Mark
    from shipgraph.channel.metadata import ChannelMetadata
    from shipgraph.oci.digest import Digest


@dataclass(frozen=True, slots=True)
class Found:
    """Metadata under a tag ``<channel>-<serial>``."""

    digest: Digest
    metadata: ChannelMetadata


def numbers(tags: Sequence[str]) -> list[int]:
    """The numbers of the journal's entries that have a tag of their own."""
    return [int(match[1]) for tag in tags if (match := re.fullmatch(r"journal-([1-9][0-9]*)", tag, re.ASCII))]


def serials(tags: Sequence[str], channel: str) -> list[int]:
    """The serials of a channel's metadata, newest first."""
    pattern = re.compile(rf"{re.escape(channel)}-([1-9][0-9]*)", re.ASCII)
    return sorted((int(match[1]) for tag in tags if (match := pattern.fullmatch(tag))), reverse=True)


def rebuild_head(found: Sequence[Found], current: Digest | None, high_water: Mark | None) -> ChannelHead:
    """A channel's head from its metadata, newest first.

    ``current`` is what the channel's tag shows: metadata with a higher serial belongs to transactions that were taken
    back, and burns its serial only. What was rolled back can't be told from what was replaced.
    """
    serial = max((one.metadata.serial for one in found), default=0)
    releases: list[HeadRelease] = []
    for one in found:
        if not releases and one.digest != current:
            continue
        release = head_release(one)
        if all((r.immutable_tag, r.version) != (release.immutable_tag, release.version) for r in releases):
            releases.append(release)
    return ChannelHead(serial=serial, high_water=high_water, releases=tuple(releases[:HISTORY]))


def head_release(found: Found) -> HeadRelease:
    """What the journal remembers of a release, from its metadata."""
    metadata = found.metadata
    match = re.search(r"-r([0-9]+)\Z", metadata.immutable_tag, re.ASCII)
    return HeadRelease(
        immutable_tag=metadata.immutable_tag,
        version=metadata.version,
        commit=metadata.commit,
        revision=int(match[1]) if match else 1,
        serial=metadata.serial,
        metadata=str(found.digest),
        settled_at=metadata.generated_at,
    )
