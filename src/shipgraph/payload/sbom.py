"""The payload's software bill of materials: CycloneDX 1.6 JSON, the same bytes for the same content."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from shipgraph.records.document import decode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shipgraph.payload.files import Member, PayloadImage

NAMESPACE: Final = uuid.UUID("b3f0f8bb-9d37-5b76-a5a2-6f5c1e0e4a1d")
"""Of the serial numbers, which are derived from the content (RFC 9562, version 5)."""


def build_sbom(
    name: str, members: Sequence[Member], images: Sequence[PayloadImage], *, archive: str, timestamp: int
) -> bytes:
    """List every file with its SHA-256 and every image with its digest.

    ``archive`` is the archive's digest; ``timestamp`` is in seconds since the epoch. Neither channel nor
    version is in it.
    """
    # Imported here: the library takes 150 ms, and most commands make no SBOM.
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6
    from packageurl import PackageURL

    root = Component(
        name=name,
        type=ComponentType.APPLICATION,
        bom_ref=name,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=archive.partition(":")[2])],
    )
    files = [
        Component(
            name=member.path,
            type=ComponentType.FILE,
            bom_ref=f"file:{member.path}",
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=member.sha256)],
        )
        for member in members
    ]
    containers = [
        Component(
            name=image.repository,
            version=str(image.digest),
            type=ComponentType.CONTAINER,
            bom_ref=f"image:{image.key}",
            purl=PackageURL("oci", None, image.repository.rpartition("/")[2], str(image.digest)),
        )
        for image in images
    ]
    bom = Bom(
        components=[*files, *containers],
        metadata=BomMetaData(component=root, timestamp=datetime.fromtimestamp(timestamp, UTC)),
        serial_number=uuid.uuid5(NAMESPACE, archive),
    )
    bom.register_dependency(root, [*files, *containers])
    return JsonV1Dot6(bom).output_as_string(indent=2).encode() + b"\n"


class _Component(msgspec.Struct, frozen=True):
    type: str
    name: str
    version: str = ""


class _Bom(msgspec.Struct, frozen=True):
    components: tuple[_Component, ...] = ()


def images_of(document: bytes, *, where: str) -> dict[str, str]:
    """The digests of the images that a payload belongs to, by the last part of their repositories, from its SBOM.

    Raises:
        MalformedDocument
    """
    components = decode(document, _Bom, where=where).components
    return {one.name.rpartition("/")[2]: one.version for one in components if one.type == "container"}
