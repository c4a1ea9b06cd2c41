"""Descriptors: image specification 1.1, descriptor.md."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from shipgraph.errors import MalformedDocument
from shipgraph.oci.digest import Digest
from shipgraph.oci.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Mapping

_EMPTY: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What some content is: media type, digest, and size in bytes."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=lambda: _EMPTY, hash=False)
    artifact_type: str | None = None
    platform: Platform | None = None

    @classmethod
    def of(cls, media_type: str, content: bytes, *, annotations: Mapping[str, str] = _EMPTY) -> Descriptor:
        """The descriptor of some bytes."""
        return cls(media_type, Digest.of(content), len(content), annotations)

    @classmethod
    def from_json(cls, value: Any, *, where: str) -> Descriptor:
        """Read a descriptor out of a parsed document; unknown members are ignored, as the specification asks.

        Raises:
            MalformedDocument: a required member is missing or of the wrong kind.
        """
        if not isinstance(value, dict):
            raise MalformedDocument(f"{where} is not a descriptor object")
        media_type, digest, size = value.get("mediaType"), value.get("digest"), value.get("size")
        if not isinstance(media_type, str) or not media_type or not isinstance(digest, str):
            raise MalformedDocument(f"{where} lacks mediaType or digest")
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 63:
            raise MalformedDocument(f"{where} has no valid size")
        annotations = value.get("annotations") or {}
        if not isinstance(annotations, dict) or not all(isinstance(v, str) for v in annotations.values()):
            raise MalformedDocument(f"{where} has annotations that are not strings")
        artifact_type = value.get("artifactType")
        if artifact_type is not None and not isinstance(artifact_type, str):
            raise MalformedDocument(f"{where} has an artifactType that is not a string")
        return cls(
            media_type,
            Digest.parse(digest),
            size,
            MappingProxyType(annotations),
            artifact_type,
            _platform(value, where),
        )

    def to_json(self) -> dict[str, Any]:
        """The descriptor as JSON members, in the specification's order, absent ones left out."""
        out: dict[str, Any] = {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size}
        if self.annotations:
            out["annotations"] = dict(sorted(self.annotations.items()))
        if self.platform is not None:
            platform = {"architecture": self.platform.architecture, "os": self.platform.os}
            if self.platform.variant:
                platform["variant"] = self.platform.variant
            out["platform"] = platform
        if self.artifact_type is not None:
            out["artifactType"] = self.artifact_type
        return out


def _platform(value: dict[str, Any], where: str) -> Platform | None:
    found = value.get("platform")
    if found is None:
        return None
    if (
        not isinstance(found, dict)
        or not isinstance(found.get("os"), str)
        or not isinstance(found.get("architecture"), str)
    ):
        raise MalformedDocument(f"{where} has a malformed platform")
    variant = found.get("variant")
    if found["architecture"] == "arm64" and variant == "v8":
        variant = None
    return Platform(found["os"], found["architecture"], variant if isinstance(variant, str) and variant else None)
