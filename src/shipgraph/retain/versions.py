"""What retention knows of one manifest in a registry: the version that holds it, and what its bytes say.

A *version* is one manifest of one repository with all tags that point at it (GitHub's word, and GitHub deletes nothing
smaller). A *node* is what the manifest says, as far as anything else depends on it. Both are values; who lists and
reads them is somebody else's business.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from shipgraph.channel.metadata import repository_path
from shipgraph.errors import InvalidReference, MalformedDocument
from shipgraph.evidence.referrers import ANNOTATION_PREDICATE
from shipgraph.oci import media_types
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import ImageIndex, ImageManifest
from shipgraph.oci.reference import check_repository
from shipgraph.oci.referrers import referrer_type
from shipgraph.records.builds import BUILD_TYPE, decode_build
from shipgraph.records.document import decode

if TYPE_CHECKING:
    from shipgraph.oci.descriptor import Descriptor

ANYWHERE: Final = "*/"
"""Begins the repository of a ``Name`` whose namespace isn't known."""

_DIGEST: Final = re.compile(r"sha(?:256|512):")

LONGEST_DOCUMENT: Final = 128 << 20
"""Bytes of a document that may be opened to see which digests it names; an honest one has a few hundred kilobytes, and
the SBOM of a payload of 200,000 files some hundred megabytes."""


class Version(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One manifest as a listing shows it.

    ``repository`` is the whole path without the host; times are seconds since the epoch, None where the registry tells
    none: of such a version nobody knows that it is old. ``created_at`` is the first push of the digest, ``updated_at``
    the last time that a tag was moved to it or from it. ``id`` is the Packages API's, None elsewhere.
    """

    repository: str
    digest: str
    tags: tuple[str, ...] = ()
    created_at: float | None = None
    updated_at: float | None = None
    id: int | None = None


class Blob(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A configuration or a layer: its digest, and its size in bytes."""

    digest: str
    size: int


class Name(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A manifest that a document names, perhaps in another repository (without the host)."""

    repository: str
    digest: str


class Node(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What a manifest says.

    ``size`` is that of the manifest itself, in bytes. ``children`` are an index's manifests, ``subject`` what a
    referrer refers to; both stand in the same repository. ``names`` is what the artifact's document names: a channel's
    metadata its images and payload, a payload its images, a build record what was built. ``release`` is the immutable
    tag that metadata is about; ``predicate`` the kind of statement by which evidence is labelled.
    """

    media_type: str
    size: int
    artifact_type: str = ""
    children: tuple[str, ...] = ()
    subject: str = ""
    names: tuple[Name, ...] = ()
    release: str = ""
    predicate: str = ""
    blobs: tuple[Blob, ...] = ()


class ArtifactTypes(msgspec.Struct, frozen=True, kw_only=True):
    """The artifact types whose documents name other manifests: the project's own, and build records."""

    metadata: str
    payload: str = ""


def document_layer(manifest: ImageManifest | ImageIndex, types: ArtifactTypes) -> Descriptor | None:
    """The layer that ``describe`` has to be given, for an artifact whose document names other manifests.

    Raises:
        MalformedDocument: it is such an artifact, and has no such layer, or one of an absurd size.
    """
    if not isinstance(manifest, ImageManifest) or not manifest.artifact_type:
        return None
    kind = manifest.artifact_type
    if kind == types.payload:
        found = [layer for layer in manifest.layers if layer.media_type == media_types.CYCLONEDX_JSON]
        if not found:
            return None  # somebody else's: whatever it is for, it names no image
    elif kind in (types.metadata, BUILD_TYPE):
        found = list(manifest.layers)
    else:
        return None
    if len(found) != 1:
        raise MalformedDocument(f"{manifest.digest} is of type {kind}, and has {len(found)} documents instead of one")
    if found[0].size > LONGEST_DOCUMENT:
        raise MalformedDocument(f"the document of {manifest.digest} has {found[0].size} bytes")
    return found[0]


def describe(
    manifest: ImageManifest | ImageIndex, types: ArtifactTypes, document: bytes | None = None, *, where: str = ""
) -> Node:
    """What a manifest says.

    Args:
        types: which artifacts are opened.
        document: the content of the layer that ``document_layer`` asks for.
        where: the manifest's name in error messages.

    Raises:
        MalformedDocument: the document isn't what the artifact's type says, or wasn't given.
    """
    names: tuple[Name, ...] = ()
    release = ""
    where = where or str(manifest.digest)
    if document_layer(manifest, types) is not None:
        if document is None:
            raise MalformedDocument(f"{where}: its document was not read")
        if manifest.artifact_type == types.metadata:
            names, release = _metadata_names(document, where)
        elif manifest.artifact_type == BUILD_TYPE:
            record = decode_build(document, where=where)
            names = (Name(record.repository, record.digest),)
        else:
            names = _payload_names(document, where)
    image = manifest if isinstance(manifest, ImageManifest) else None
    for name in names:
        _check_name(name, where)
    return Node(
        media_type=manifest.media_type,
        size=manifest.size,
        artifact_type=referrer_type(manifest) or "",
        children=tuple(str(child.digest) for child in manifest.manifests) if isinstance(manifest, ImageIndex) else (),
        subject=str(manifest.subject.digest) if manifest.subject is not None else "",
        names=names,
        release=release,
        predicate=manifest.annotations.get(ANNOTATION_PREDICATE, ""),
        blobs=tuple(Blob(str(blob.digest), blob.size) for blob in image.blobs) if image is not None else (),
    )


def _check_name(name: Name, where: str) -> None:
    """A name that can't be one would be asked for in vain, or worse, under another address."""
    try:
        check_repository(name.repository.removeprefix(ANYWHERE))
        Digest.parse(name.digest)
    except InvalidReference as error:
        raise MalformedDocument(f"{where}: {error}") from error


class _Image(msgspec.Struct, frozen=True):
    repository: str
    digest: str


class _Payload(msgspec.Struct, frozen=True):
    ref: str
    digest: str


class _Metadata(msgspec.Struct, frozen=True):
    """As much of ``channels.json`` as names something: it may be from before there were serials and expiry."""

    images: tuple[_Image, ...]
    payload: _Payload | None = None
    immutable_tag: str = ""


def _metadata_names(document: bytes, where: str) -> tuple[tuple[Name, ...], str]:
    metadata = decode(document, _Metadata, where=where)
    names = [Name(repository_path(image.repository), image.digest) for image in metadata.images]
    if metadata.payload is not None:
        name = metadata.payload.ref.partition("@")[0].rpartition(":")[0]
        names.append(Name(repository_path(name), metadata.payload.digest))
    return tuple(names), metadata.immutable_tag


class _Component(msgspec.Struct, frozen=True):
    type: str
    name: str
    version: str = ""


class _Bom(msgspec.Struct, frozen=True):
    components: tuple[_Component, ...] = ()


def _payload_names(document: bytes, where: str) -> tuple[Name, ...]:
    """The images of a payload, from its CycloneDX document: containers whose version is a digest."""
    return tuple(
        Name(ANYWHERE + one.name.rpartition("/")[2], one.version)
        for one in decode(document, _Bom, where=where).components
        if one.type == "container" and _DIGEST.match(one.version)
    )
