"""Evidence about a release: whom its project trusts, who signs, and the provenance of all it is made of."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import anyio

from shipgraph import __version__
from shipgraph.attest.provenance import LOCAL_BUILDER, Origin, image_provenance, pack_provenance
from shipgraph.attest.stage import Attested, Intent, attest
from shipgraph.build.claims import find_build
from shipgraph.build.inputs import ANNOTATION_INPUTS
from shipgraph.channel.metadata import rfc3339
from shipgraph.engine.opening import owner
from shipgraph.engine.signing import find_signing, rule_of
from shipgraph.errors import Refused
from shipgraph.events import Finished, Note, Started
from shipgraph.evidence.referrers import ReferrerVerifier
from shipgraph.evidence.refusals import EvidenceUntrusted
from shipgraph.evidence.requirements import Kind, Subject, image_subject, payload_subject, platform_subject
from shipgraph.oci.digest import Digest
from shipgraph.oci.platform import Platform
from shipgraph.promote.collect import ReleaseSet, SetImage, collect_set
from shipgraph.tasks import gather

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import Any

    from shipgraph.channel.metadata import ChannelMetadata
    from shipgraph.engine.signing import Signing
    from shipgraph.engine.workspace import Workspace
    from shipgraph.events import Emit
    from shipgraph.oci.descriptor import Descriptor
    from shipgraph.oci.manifest import ImageIndex, ImageManifest
    from shipgraph.project.release import Release
    from shipgraph.records.builds import BuildRecord
    from shipgraph.store.protocols import Store

TASK = "attest"
Predicate: TypeAlias = "Callable[[], dict[str, Any]]"


def origin_of(release: Release) -> Origin:
    """Where the release comes from; on GitHub the workflow vouches for it."""
    workflow, server = os.environ.get("GITHUB_WORKFLOW_REF"), os.environ.get("GITHUB_SERVER_URL")
    repository = os.environ.get("GITHUB_REPOSITORY")
    on_github = bool(workflow and server and repository)
    return Origin(
        source=release.source,
        commit=release.commit,
        builder=f"{server}/{workflow}" if on_github else LOCAL_BUILDER,
        runs=f"{server}/{repository}/actions/runs/" if on_github else "",
        version=__version__,
    )


async def attest_release(
    release: Release, revision: int, *, target: Store, signing: Signing, run: str, emit: Emit
) -> tuple[ReleaseSet, Attested]:
    """The provenance of every image (its index and each platform) and of the payload, in one ceremony.

    Raises:
        Refused: an image or its build record is missing; or the signer is not trusted.
        SigningFailed, RegistryError
    """
    found = await collect_set(target, release, release.immutable_tag(revision))
    intents = await provenance_intents(release, found, target=target, run=run)
    return found, await sign(intents, about="release", target=target, signing=signing, emit=emit)


async def sign(
    intents: Sequence[Intent],
    *,
    about: str,
    target: Store,
    signing: Signing,
    emit: Emit,
    verifier: ReferrerVerifier | None = None,
) -> Attested:
    """Sign what is not stated yet, in one ceremony, and attach it.

    Args:
        about: what the statements are about, for people.

    Raises:
        EvidenceUntrusted: the signer is not one whom the project trusts.
        SigningFailed, RegistryError
    """
    task, title = f"{TASK}:{about}", f"attest {about}"
    emit(Started(task, title))
    done = await attest(
        target,
        intents,
        signer=signing.signer,
        verifier=verifier or signing.verifier(target),
        policy=signing.policy,
        also=signing.also,
    )
    emit(Finished(task, title, f"{len(done.made)} signed by {done.signer}" if done.made else "unchanged"))
    return done


def intent_for(release: Release, subject: Subject, descriptor: Descriptor, kind: Kind, make: Predicate) -> Intent:
    """What is to be stated about something in the release's registry, under its full name."""
    return Intent(subject, descriptor, f"{release.registry}/{subject.repository}", kind, make)


async def provenance_intents(release: Release, found: ReleaseSet, *, target: Store, run: str) -> list[Intent]:
    """What is to be stated about a set.

    Raises:
        Refused: a build record is missing.
    """
    intents = [
        intent
        for some in await gather([partial(_image_intents, release, image, target) for image in found.images])
        for intent in some
    ]
    if found.payload is not None:
        intents.append(payload_intent(release, found, run=run))
    return intents


def payload_intent(release: Release, found: ReleaseSet, *, run: str) -> Intent:
    """The provenance of a set's payload."""
    payload, repository = found.payload, found.payload_repository
    assert payload is not None  # noqa: S101 (who calls knows that the set has one)
    assert repository is not None  # noqa: S101
    contents = [(image.key, image.index.digest) for image in found.images]
    contents.extend(("layer", layer.digest) for layer in payload.layers)
    make = partial(
        pack_provenance,
        origin_of(release),
        what="payload",
        parameters={"version": release.version},
        contents=contents,
        run=run,
        at=rfc3339(release.commit_time),
    )
    subject = payload_subject(repository, payload.digest)
    return intent_for(release, subject, payload.descriptor, Kind.PROVENANCE, make)


def platform_intent(release: Release, key: str, record: BuildRecord, descriptor: Descriptor) -> Intent:
    """The provenance of one platform of an image, by its build record."""
    subject = platform_subject(key, record.repository, descriptor.digest, Platform.parse(record.platform))
    make = partial(image_provenance, origin_of(release), record, platforms=None)
    return intent_for(release, subject, descriptor, Kind.PROVENANCE, make)


async def _image_intents(release: Release, image: SetImage, target: Store) -> list[Intent]:
    async def platform(child: Descriptor) -> Intent:
        manifest = await target.manifest(image.repository, child.digest)
        title = f"{image.key} ({child.platform or '?'})"
        return platform_intent(
            release, image.key, await _record(release, image.repository, manifest, title, target), manifest.descriptor
        )

    record = await _record(release, image.repository, image.index, image.key, target)
    platforms = {str(child.platform): child.digest for child in image.index.manifests}
    make = partial(image_provenance, origin_of(release), record, platforms=platforms)
    subject = image_subject(image.key, image.repository, image.index)
    whole = intent_for(release, subject, image.index.descriptor, Kind.PROVENANCE, make)
    return [whole, *await gather([partial(platform, child) for child in image.index.manifests])]


async def _record(
    release: Release, repository: str, manifest: ImageManifest | ImageIndex, title: str, target: Store
) -> BuildRecord:
    inputs = manifest.annotations.get(ANNOTATION_INPUTS)
    metadata = release.metadata_repository
    record = None if inputs is None else await find_build(target, metadata, repository, inputs)
    if record is None or record.digest != str(manifest.digest):
        raise Refused(
            f"there is no build record of {title}: {repository}@{manifest.digest}",
            hint="`shipgraph build` makes one; what was not built by shipgraph has no provenance",
        )
    return record


async def attest_metadata(
    release: Release,
    channel: str,
    metadata: ChannelMetadata,
    manifest: ImageManifest,
    *,
    target: Store,
    host: str,
    signing: Signing,
    run: str,
) -> Attested:
    """The provenance of a channel's metadata: signed by who the channel accepts, or nothing moves.

    Called once the metadata is pushed by digest and before its claim; for a release, promote, rollback and refresh.

    Raises:
        EvidenceUntrusted: the signer may not sign for this channel.
        SigningFailed, RegistryError
    """
    rule = rule_of(release, channel, host)
    contents = [(image.image, Digest.parse(image.digest)) for image in metadata.images]
    if metadata.payload is not None:
        contents.append(("payload", Digest.parse(metadata.payload.digest)))
    make = partial(
        pack_provenance,
        replace(origin_of(release), commit=metadata.commit),
        what="metadata",
        parameters={"channel": channel, "version": metadata.version, "serial": metadata.serial},
        contents=contents,
        run=run,
        at=metadata.generated_at,
    )
    repository = release.metadata_repository
    subject = Subject("metadata", repository, manifest.digest, frozenset({Kind.PROVENANCE}))
    intent = Intent(subject, manifest.descriptor, f"{release.registry}/{repository}", Kind.PROVENANCE, make)
    return await attest(
        target,
        [intent],
        signer=signing.signer,
        verifier=ReferrerVerifier(target, signing.policy, rule=rule),
        policy=signing.policy,
        rule=rule,
        also=signing.also,
    )


def metadata_signer(
    release: Release, channel: str, *, target: Store, host: str, signing: Signing, run: str
) -> Callable[[ChannelMetadata, ImageManifest], Awaitable[None]]:
    """``attest_metadata`` as the transaction calls it: once for each metadata that it has pushed."""

    async def sign_metadata(metadata: ChannelMetadata, manifest: ImageManifest) -> None:
        await attest_metadata(release, channel, metadata, manifest, target=target, host=host, signing=signing, run=run)

    return sign_metadata


def renewal_signer(
    view: Release, workspace: Workspace, target: Store, *, host: str, lag: float = 0.0, emit: Emit
) -> Callable[[ChannelMetadata, ImageManifest, Digest], Awaitable[None]]:
    """Signs the metadata that a rollback or a refresh makes anew; who signs is found out when there is something.

    What is repeated comes from the registry, where the journal names it, and neither is believed for being there: it
    must be signed by who the channel accepts. Else whoever can write there would get our signature.

    Args:
        lag: seconds for which the registry may not show what was attached.
    """

    async def sign_metadata(metadata: ChannelMetadata, manifest: ImageManifest, renewed: Digest) -> None:
        signing = find_signing(view, workspace, host, emit=emit)
        if signing is None:
            return
        verifier = ReferrerVerifier(target, signing.policy, rule=rule_of(view, metadata.channel, host))
        finding = await verifier.find(view.metadata_repository, renewed, Kind.PROVENANCE)
        if finding.verified is None and lag:
            await anyio.sleep(lag)  # what was attached a moment ago may not be seen yet
            finding = await verifier.find(view.metadata_repository, renewed, Kind.PROVENANCE)
        if finding.verified is None:
            reasons = "; ".join(dict.fromkeys(finding.reasons)) or "it is not signed"
            text = f"metadata of {metadata.channel} is not signed anew, for {renewed} can't be believed: {reasons}"
            if Kind.PROVENANCE in view.project.evidence:
                raise EvidenceUntrusted(
                    text,
                    hint="release or promote again; if its signer has been replaced, list both until this is done",
                )
            emit(Note(text, warning=True))
            return
        await attest_metadata(
            view, metadata.channel, metadata, manifest, target=target, host=host, signing=signing, run=owner().run
        )

    return sign_metadata
