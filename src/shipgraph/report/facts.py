"""What a page about a published release shows, as values; ``engine`` gathers them from the registry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Blob:
    """A layer or file: ``title`` is its name where it has one, ``size`` in bytes as it is in the registry."""

    digest: str
    size: int
    title: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """How one kind of evidence about one subject stands.

    ``signer`` is who signed what counts, empty where nothing does; ``reasons`` is why what is there doesn't;
    ``details`` is what the statement says, in words.
    """

    kind: str
    signer: str = ""
    reasons: tuple[str, ...] = ()
    details: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Platform:
    """One platform of an image."""

    name: str
    digest: str
    config: int
    layers: tuple[Blob, ...]
    evidence: tuple[Evidence, ...] = ()
    sbom: str = ""

    @property
    def size(self) -> int:
        """Bytes that a machine without any of its layers fetches."""
        return self.config + sum({layer.digest: layer.size for layer in self.layers}.values())


@dataclass(frozen=True, slots=True)
class Image:
    """An image. ``parent`` is another one's key, ``built_on`` says what stands below an image without a parent."""

    key: str
    repository: str
    digest: str
    parent: str | None
    platforms: tuple[Platform, ...]
    evidence: tuple[Evidence, ...] = ()
    built_on: str = ""


@dataclass(frozen=True, slots=True)
class Payload:
    """The payload: its reference with digest, and what it holds."""

    reference: str
    digest: str
    blobs: tuple[Blob, ...]
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class Metadata:
    """The channel's metadata. Times are RFC 3339 in UTC."""

    repository: str
    digest: str
    serial: int
    generated_at: str
    expires_at: str
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class Past:
    """A release of the channel's history; ``state`` is ``now``, ``before`` or ``rolled back``."""

    state: str
    serial: int
    version: str
    immutable_tag: str
    commit: str
    settled_at: str


@dataclass(frozen=True, slots=True)
class Check:
    """One row of the checklist; ``state`` as ``verify`` says it."""

    name: str
    state: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class CleanUp:
    """The last clean-up of the registry: how it ended, and how many versions became what."""

    outcome: str
    at: str
    by: str
    counts: Mapping[str, int]
    kept: Mapping[str, int]
    left: int = 0
    freed: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ReleaseFacts:
    """A channel's release, as it is at ``now``. ``source`` is the https address of the repository, or empty."""

    project: str
    registry: str
    channel: str
    version: str
    immutable_tag: str
    commit: str
    moving_tags: tuple[str, ...]
    images: tuple[Image, ...]
    payload: Payload | None
    metadata: Metadata
    now: datetime
    required: tuple[str, ...] = ()
    source: str = ""
    history: tuple[Past, ...] = ()
    hold: str = ""
    checks: tuple[Check, ...] = ()
    clean_up: CleanUp | None = None
