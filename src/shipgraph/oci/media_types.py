"""Media types and annotation keys of the OCI image specification 1.1, Docker's older ones, and shipgraph's own."""

from __future__ import annotations

from typing import Final

IMAGE_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
IMAGE_INDEX: Final = "application/vnd.oci.image.index.v1+json"
IMAGE_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
LAYER_TAR: Final = "application/vnd.oci.image.layer.v1.tar"
LAYER_TAR_GZIP: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
EMPTY: Final = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
JSON: Final = "application/json"
CYCLONEDX_JSON: Final = "application/vnd.cyclonedx+json"

INDEXES: Final = frozenset({IMAGE_INDEX, DOCKER_INDEX})
MANIFESTS: Final = frozenset({IMAGE_MANIFEST, DOCKER_MANIFEST})
ACCEPT: Final = ", ".join((IMAGE_INDEX, IMAGE_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST))
"""The Accept header of every manifest request: some registries answer 404 when one of these is missing."""

NONDISTRIBUTABLE: Final = frozenset(
    {
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    }
)
"""Layers that registries may lack: they are fetched from elsewhere (deprecated, but images with them exist)."""

ANNOTATION_TITLE: Final = "org.opencontainers.image.title"
ANNOTATION_CREATED: Final = "org.opencontainers.image.created"
ANNOTATION_SOURCE: Final = "org.opencontainers.image.source"
ANNOTATION_REVISION: Final = "org.opencontainers.image.revision"
ANNOTATION_VERSION: Final = "org.opencontainers.image.version"
ANNOTATION_DESCRIPTION: Final = "org.opencontainers.image.description"
ANNOTATION_LICENSES: Final = "org.opencontainers.image.licenses"
ANNOTATION_BASE_NAME: Final = "org.opencontainers.image.base.name"
ANNOTATION_BASE_DIGEST: Final = "org.opencontainers.image.base.digest"
ANNOTATION_REF_NAME: Final = "org.opencontainers.image.ref.name"
