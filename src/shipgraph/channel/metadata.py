"""Channel metadata: the one document that names a whole release, ``channels.json``.

The tag ``<channel>`` of the metadata repository is the commit point of the channel transaction: whoever resolves a
channel through it sees one whole release, the old one or the new one.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from shipgraph.oci import media_types
from shipgraph.records.document import Document, build_document, decode

TITLE: Final = "channels.json"
LATEST: Final = "channels"
"""The tag of the metadata that was committed last, of whatever channel."""


class ImageEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One image of a release: its key in the project, its repository with the registry's host, and its digest."""

    image: str
    repository: str
    digest: str


class PayloadEntry(msgspec.Struct, frozen=True, kw_only=True):
    """The payload: ``ref`` is ``HOST/repository:version@digest``."""

    ref: str
    digest: str


class ChannelMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """A channel's release. Times are RFC 3339 in UTC; ``serial`` counts the decisions about this channel from 1."""

    channel: str
    version: str
    immutable_tag: str
    moving_tags: tuple[str, ...]
    images: tuple[ImageEntry, ...]
    payload: PayloadEntry | None
    generated_at: str
    serial: int
    commit: str
    expires_at: str


def repository_path(name: str) -> str:
    """A repository of the metadata without its host; metadata copied from another registry names that one's host."""
    first, slash, rest = name.partition("/")
    is_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
    return rest if is_host else name


def serial_tag(channel: str, serial: int) -> str:
    """The immutable tag of a channel's metadata with that serial."""
    return f"{channel}-{serial}"


def rfc3339(seconds: float) -> str:
    """A time since the epoch as RFC 3339 in UTC with whole seconds."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> datetime:
    """The inverse of ``rfc3339``.

    Raises:
        ValueError: it isn't an RFC 3339 time with an offset.
    """
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"{text!r} has no offset")
    return found.astimezone(UTC)


def expiry(seconds: float, lifetime: timedelta) -> str:
    """When metadata made at that time expires."""
    return rfc3339(seconds + lifetime.total_seconds())


def encode_metadata(metadata: ChannelMetadata, artifact_type: str, *, source: str = "") -> Document:
    """The metadata's artifact: one ``application/json`` layer titled ``channels.json``."""
    annotations = {
        media_types.ANNOTATION_CREATED: metadata.generated_at,
        media_types.ANNOTATION_VERSION: metadata.version,
        media_types.ANNOTATION_REVISION: metadata.commit,
    }
    if source:
        annotations[media_types.ANNOTATION_SOURCE] = source
    return build_document(artifact_type, metadata, title=TITLE, layer_type=media_types.JSON, annotations=annotations)


def decode_metadata(content: bytes, *, where: str) -> ChannelMetadata:
    """Read ``channels.json``.

    Raises:
        MalformedDocument: it isn't one.
    """
    return decode(content, ChannelMetadata, where=where)
