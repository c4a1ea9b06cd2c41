"""What a job proves about what it brings into the registry: the gate's verdicts, the SBOMs, the platforms' provenance.

What has trusted evidence already is left alone; what another run published, and nobody has vouched for, is looked at
where it is.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from shipgraph.build.built import now_text
from shipgraph.engine.attesting import intent_for, payload_intent, platform_intent, sign
from shipgraph.engine.validity import Telling, Validity
from shipgraph.evidence.requirements import Kind, payload_subject, platform_subject
from shipgraph.oci.manifest import ImageManifest
from shipgraph.sbom.stage import SbomMaker
from shipgraph.scan.stage import Subject as ScanSubject
from shipgraph.tasks import gather

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shipgraph.attest.stage import Intent
    from shipgraph.engine.gating import Gates
    from shipgraph.engine.images import Images, PlatformImage
    from shipgraph.engine.signing import Signing
    from shipgraph.events import Emit
    from shipgraph.evidence.referrers import ReferrerVerifier
    from shipgraph.evidence.requirements import Subject
    from shipgraph.oci.descriptor import Descriptor
    from shipgraph.project.release import Release
    from shipgraph.promote.collect import ReleaseSet
    from shipgraph.store.protocols import Fetcher, Store


async def prove_images(
    release: Release,
    images: Images,
    *,
    gates: Gates,
    target: Store,
    host: str,
    job: Fetcher | None,
    signing: Signing | None,
    emit: Emit,
) -> None:
    """Gate what no trusted verdict is about, attach the SBOMs, and sign verdicts and provenance in one ceremony.

    Args:
        host: the address by which programs read ``target``.
        job: the job's registry, which holds what was built just now.

    Raises:
        Refused: a secret was found; every finding has been looked for.
        EvidenceUntrusted, SigningFailed, ContentError, RegistryError
    """
    verifier = await _verifier(release, gates, target, host, signing)
    found = list(images.values())
    subjects = [_subject(image) for image in found]
    here = {image.built.digest for image in found if gates.verdict(image.built.record.repository, image.built.digest)}
    names = [(subject.name, subject, image.built.descriptor) for subject, image in zip(subjects, found, strict=True)]
    verdicts = await _gate(release, names, gates=gates, target=target, host=host, verifier=verifier, emit=emit)
    maker = SbomMaker()
    await gather(
        [
            partial(_attach_sbom, maker, image, target, job if image.built.digest in here else None, emit)
            for image in found
        ]
    )
    if signing is None:
        return
    provenance = [platform_intent(release, image.key, image.built.record, image.built.descriptor) for image in found]
    await sign([*verdicts, *provenance], about="images", target=target, signing=signing, verifier=verifier, emit=emit)


async def prove_payload(
    release: Release,
    found: ReleaseSet,
    *,
    gates: Gates,
    target: Store,
    host: str,
    signing: Signing | None,
    provenance: bool,
    run: str,
    emit: Emit,
) -> None:
    """Gate a set's payload where no trusted verdict is about it, and sign that.

    Args:
        provenance: whether its provenance is signed here as well.

    Raises:
        Refused: a secret was found.
        EvidenceUntrusted, SigningFailed, ContentError, RegistryError
    """
    payload, repository = found.payload, found.payload_repository
    if payload is None or repository is None:
        return
    verifier = await _verifier(release, gates, target, host, signing)
    subject = payload_subject(repository, payload.digest)
    intents = await _gate(
        release,
        [("payload", subject, payload.descriptor)],
        gates=gates,
        target=target,
        host=host,
        verifier=verifier,
        emit=emit,
    )
    if signing is not None:
        if provenance:
            intents.append(payload_intent(release, found, run=run))
        if intents:
            await sign(intents, about="payload", target=target, signing=signing, verifier=verifier, emit=emit)


async def _verifier(
    release: Release, gates: Gates, target: Store, host: str, signing: Signing | None
) -> ReferrerVerifier | None:
    """Finds evidence that still counts: of the gate, by today's rules and exceptions."""
    if signing is None:
        return None
    return signing.verifier(target, Validity(release.project.gate, rules=await gates.at(host).rules()))


async def _gate(
    release: Release,
    named: Sequence[tuple[str, Subject, Descriptor]],
    *,
    gates: Gates,
    target: Store,
    host: str,
    verifier: ReferrerVerifier | None,
    emit: Emit,
) -> list[Intent]:
    """The verdicts to be signed: on all of it that no trusted verdict is about which still counts.

    Raises:
        Refused
    """

    async def there(subject: Subject) -> bool:
        return verifier is not None and await Telling(verifier, emit)(subject, Kind.GATE)

    known = await gather([partial(there, subject) for _, subject, _ in named]) if named else []
    lacking = [one for one, is_there in zip(named, known, strict=True) if not is_there]
    unseen = [
        ScanSubject(name, subject.repository, subject.digest)
        for name, subject, _ in lacking
        if gates.verdict(subject.repository, subject.digest) is None
    ]
    if unseen:
        await gates.at(host).look(target, unseen)
    gates.check()
    at = now_text()
    intents: list[Intent] = []
    for _, subject, descriptor in lacking:
        verdict = gates.verdict(subject.repository, subject.digest)
        assert verdict is not None  # noqa: S101 (looked at above)
        (manifest,) = verdict.manifests
        make = partial(manifest.predicate, scanner=verdict.scanner, rules=verdict.rules, finished_on=at)
        intents.append(intent_for(release, subject, descriptor, Kind.GATE, make))
    return intents


def _subject(image: PlatformImage) -> Subject:
    return platform_subject(image.key, image.built.record.repository, image.built.digest, image.platform)


async def _attach_sbom(
    maker: SbomMaker, image: PlatformImage, target: Store, source: Fetcher | None, emit: Emit
) -> None:
    repository = image.built.record.repository
    manifest = await target.manifest(repository, image.built.digest)
    assert isinstance(manifest, ImageManifest)  # noqa: S101 (a build record of a platform names no index)
    await maker.attach(target, repository, manifest, image.platform, source=source, emit=emit)
