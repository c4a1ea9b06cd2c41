"""Claims of builds, images and sets, each under an immutable tag: somebody was first, and everybody agrees on who."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from shipgraph.build.inputs import ANNOTATION_INPUTS
from shipgraph.errors import ImmutableTagConflict, RegistryUnavailable
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import ImageIndex
from shipgraph.records.builds import BUILD_TYPE, BuildRecord, build_tag, decode_build, encode_build
from shipgraph.records.claims import claim_tag
from shipgraph.records.document import push_document, read_document
from shipgraph.records.sets import SET_TYPE, SetRecord, decode_set, encode_set, immutable_tag, set_tag
from shipgraph.store.protocols import Fetcher, Lister, Prober, Pusher, Resolver, Tagger

if TYPE_CHECKING:
    from shipgraph.oci.manifest import ImageManifest
    from shipgraph.records.claims import Sleep

_COLLISIONS: Final = 20
"""Revisions that are tried one after the other when others keep claiming them."""


class Records(Fetcher, Prober, Resolver, Protocol):
    """What reading records needs."""


class SetReader(Records, Lister, Protocol):
    """Reads records, and finds them by listing tags."""


class ClaimStore(Records, Lister, Pusher, Tagger, Protocol):
    """What claiming needs."""


async def find_build(store: Records, metadata: str, repository: str, inputs: str) -> BuildRecord | None:
    """The record of a build with these inputs, if its image is still in its repository.

    Args:
        metadata: the repository of records.
    """
    there = await store.resolve(metadata, build_tag(inputs))
    if there is None:
        return None
    document = await read_document(store, metadata, there.digest, BUILD_TYPE)
    record = decode_build(document.content, where=f"{metadata}:{build_tag(inputs)}")
    if record.inputs != inputs or not await store.has_manifest(repository, Digest.parse(record.digest)):
        return None
    return record


async def claim_build(
    store: ClaimStore,
    metadata: str,
    repository: str,
    record: BuildRecord,
    *,
    settle: float,
    sleep: Sleep,
    replace: bool = False,
) -> BuildRecord:
    """Write a build record; another run's record of the same inputs is adopted, as long as its image is there.

    Args:
        replace: the record that is there has been found wrong (an index over images that are gone): write over it.
    """
    document = encode_build(record)
    await push_document(store, metadata, document)
    tag = build_tag(record.inputs)
    if replace:
        await store.tag(metadata, tag, document.manifest)
        return record
    won = await claim_tag(store, metadata, tag, document.manifest, settle=settle, sleep=sleep)
    if won == document.manifest.digest:
        return record
    adopted = await find_build(store, metadata, repository, record.inputs)
    if adopted is not None:
        return adopted
    # its image is gone (deleted by hand): the record says nothing any more, so the tag is ours
    await store.tag(metadata, tag, document.manifest)
    return record


async def claim_image_tag(
    store: ClaimStore,
    repository: str,
    tag: str,
    manifest: ImageManifest | ImageIndex,
    *,
    settle: float,
    sleep: Sleep,
) -> Digest:
    """Put an image under its release's immutable tag. The digest that is there: ours, or that of the same inputs.

    Raises:
        ImmutableTagConflict: an image of other inputs is there, or one of which a platform is gone.
        NotFound, ContentError, RegistryError
    """
    there = await claim_tag(store, repository, tag, manifest, settle=settle, sleep=sleep)
    if there == manifest.digest:
        return there
    other = await store.manifest(repository, there)
    inputs = manifest.annotations.get(ANNOTATION_INPUTS)
    if inputs and other.annotations.get(ANNOTATION_INPUTS) == inputs:
        # two runs of one commit: the first one's image counts
        for child in other.manifests if isinstance(other, ImageIndex) else ():
            if not await store.has_manifest(repository, child.digest):
                raise ImmutableTagConflict(
                    repository,
                    tag,
                    there=str(there),
                    ours=str(manifest.digest),
                    hint=f"its {child.platform or child.digest} is gone, and building it again gave another image:"
                    " `shipgraph prune --undo` if a clean-up deleted it, else release a new commit",
                )
        return there
    raise ImmutableTagConflict(
        repository,
        tag,
        there=str(there),
        ours=str(manifest.digest),
        hint="an immutable tag never changes: if the image really must differ, release a new commit",
    )


def same_set(one: SetRecord, other: SetRecord) -> bool:
    """Whether two set records say the same but for their revision."""
    return msgspec.structs.replace(one, revision=0) == msgspec.structs.replace(other, revision=0)


async def newest_set(store: SetReader, metadata: str, commit: str) -> SetRecord | None:
    """The set record of a commit's highest revision, or None if there is none."""
    revision = 0
    while await store.resolve(metadata, set_tag(immutable_tag(commit, revision + 1))) is not None:
        revision += 1
    if revision == 0:
        # retention may have removed the first revisions of an old commit, but a number is never used again
        prefix = set_tag(immutable_tag(commit, 1)) + "-r"
        numbers = [tag.removeprefix(prefix) for tag in await store.tags(metadata) if tag.startswith(prefix)]
        revision = max((int(number) for number in numbers if number.isdecimal()), default=0)
    return None if revision == 0 else await read_set(store, metadata, immutable_tag(commit, revision))


async def read_set(store: Records, metadata: str, tag: str) -> SetRecord | None:
    """The set record of an immutable tag, or None."""
    there = await store.resolve(metadata, set_tag(tag))
    if there is None:
        return None
    document = await read_document(store, metadata, there.digest, SET_TYPE)
    return decode_set(document.content, where=f"{metadata}:{set_tag(tag)}")


async def claim_set(
    store: ClaimStore, metadata: str, wanted: SetRecord, *, settle: float, sleep: Sleep
) -> tuple[SetRecord, bool]:
    """The revision of a commit under which a release goes on, and whether it is new.

    The newest revision is joined again if it has the same tree, platforms, bases and epochs as ``wanted``, whose own
    revision is ignored; otherwise the next one is claimed, and if others take it for something else, the one after.

    Raises:
        RegistryError, ContentError
    """
    newest = await newest_set(store, metadata, wanted.commit)
    if newest is not None and same_set(newest, wanted):
        return newest, False
    revision = 1 if newest is None else newest.revision + 1
    for candidate in range(revision, revision + _COLLISIONS):
        record = msgspec.structs.replace(wanted, revision=candidate)
        document = encode_set(record)
        await push_document(store, metadata, document)
        tag = immutable_tag(wanted.commit, candidate)
        won = await claim_tag(store, metadata, set_tag(tag), document.manifest, settle=settle, sleep=sleep)
        if won == document.manifest.digest:
            return record, True
        other = await read_set(store, metadata, tag)
        if other is not None and same_set(other, wanted):
            return other, False
    raise RegistryUnavailable(f"{_COLLISIONS} revisions of {wanted.commit} were taken by others", hint="run it again")
