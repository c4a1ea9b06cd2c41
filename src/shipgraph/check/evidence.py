"""The checklist's rows about evidence: for each kind what lacks it and why, or who vouches for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from shipgraph.check.channel import strip_host
from shipgraph.check.row import Row, State
from shipgraph.errors import MalformedDocument
from shipgraph.evidence.requirements import Kind, release_subjects
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import ImageIndex
from shipgraph.tasks import gather

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shipgraph.channel.metadata import ChannelMetadata, ImageEntry
    from shipgraph.check.channel import CheckStore, Names
    from shipgraph.evidence.referrers import Finding, ReferrerVerifier
    from shipgraph.evidence.requirements import Subject

NAMED = 3
"""Subjects that a row names; it counts the rest."""


@dataclass(frozen=True, slots=True)
class Verifiers:
    """Who is asked about evidence: of images and payload, and of the channel's metadata under its signer rule."""

    release: ReferrerVerifier
    metadata: ReferrerVerifier


async def evidence_rows(
    store: CheckStore,
    names: Names,
    metadata: ChannelMetadata,
    digest: Digest,
    required: frozenset[str],
    verifiers: Verifiers,
) -> list[Row]:
    """A row for each kind, and one for the metadata's own signature.

    Args:
        digest: of the metadata's manifest.

    Raises:
        MalformedDocument, NotFound, RegistryError: what evidence is about can't be read.
    """
    subjects = await _subjects(store, names, metadata)
    rows = [await _row(kind, subjects, kind in required, verifiers.release) for kind in Kind]
    found = await verifiers.metadata.find(names.metadata, digest, Kind.PROVENANCE)
    wanted = Kind.PROVENANCE in required
    return [*rows, _describe("evidence: metadata", [("metadata", found)], wanted)]


async def _row(kind: Kind, subjects: Sequence[Subject], wanted: bool, verifier: ReferrerVerifier) -> Row:
    about = [subject for subject in subjects if kind in subject.kinds]
    found = await gather([partial(verifier.find, one.repository, one.digest, kind) for one in about]) if about else []
    return _describe(
        f"evidence: {kind}", [(one.name, finding) for one, finding in zip(about, found, strict=True)], wanted
    )


def _describe(name: str, found: Sequence[tuple[str, Finding]], wanted: bool) -> Row:
    lacking = [(subject, finding.reasons) for subject, finding in found if finding.verified is None]
    if not found:
        return Row(name, State.BROKEN if wanted else State.MISSING, "nothing that it could be about")
    if not lacking:
        signers = dict.fromkeys(one.verified.signer.name for _, one in found if one.verified is not None)
        return Row(name, State.OK, f"{len(found)} signed by {', '.join(signers)}")
    parts = [f"{subject}: {reasons[-1]}" if reasons else subject for subject, reasons in lacking[:NAMED]]
    more = f" and {len(lacking) - NAMED} more" if len(lacking) > NAMED else ""
    text = f"{'' if wanted else 'not '}required; there is none of {'; '.join(parts)}{more}"
    return Row(name, State.BROKEN if wanted else State.MISSING, text)


async def _subjects(store: CheckStore, names: Names, metadata: ChannelMetadata) -> tuple[Subject, ...]:
    async def one(image: ImageEntry) -> tuple[str, str, ImageIndex]:
        repository = strip_host(names.host, image.repository)
        index = await store.manifest(repository, Digest.parse(image.digest))
        if not isinstance(index, ImageIndex):
            raise MalformedDocument(f"{repository}@{image.digest} is not an index")
        return image.image, repository, index

    images = await gather([partial(one, image) for image in metadata.images]) if metadata.images else []
    payload = None
    if metadata.payload is not None and names.payload is not None:
        payload = (names.payload, Digest.parse(metadata.payload.digest))
    return release_subjects(images, payload)
