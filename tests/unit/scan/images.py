"""Images made by hand: layers from members, compressed in any way, in a store in memory."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shipgraph.oci import media_types
from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import ImageIndex, ImageManifest, build_index, parse_manifest
from shipgraph.oci.platform import Platform
from shipgraph.store.content import from_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shipgraph.store.protocols import Store

AMD64, ARM64 = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")


def tar(files: Mapping[str, bytes | None]) -> bytes:
    """An archive; None makes a folder."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, content in files.items():
            info = tarfile.TarInfo(path)
            if content is None:
                info.type = tarfile.DIRTYPE
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def packed(content: bytes) -> bytes:
    """gzip, the same bytes every time."""
    return gzip.compress(content, mtime=0)


@dataclass(frozen=True)
class Blob:
    """A layer's bytes and media type."""

    content: bytes
    media_type: str = media_types.LAYER_TAR_GZIP
    title: str = ""

    @property
    def descriptor(self) -> Descriptor:
        annotations = {media_types.ANNOTATION_TITLE: self.title} if self.title else {}
        return Descriptor.of(self.media_type, self.content, annotations=annotations)

    @property
    def diff_id(self) -> str:
        """The digest of what a gzipped layer unpacks to; of the bytes themselves where that is nothing."""
        try:
            content = gzip.decompress(self.content)
        except (OSError, EOFError, zlib.error):
            content = self.content
        return str(Digest.of(content))


def layer(files: Mapping[str, bytes | None]) -> Blob:
    """A gzipped layer."""
    return Blob(packed(tar(files)))


async def push_image(
    store: Store,
    repository: str,
    layers: Sequence[Blob],
    *,
    config: Mapping[str, Any] | None = None,
    history: Sequence[str] = (),
    annotations: Mapping[str, str] | None = None,
    created: str = "2024-02-03T04:05:06Z",
) -> ImageManifest:
    """Push an image of these layers."""
    document = {
        "architecture": "amd64",
        "os": "linux",
        "created": created,
        "config": dict(config or {}),
        "rootfs": {"type": "layers", "diff_ids": [blob.diff_id for blob in layers]},
        "history": [{"created_by": line} for line in history],
    }
    raw = json.dumps(document).encode()
    described = Descriptor.of(media_types.IMAGE_CONFIG, raw)
    await store.push_blob(repository, described, from_bytes(raw))
    for blob in layers:
        await store.push_blob(repository, blob.descriptor, from_bytes(blob.content))
    manifest = parse_manifest(
        json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": media_types.IMAGE_MANIFEST,
                "config": described.to_json(),
                "layers": [blob.descriptor.to_json() for blob in layers],
                "annotations": dict(annotations or {}),
            }
        ).encode()
    )
    assert isinstance(manifest, ImageManifest)
    await store.push_manifest(repository, manifest)
    return manifest


async def push_index(store: Store, repository: str, images: Mapping[Platform, ImageManifest]) -> ImageIndex:
    """Push an index over platforms."""
    index = build_index(
        [
            Descriptor(image.media_type, image.digest, image.size, platform=platform)
            for platform, image in images.items()
        ]
    )
    await store.push_manifest(repository, index)
    return index
