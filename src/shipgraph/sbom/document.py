"""An image's software bill of materials: CycloneDX 1.6 JSON, the same bytes for the same manifest."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cyclonedx.model.component import Component

    from shipgraph.oci.digest import Digest
    from shipgraph.oci.platform import Platform
    from shipgraph.sbom.layers import Contents
    from shipgraph.sbom.package import Package, System

NAMESPACE: Final = uuid.UUID("5f0a1f0c-55c1-5a54-9c55-8a6d0d0f6c1b")
"""Of the serial numbers, which are derived from the manifest's digest (RFC 9562, version 5)."""
PLACES: Final = 100
"""How many files that name one package are listed."""


def build_image_sbom(
    repository: str, digest: Digest, platform: Platform | None, contents: Contents, *, timestamp: int
) -> bytes:
    """List every package with the files that say so, and the distribution.

    ``timestamp`` is in seconds since the epoch; the registry's host is not in it, so a copy elsewhere has the same.
    """
    # Imported here: the library takes 150 ms, and most commands make no SBOM.
    from cyclonedx.model import Property
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6
    from packageurl import PackageURL

    name = repository.rpartition("/")[2]
    qualifiers = {} if platform is None else {"arch": platform.architecture}
    root = Component(
        name=repository,
        version=str(digest),
        type=ComponentType.CONTAINER,
        bom_ref=str(digest),
        purl=PackageURL("oci", None, name, str(digest), qualifiers),
        properties=[Property(name="shipgraph:unread", value=path) for path in contents.skipped],
    )
    components = [_component(package, places, contents.system) for package, places in contents.packages.items()]
    if contents.system is not None:
        system = contents.system
        components.append(
            Component(
                name=system.id,
                version=system.version or None,
                description=system.name or None,
                type=ComponentType.OPERATING_SYSTEM,
                bom_ref=f"os:{system.id}@{system.version}",
            )
        )
    bom = Bom(
        components=components,
        metadata=BomMetaData(component=root, timestamp=datetime.fromtimestamp(timestamp, UTC)),
        serial_number=uuid.uuid5(NAMESPACE, str(digest)),
    )
    bom.register_dependency(root, components)
    return JsonV1Dot6(bom).output_as_string(indent=2).encode() + b"\n"


def _component(package: Package, places: tuple[str, ...], system: System | None) -> Component:
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.component_evidence import ComponentEvidence, Occurrence
    from packageurl import PackageURL

    namespace: str | None = None
    name, qualifiers = package.name, {}
    if package.kind == "deb":
        namespace = system.id if system is not None else "debian"
        qualifiers = {"arch": package.architecture} if package.architecture else {}
        if system is not None and system.version:
            qualifiers["distro"] = f"{system.id}-{system.version}"
    elif package.kind == "npm" and "/" in name:
        namespace, _, name = name.partition("/")
    purl = PackageURL(package.kind, namespace, name, package.version, qualifiers)
    evidence = ComponentEvidence(
        occurrences=[Occurrence(bom_ref=f"{purl}#{place}", location=place) for place in places[:PLACES]]
    )
    return Component(
        name=package.name,
        version=package.version,
        type=ComponentType.LIBRARY,
        bom_ref=str(purl),
        purl=purl,
        evidence=evidence,
        properties=[Property(name="shipgraph:source", value=package.source)] if package.source else [],
    )
