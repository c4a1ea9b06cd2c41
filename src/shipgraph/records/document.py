"""A JSON document as an OCI artifact: one layer, its media type the artifact's type unless said otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import msgspec

from shipgraph.errors import MalformedDocument
from shipgraph.oci import media_types
from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.manifest import EMPTY_CONFIG, EMPTY_DESCRIPTOR, ImageManifest, build_artifact, encode_json
from shipgraph.store.content import from_bytes, read_blob

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shipgraph.oci.digest import Digest
    from shipgraph.store.protocols import Fetcher, Pusher

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Document:
    """A document's manifest and the content of its only layer."""

    manifest: ImageManifest
    content: bytes


def build_document(
    artifact_type: str,
    value: object,
    *,
    title: str,
    layer_type: str | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Document:
    """The artifact of one JSON value: the same value and annotations make the same bytes."""
    content = encode_json(value)
    layer = Descriptor.of(layer_type or artifact_type, content, annotations={media_types.ANNOTATION_TITLE: title})
    return Document(build_artifact(artifact_type, [layer], annotations=annotations), content)


async def push_document(store: Pusher, repository: str, document: Document) -> None:
    """Store the document's blobs and its manifest by digest; no tag moves."""
    await store.push_blob(repository, EMPTY_DESCRIPTOR, from_bytes(EMPTY_CONFIG))
    await store.push_blob(repository, document.manifest.layers[0], from_bytes(document.content))
    await store.push_manifest(repository, document.manifest)


async def read_document(store: Fetcher, repository: str, digest: Digest, artifact_type: str) -> Document:
    """Read a document by digest.

    Raises:
        MalformedDocument: the manifest is not such an artifact with one layer.
        NotFound, DigestMismatch, RegistryError
    """
    manifest = await store.manifest(repository, digest)
    where = f"{repository}@{digest}"
    if not isinstance(manifest, ImageManifest) or manifest.artifact_type != artifact_type or len(manifest.layers) != 1:
        raise MalformedDocument(f"{where} is not an artifact of type {artifact_type} with one layer")
    return Document(manifest, await read_blob(store, repository, manifest.layers[0]))


def decode(content: bytes, kind: type[T], *, where: str) -> T:
    """A document's JSON as a checked value.

    Raises:
        MalformedDocument: the JSON doesn't fit the type; the message names the member.
    """
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise MalformedDocument(f"{where}: {error}") from error
