"""A release as the registry has it: found again by its immutable tag alone, and checked to be one set."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from shipgraph.errors import MalformedDocument, Refused
from shipgraph.evidence.requirements import release_subjects
from shipgraph.oci import media_types
from shipgraph.oci.manifest import ImageIndex, ImageManifest
from shipgraph.store.protocols import Fetcher, Resolver
from shipgraph.tasks import gather

if TYPE_CHECKING:
    from shipgraph.evidence.requirements import Subject
    from shipgraph.oci.digest import Digest
    from shipgraph.project.release import Release


class SetReader(Fetcher, Resolver, Protocol):
    """Reads by tag and by digest."""


@dataclass(frozen=True, slots=True)
class SetImage:
    """One image of a set: its key, its repository and its index."""

    key: str
    repository: str
    index: ImageIndex


@dataclass(frozen=True, slots=True)
class ReleaseSet:
    """All images of one immutable tag, and the payload's manifest for this version where the project has a payload."""

    immutable_tag: str
    images: tuple[SetImage, ...]
    payload_repository: str | None = None
    payload: ImageManifest | None = None

    @property
    def contents(self) -> tuple[tuple[str, Digest], ...]:
        """Every digest of the set: indexes, their platforms, the payload."""
        found: list[tuple[str, Digest]] = []
        for image in self.images:
            found.append((image.repository, image.index.digest))
            found.extend((image.repository, child.digest) for child in image.index.manifests)
        if self.payload is not None and self.payload_repository is not None:
            found.append((self.payload_repository, self.payload.digest))
        return tuple(found)

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """What evidence is asked about, and which kinds."""
        payload = None
        if self.payload is not None and self.payload_repository is not None:
            payload = (self.payload_repository, self.payload.digest)
        return release_subjects(((one.key, one.repository, one.index) for one in self.images), payload)


def payload_tag(immutable_tag: str, version: str) -> str:
    """The immutable tag of a payload's manifest for one version."""
    return f"{immutable_tag}-{version}"


async def collect_images(store: SetReader, release: Release, immutable_tag: str) -> ReleaseSet:
    """The images of a set.

    Raises:
        Refused: an image is missing, lacks a platform of the release, or was built from another parent than the set's.
        RegistryError, MalformedDocument
    """
    keys = release.project.graph.order
    images = await gather([partial(_image, store, release, key, immutable_tag) for key in keys])
    by_key = {image.key: image for image in images}
    for image in images:
        _check_platforms(release, image)
        parent = release.project.graph[image.key].parent
        recorded = image.index.annotations.get(media_types.ANNOTATION_BASE_DIGEST)
        if parent is not None and recorded != str(by_key[parent].index.digest):
            raise Refused(
                f"{image.repository}:{immutable_tag} was built from {recorded or 'an unrecorded parent'}, and "
                f"the set's {parent} is {by_key[parent].index.digest}: this is not one set",
                hint="run the release again; it builds what is missing",
            )
    return ReleaseSet(immutable_tag, tuple(images))


async def collect_set(store: SetReader, release: Release, immutable_tag: str) -> ReleaseSet:
    """The images and the payload of a set; see ``collect_images``."""
    images = await collect_images(store, release, immutable_tag)
    repository = release.payload_repository
    if repository is None:
        return images
    tag = payload_tag(immutable_tag, release.version)
    found = await store.resolve(repository, tag)
    if found is None:
        raise Refused(f"{repository}:{tag} is not there", hint="`shipgraph payload` makes it")
    manifest = await store.manifest(repository, found.digest)
    if not isinstance(manifest, ImageManifest):
        raise MalformedDocument(f"{repository}:{tag} is an index, not a payload")
    return ReleaseSet(immutable_tag, images.images, repository, manifest)


async def _image(store: SetReader, release: Release, key: str, immutable_tag: str) -> SetImage:
    repository = release.repository(key)
    found = await store.resolve(repository, immutable_tag)
    if found is None:
        raise Refused(
            f"{repository}:{immutable_tag} is not there, so the release is not complete",
            hint="`shipgraph release` builds and pushes what is missing",
        )
    manifest = await store.manifest(repository, found.digest)
    if not isinstance(manifest, ImageIndex):
        raise MalformedDocument(f"{repository}:{immutable_tag} is a single manifest, not an index of platforms")
    return SetImage(key, repository, manifest)


def _check_platforms(release: Release, image: SetImage) -> None:
    there = {child.platform for child in image.index.manifests}
    missing = [str(platform) for platform in release.image_platforms(image.key) if platform not in there]
    if missing:
        raise Refused(f"{image.repository}@{image.index.digest} lacks {', '.join(missing)}")
