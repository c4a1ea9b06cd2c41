"""How a referrers list shows a manifest: distribution specification 1.1, § Listing Referrers."""

from __future__ import annotations

from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.manifest import ImageIndex, ImageManifest


def referrer_type(manifest: ImageManifest | ImageIndex) -> str | None:
    """The artifact type by which a referrers list shows a manifest: where it has none, its configuration's media type.

    Distribution specification 1.1, § Listing Referrers, makes no exception for images.
    """
    if isinstance(manifest, ImageManifest):
        return manifest.artifact_type or manifest.config.media_type
    return manifest.artifact_type


def referrer_descriptor(manifest: ImageManifest | ImageIndex) -> Descriptor:
    """How a referrers list describes a manifest (distribution specification 1.1, § Listing Referrers)."""
    return Descriptor(
        manifest.media_type, manifest.digest, manifest.size, manifest.annotations, referrer_type(manifest)
    )
