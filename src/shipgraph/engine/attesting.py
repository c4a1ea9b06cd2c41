"""Evidence about a release: whom its project trusts, who signs, and the provenance of all it is made of."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from shipgraph import __version__
from shipgraph.attest.key import KEY_PLACE, LOCAL, load_key, make_key, parse_key
from shipgraph.attest.provenance import LOCAL_BUILDER, Origin, image_provenance, pack_provenance
from shipgraph.attest.stage import Attested, Intent, attest
from shipgraph.build.claims import find_build
from shipgraph.build.inputs import ANNOTATION_INPUTS
from shipgraph.channel.metadata import rfc3339
from shipgraph.errors import ConfigurationError, Refused
from shipgraph.events import Finished, Started
from shipgraph.evidence.referrers import ReferrerVerifier
from shipgraph.evidence.requirements import Kind, Subject
from shipgraph.evidence.trust import Identity, SignerRule, TrustPolicy
from shipgraph.oci.digest import Digest
from shipgraph.oci.reference import is_loopback
from shipgraph.promote.collect import ReleaseSet, collect_set
from shipgraph.tasks import gather

if TYPE_CHECKING:
    from typing import Any

    from shipgraph.attest.key import KeySigner
    from shipgraph.attest.stage import AttestationStore
    from shipgraph.channel.metadata import ChannelMetadata
    from shipgraph.engine.workspace import Workspace
    from shipgraph.events import Emit
    from shipgraph.evidence.signer import Signer
    from shipgraph.oci.manifest import ImageIndex, ImageManifest
    from shipgraph.project.release import Release
    from shipgraph.records.builds import BuildRecord
    from shipgraph.store.protocols import Store

TASK = "attest"
KEY_VARIABLE = "SHIPGRAPH_SIGNING_KEY"
ENVIRONMENT_KEY = "environment"


@dataclass(frozen=True, slots=True)
class Signing:
    """What evidence of a release is made and judged with: ``also`` gets every bundle as well."""

    signer: Signer
    policy: TrustPolicy
    also: AttestationStore | None = None


def trust_of(release: Release, workspace: Workspace, host: str) -> TrustPolicy:
    """Whom a project trusts: what its file says and, on this machine alone, this machine's own key.

    Args:
        host: the registry that evidence is read from.

    Raises:
        ConfigurationError: the trust configuration or the machine's key can't be read.
    """
    spec = release.project.signing
    identities = spec.identities
    if identities is None:
        branch = f"refs/heads/{release.project.default_branch}"
        identities = (Identity(release.source, refs=(branch, "refs/tags/*")),) if release.source else ()
    keys = spec.keys
    place = workspace.root / KEY_PLACE
    if is_local(release, host) and place.exists():
        keys = (*keys, load_key(place).public)
    text = None if spec.trust_config is None else release.project.locate(spec.trust_config).read_text()
    return TrustPolicy(keys, identities, text)


def rule_of(release: Release, channel: str, host: str) -> SignerRule:
    """Who may sign a channel's metadata; on this machine alone, this machine's own key as well.

    Raises:
        ConfigurationError: the project has no such channel.
    """
    channels = release.project.channels
    if channel not in channels:
        raise ConfigurationError(f"there is no channel {channel!r}", allowed=", ".join(channels))
    rule = channels[channel].signer
    if rule.keys is not None and is_local(release, host):
        return replace(rule, keys=(*rule.keys, LOCAL))
    return rule


def is_local(release: Release, host: str) -> bool:
    """Whether nothing of it leaves this machine."""
    return release.rehearsal or is_loopback(host)


def open_signing(release: Release, workspace: Workspace, host: str, *, also: AttestationStore | None = None) -> Signing:
    """Who signs here, and whom the project trusts; a key is made where a rehearsal has none yet.

    Raises:
        ConfigurationError: there is nothing to sign with.
    """
    from shipgraph.attest.keyless import KeylessSigner, has_token

    spec = release.project.signing
    keyless = spec.by == "keyless" or (spec.by == "auto" and has_token() and not is_local(release, host))
    if keyless:
        policy = trust_of(release, workspace, host)
        return Signing(KeylessSigner(trust_config=policy.trust_config), policy, also)
    signer = local_signer(release, workspace, host)
    return Signing(signer, trust_of(release, workspace, host), also)


def local_signer(release: Release, workspace: Workspace, host: str) -> KeySigner:
    """The key that signs on this machine: the one in the environment, else the workspace's, named as the file does.

    Raises:
        ConfigurationError: there is none, and this is no rehearsal that could make one.
    """
    place = workspace.root / KEY_PLACE
    if text := os.environ.get(KEY_VARIABLE):
        signer = parse_key(text.encode(), ENVIRONMENT_KEY, where=f"${KEY_VARIABLE}")
    elif place.exists():
        signer = load_key(place)
    elif is_local(release, host):
        workspace.prepare()
        signer = make_key(place)
    else:
        raise ConfigurationError(
            f"there is nothing to sign with: neither ${KEY_VARIABLE} nor {place}",
            hint="`shipgraph attest --print-key` makes a key; sign keyless in a job with `id-token: write`",
        )
    for key in release.project.signing.keys:
        if key.hint == signer.public.hint:
            return signer.named(key.name)
    return signer


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
    emit(Started(TASK, "attest"))
    found = await collect_set(target, release, release.immutable_tag(revision))
    intents = await provenance_intents(release, found, target=target, run=run)
    done = await attest(
        target,
        intents,
        signer=signing.signer,
        verifier=ReferrerVerifier(target, signing.policy),
        policy=signing.policy,
        also=signing.also,
    )
    outcome = f"{len(done.made)} signed by {done.signer}" if done.made else "unchanged"
    emit(Finished(TASK, "attest", outcome))
    return found, done


async def provenance_intents(release: Release, found: ReleaseSet, *, target: Store, run: str) -> list[Intent]:
    """What is to be stated about a set.

    Raises:
        Refused: a build record is missing.
    """
    origin = origin_of(release)
    intents = [
        intent
        for some in await gather([partial(_image_intents, release, origin, image, target) for image in found.images])
        for intent in some
    ]
    if found.payload is not None and found.payload_repository is not None:
        payload = found.payload
        subject = Subject("payload", found.payload_repository, payload.digest, frozenset({Kind.PROVENANCE}))
        parameters = {"version": release.version}
        contents = [(image.key, image.index.digest) for image in found.images]
        contents.extend(("layer", layer.digest) for layer in payload.layers)
        make = partial(
            pack_provenance,
            origin,
            what="payload",
            parameters=parameters,
            contents=contents,
            run=run,
            at=rfc3339(release.commit_time),
        )
        name = f"{release.registry}/{found.payload_repository}"
        intents.append(Intent(subject, payload.descriptor, name, Kind.PROVENANCE, make))
    return intents


async def _image_intents(release: Release, origin: Origin, image: Any, target: Store) -> list[Intent]:
    name = f"{release.registry}/{image.repository}"
    kinds = frozenset({Kind.PROVENANCE})

    async def one(manifest: ImageManifest | ImageIndex, title: str, platforms: dict[str, Digest] | None) -> Intent:
        record = await _record(release, image.repository, manifest, title, target)
        subject = Subject(title, image.repository, manifest.digest, kinds)
        make = partial(image_provenance, origin, record, platforms=platforms)
        return Intent(subject, manifest.descriptor, name, Kind.PROVENANCE, make)

    async def platform(child: Any) -> Intent:
        manifest = await target.manifest(image.repository, child.digest)
        return await one(manifest, f"{image.key} ({child.platform or '?'})", None)

    platforms = {str(child.platform): child.digest for child in image.index.manifests}
    return await gather(
        [
            partial(one, image.index, image.key, platforms),
            *(partial(platform, child) for child in image.index.manifests),
        ]
    )


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
