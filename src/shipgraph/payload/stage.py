"""Pack the payload and publish it under its immutable tags."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import anyio
import anyio.to_thread

from shipgraph.errors import ImmutableTagConflict, MalformedDocument, Refused
from shipgraph.oci import media_types
from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.manifest import EMPTY_CONFIG, EMPTY_DESCRIPTOR, ImageManifest, build_artifact
from shipgraph.payload.files import PayloadImage, read_members, select_files
from shipgraph.records.claims import TagClaimer, claim_tag
from shipgraph.store.content import from_bytes, from_file
from shipgraph.store.protocols import BlobSource, Fetcher, Prober, Pusher

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from shipgraph.project.release import Release
    from shipgraph.project.spec import PayloadSpec


class PayloadStore(Fetcher, Prober, Pusher, TagClaimer, Protocol):
    """What publishing a payload needs of a store."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A packed payload: the archive on disk, its SBOM, and the descriptors of both."""

    archive: Path
    layer: Descriptor
    sbom: bytes
    sbom_layer: Descriptor


@dataclass(frozen=True, slots=True)
class PublishedPayload:
    """Where a payload is: the manifest of its version, and whether anything had to be uploaded."""

    manifest: ImageManifest
    uploaded: bool


async def pack_payload(
    release: Release, spec: PayloadSpec, images: Sequence[PayloadImage], listed: Iterable[str], folder: Path
) -> Packed:
    """Make the archive and the SBOM in ``folder``; the same commit and images make the same bytes.

    Raises:
        ConfigurationError: a pattern matches nothing or something that can't be shipped.
        DigestMismatch: a file changed while it was being packed.
    """
    # Imported here: only this stage compresses.
    from shipgraph.payload.archive import pack
    from shipgraph.payload.sbom import build_sbom

    files = select_files(release.project.folder, spec.files, listed)
    archive = folder / f"{spec.repository.rpartition('/')[2]}.tar.gz"

    # another run in this folder may be reading the archive: it is replaced as a whole, and by the same bytes
    unfinished = archive.with_name(f".{archive.name}.{secrets.token_hex(4)}")

    def work() -> tuple[Descriptor, bytes]:
        members = read_members(files, images)
        try:
            layer = pack(members, unfinished, media_type=spec.layer_type, mtime=release.commit_time)
            unfinished.replace(archive)
        finally:
            unfinished.unlink(missing_ok=True)
        name = spec.repository.rpartition("/")[2]
        return layer, build_sbom(name, members, images, archive=str(layer.digest), timestamp=release.commit_time)

    layer, sbom = await anyio.to_thread.run_sync(work)
    return Packed(archive, layer, sbom, Descriptor.of(media_types.CYCLONEDX_JSON, sbom))


def payload_manifest(
    spec: PayloadSpec, layer: Descriptor, sbom: Descriptor, *, version: str, created: str, source: str
) -> ImageManifest:
    """The payload's manifest under a version: the blobs are the same for all, only titles and annotations differ."""
    name = spec.repository.rpartition("/")[2]
    layers = [
        Descriptor(blob.media_type, blob.digest, blob.size, {media_types.ANNOTATION_TITLE: f"{name}-{version}{ending}"})
        for blob, ending in ((layer, ".tar.gz"), (sbom, ".cdx.json"))
    ]
    annotations = {media_types.ANNOTATION_CREATED: created, media_types.ANNOTATION_VERSION: version}
    if source:
        annotations[media_types.ANNOTATION_SOURCE] = source
    return build_artifact(spec.artifact_type, layers, annotations=annotations)


async def publish_payload(
    store: PayloadStore,
    repository: str,
    packed: Packed,
    manifests: Sequence[tuple[str, ImageManifest]],
    *,
    settle: float,
) -> bool:
    """Push the blobs and claim each manifest's immutable tag; whether anything had to be uploaded.

    Raises:
        ImmutableTagConflict: a tag exists with another manifest.
    """
    uploaded = await _push_blobs(store, repository, packed)
    for tag, manifest in manifests:
        uploaded |= await _claim(store, repository, tag, manifest, settle)
    return uploaded


async def store_payload(store: Pusher, repository: str, packed: Packed, manifest: ImageManifest) -> None:
    """Push a payload by digest alone, under no tag."""
    await _push_blobs(store, repository, packed)
    await store.push_manifest(repository, manifest)


async def _push_blobs(store: Pusher, repository: str, packed: Packed) -> bool:
    uploaded = False
    sources: list[tuple[Descriptor, BlobSource]] = [
        (EMPTY_DESCRIPTOR, from_bytes(EMPTY_CONFIG)),
        (packed.layer, from_file(packed.archive)),
        (packed.sbom_layer, from_bytes(packed.sbom)),
    ]
    for descriptor, source in sources:
        uploaded |= await store.push_blob(repository, descriptor, source)
    return uploaded


async def version_payload(
    store: PayloadStore,
    spec: PayloadSpec,
    repository: str,
    first_tag: str,
    version_tag: str,
    version: str,
    settle: float,
) -> PublishedPayload:
    """Give an existing payload another version: a new manifest over the same blobs (promote).

    Raises:
        Refused: the payload's first manifest is not there.
        ImmutableTagConflict: the version's tag exists with another manifest.
    """
    found = await store.resolve(repository, first_tag)
    if found is None:
        raise Refused(f"{repository}:{first_tag} is not there", hint="`shipgraph release` makes it")
    first = await store.manifest(repository, found.digest)
    if not isinstance(first, ImageManifest) or len(first.layers) != 2:
        raise MalformedDocument(f"{repository}:{first_tag} is not a payload with an archive and an SBOM")
    manifest = payload_manifest(
        spec,
        first.layers[0],
        first.layers[1],
        version=version,
        created=first.annotations.get(media_types.ANNOTATION_CREATED, ""),
        source=first.annotations.get(media_types.ANNOTATION_SOURCE, ""),
    )
    return PublishedPayload(manifest, await _claim(store, repository, version_tag, manifest, settle))


async def _claim(store: PayloadStore, repository: str, tag: str, manifest: ImageManifest, settle: float) -> bool:
    there = await store.resolve(repository, tag)
    if there is not None and there.digest == manifest.digest:
        return False
    winner = await claim_tag(store, repository, tag, manifest, settle=settle, sleep=anyio.sleep)
    if winner != manifest.digest:
        raise ImmutableTagConflict(repository, tag, there=str(winner), ours=str(manifest.digest))
    return True
