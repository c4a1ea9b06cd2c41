"""The final form of what a builder pushed: one manifest per image, whatever builder and state it came from.

A builder may pack the base's layers anew (buildah does, once it has forgotten where they came from); they are replaced
by the base's own blobs, which have the same content by their diff ids. Media types become OCI's, annotations become
those that the project says. So the same inputs give the same digest, and children share their parent's layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from shipgraph.errors import BuildFailed, MalformedDocument
from shipgraph.oci import media_types
from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.manifest import ImageManifest, encode_json, parse_manifest
from shipgraph.oci.platform import Platform
from shipgraph.store.content import read_blob
from shipgraph.store.protocols import Fetcher, Prober, Pusher

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shipgraph.oci.digest import Digest

_LAYERS: Final = {
    "application/vnd.docker.image.rootfs.diff.tar.gzip": media_types.LAYER_TAR_GZIP,
    "application/vnd.docker.image.rootfs.diff.tar": media_types.LAYER_TAR,
}
_DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"


class Job(Fetcher, Prober, Pusher, Protocol):
    """What the finishing touch needs of the job's registry."""


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """The members of an image's configuration that shipgraph looks at."""

    platform: Platform
    diff_ids: tuple[str, ...]


async def finish_image(
    job: Job,
    repository: str,
    digest: Digest,
    *,
    platform: Platform,
    annotations: Mapping[str, str],
    base_repository: str = "",
    base: Digest | None = None,
) -> ImageManifest:
    """Read what was pushed, check it, and push its final manifest into the same repository.

    Args:
        base: the digest of the manifest it was built from, in ``base_repository`` of the same registry.

    Raises:
        BuildFailed: it is not one image for that platform, or not built from that base.
        NotFound, ContentError, RegistryError
    """
    built = await _image(job, repository, digest)
    config = await read_config(job, repository, built)
    if config.platform != platform:
        raise BuildFailed(
            f"{repository} was built for {config.platform} instead of {platform}",
            hint="the Dockerfile's FROM must not fix a platform for the final stage",
        )
    layers = list(built.layers)
    if len(config.diff_ids) != len(layers):
        raise BuildFailed(f"{repository}@{digest} has {len(layers)} layers, but {len(config.diff_ids)} diff ids")
    if base is not None:
        parent = await _image(job, base_repository, base)
        known = await read_config(job, base_repository, parent)
        if known.platform != platform:
            raise BuildFailed(f"{base_repository}@{base} is an image for {known.platform}, not for {platform}")
        count = len(known.diff_ids)
        if config.diff_ids[:count] != known.diff_ids:
            raise BuildFailed(
                f"{repository} was not built from {base_repository}@{base}: its layers don't begin with the base's",
                hint="the Dockerfile's final stage must start FROM ${BASE_IMAGE}",
            )
        for layer in parent.layers:
            if not await job.has_blob(repository, layer.digest):
                await job.push_blob(repository, layer, lambda layer=layer: job.blob(base_repository, layer))  # type: ignore[misc]
        layers[:count] = parent.layers
    final = _manifest(built.config, layers, annotations)
    await job.push_manifest(repository, final)
    return final


async def read_config(fetcher: Fetcher, repository: str, manifest: ImageManifest) -> ImageConfig:
    """An image's platform and diff ids.

    Raises:
        MalformedDocument: its configuration is not an image's.
        NotFound, DigestMismatch, RegistryError
    """
    content = await read_blob(fetcher, repository, manifest.config)
    where = f"configuration of {repository}@{manifest.digest}"
    try:
        document: dict[str, Any] = msgspec.json.decode(content, type=dict[str, Any])
        diff_ids = msgspec.convert(document["rootfs"]["diff_ids"], tuple[str, ...])
        variant = document.get("variant")
        text = "/".join(str(part) for part in (document["os"], document["architecture"], variant) if part)
        return ImageConfig(Platform.parse(text), diff_ids)
    except (msgspec.MsgspecError, KeyError, TypeError) as error:
        raise MalformedDocument(f"{where} is not an image's: {error}") from error


async def _image(fetcher: Fetcher, repository: str, digest: Digest) -> ImageManifest:
    found = await fetcher.manifest(repository, digest)
    if not isinstance(found, ImageManifest):
        raise BuildFailed(f"{repository}@{digest} is an index, not one platform's image")
    return found


def _manifest(config: Descriptor, layers: list[Descriptor], annotations: Mapping[str, str]) -> ImageManifest:
    kind = media_types.IMAGE_CONFIG if config.media_type == _DOCKER_CONFIG else config.media_type
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": media_types.IMAGE_MANIFEST,
        "config": Descriptor(kind, config.digest, config.size).to_json(),
        "layers": [
            Descriptor(_LAYERS.get(layer.media_type, layer.media_type), layer.digest, layer.size).to_json()
            for layer in layers
        ],
    }
    if annotations:
        document["annotations"] = dict(sorted(annotations.items()))
    manifest = parse_manifest(encode_json(document))
    assert isinstance(manifest, ImageManifest)  # noqa: S101 (by its mediaType)
    return manifest
