"""Image manifests and indexes: image specification 1.1, manifest.md and image-index.md.

A manifest *is* its bytes: the parsed view stands beside them, and nothing is ever serialised a second time.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import msgspec

from shipgraph.errors import DigestMismatch, MalformedDocument
from shipgraph.oci import media_types
from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_MANIFEST: Final = 4 << 20
"""Bytes; registries are asked to accept 4 MiB (distribution specification 1.1, § Pushing Manifests)."""

EMPTY_CONFIG: Final = b"{}"
EMPTY_DESCRIPTOR: Final = Descriptor.of(media_types.EMPTY, EMPTY_CONFIG)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What image manifests and indexes share: exact bytes, media type, digest, and what they refer to."""

    raw: bytes
    media_type: str
    digest: Digest
    artifact_type: str | None
    annotations: Mapping[str, str]
    subject: Descriptor | None

    @property
    def size(self) -> int:
        """Length of the exact bytes."""
        return len(self.raw)

    @property
    def descriptor(self) -> Descriptor:
        """A plain descriptor of this manifest."""
        return Descriptor(self.media_type, self.digest, self.size)


@dataclass(frozen=True, slots=True)
class ImageManifest(Manifest):
    """One platform's image, or an artifact."""

    config: Descriptor
    layers: tuple[Descriptor, ...]

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """The configuration and the layers, each digest once, in the order of the manifest."""
        return tuple({blob.digest: blob for blob in (self.config, *self.layers)}.values())


@dataclass(frozen=True, slots=True)
class ImageIndex(Manifest):
    """A list of manifests, usually one for each platform."""

    manifests: tuple[Descriptor, ...]


def parse_manifest(
    raw: bytes, *, media_type: str | None = None, digest: Digest | None = None, where: str = "manifest"
) -> ImageManifest | ImageIndex:
    """Parse a manifest or index out of its exact bytes.

    Args:
        media_type: what the transport says it is; the document's own mediaType must agree.
        digest: what it must hash to; its own sha256 where None.
        where: the manifest's name in error messages.

    Raises:
        DigestMismatch: the bytes hash to something else.
        MalformedDocument: too big, not JSON, or not the manifest that it claims to be.
    """
    if len(raw) > MAX_MANIFEST:
        raise MalformedDocument(f"{where} has {len(raw)} bytes, more than the {MAX_MANIFEST} a manifest may have")
    got = Digest.of(raw) if digest is None else Digest(digest.algorithm, _hash(digest, raw))
    if digest is not None and got != digest:
        raise DigestMismatch(where, want=str(digest), got=str(got))
    try:
        document = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise MalformedDocument(f"{where} is not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("schemaVersion") != 2:
        raise MalformedDocument(f"{where} is not a manifest with schemaVersion 2")
    kind = _kind(document, media_type, where)
    annotations = document.get("annotations") or {}
    if not isinstance(annotations, dict) or not all(isinstance(v, str) for v in annotations.values()):
        raise MalformedDocument(f"{where} has annotations that are not strings")
    subject = document.get("subject")
    artifact_type = document.get("artifactType")
    if artifact_type is not None and not isinstance(artifact_type, str):
        raise MalformedDocument(f"{where} has an artifactType that is not a string")
    shared: dict[str, Any] = {
        "raw": raw,
        "media_type": kind,
        "digest": got,
        "annotations": MappingProxyType(annotations),
        "subject": None if subject is None else Descriptor.from_json(subject, where=f"{where}: subject"),
    }
    if kind in media_types.INDEXES:
        manifests = _descriptors(document.get("manifests"), f"{where}: manifests")
        return ImageIndex(**shared, artifact_type=artifact_type or None, manifests=manifests)
    config = Descriptor.from_json(document.get("config"), where=f"{where}: config")
    if not artifact_type and config.media_type not in {media_types.IMAGE_CONFIG, media_types.EMPTY}:
        artifact_type = config.media_type
    layers = _descriptors(document.get("layers"), f"{where}: layers")
    return ImageManifest(**shared, artifact_type=artifact_type or None, config=config, layers=layers)


def _hash(digest: Digest, raw: bytes) -> str:
    hasher = digest.hasher()
    hasher.update(raw)
    return hasher.hexdigest()


def _kind(document: dict[str, Any], media_type: str | None, where: str) -> str:
    """The manifest's media type; a document that could be read as both kinds is refused (CVE-2021-41190)."""
    own = document.get("mediaType")
    if own is not None and not isinstance(own, str):
        raise MalformedDocument(f"{where} has a mediaType that is not a string")
    if own and media_type and own != media_type:
        raise MalformedDocument(f"{where} says that it is {own}, but came as {media_type}")
    kind = own or media_type or (media_types.IMAGE_INDEX if "manifests" in document else media_types.IMAGE_MANIFEST)
    if kind not in media_types.INDEXES | media_types.MANIFESTS:
        raise MalformedDocument(f"{where} is of type {kind}, which is neither an image manifest nor an index")
    foreign = {"config", "layers"} if kind in media_types.INDEXES else {"manifests"}
    if foreign & document.keys():
        raise MalformedDocument(f"{where} mixes the members of an image manifest and an index")
    return kind


def _descriptors(value: Any, where: str) -> tuple[Descriptor, ...]:
    if not isinstance(value, list):
        raise MalformedDocument(f"{where} is not a list")
    return tuple(Descriptor.from_json(item, where=f"{where}[{position}]") for position, item in enumerate(value))


def encode_json(document: Any) -> bytes:
    """The one way in which shipgraph writes JSON: UTF-8, two spaces, members in the order given, a final newline."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def build_artifact(
    artifact_type: str,
    layers: Sequence[Descriptor],
    *,
    annotations: Mapping[str, str] | None = None,
    subject: Descriptor | None = None,
) -> ImageManifest:
    """An artifact manifest with the empty configuration (manifest.md § Guidelines for Artifact Usage)."""
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": media_types.IMAGE_MANIFEST,
        "artifactType": artifact_type,
        "config": EMPTY_DESCRIPTOR.to_json(),
        "layers": [layer.to_json() for layer in layers or (EMPTY_DESCRIPTOR,)],
    }
    if subject is not None:
        document["subject"] = Descriptor(subject.media_type, subject.digest, subject.size).to_json()
    if annotations:
        document["annotations"] = dict(sorted(annotations.items()))
    manifest = parse_manifest(encode_json(document))
    assert isinstance(manifest, ImageManifest)  # noqa: S101 (by its mediaType)
    return manifest


def build_index(manifests: Sequence[Descriptor], *, annotations: Mapping[str, str] | None = None) -> ImageIndex:
    """An index over manifests, in the order given: the same descriptors and annotations make the same bytes."""
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": media_types.IMAGE_INDEX,
        "manifests": [descriptor.to_json() for descriptor in manifests],
    }
    if annotations:
        document["annotations"] = dict(sorted(annotations.items()))
    index = parse_manifest(encode_json(document))
    assert isinstance(index, ImageIndex)  # noqa: S101 (by its mediaType)
    return index
