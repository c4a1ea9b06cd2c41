"""The release, start to end: the set, the images, the payload, the evidence, the transaction."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from shipgraph.channel.journal import JOURNAL, JOURNAL_TYPE, Kind, State, decode_entry
from shipgraph.engine.assembling import ImageResult, assemble_images
from shipgraph.engine.attesting import attest_release, metadata_signer
from shipgraph.engine.bases import BaseSupply, check_pinned, settle_set
from shipgraph.engine.claiming import join_release
from shipgraph.engine.gating import Gates
from shipgraph.engine.images import Images, build_platforms
from shipgraph.engine.liveness import run_liveness
from shipgraph.engine.opening import GitAncestry, owner
from shipgraph.engine.payload import check_belongs, check_payload, make_payload
from shipgraph.engine.proving import prove_images
from shipgraph.engine.sets import newest_record
from shipgraph.engine.signing import find_signing
from shipgraph.engine.testing import run_release_tests, tests_of
from shipgraph.engine.validity import Telling, Validity
from shipgraph.engine.visibility import prove_public, release_subjects
from shipgraph.errors import BaseGone, ChannelBusy, ConfigurationError
from shipgraph.events import Finished, Note, Started
from shipgraph.evidence.requirements import Survey, survey
from shipgraph.promote.collect import ReleaseSet, collect_set
from shipgraph.promote.protocol import Settled, Unchanged
from shipgraph.promote.stage import Wishes, finalize
from shipgraph.records.document import read_document

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from shipgraph.channel.journal import Owner
    from shipgraph.engine.signing import Signing
    from shipgraph.engine.testing import Tested
    from shipgraph.engine.workshop import Workshop
    from shipgraph.engine.workspace import Workspace
    from shipgraph.events import Emit
    from shipgraph.oci.digest import Digest
    from shipgraph.oci.platform import Platform
    from shipgraph.project.release import Release
    from shipgraph.promote.timing import Timing
    from shipgraph.records.sets import SetRecord
    from shipgraph.store.protocols import Store

FINALIZE: Final = "finalize"


@dataclass(frozen=True, slots=True)
class Transacting:
    """How the transaction is run: what the user allows, how many tags at a time, and when to stop.

    ``protected`` surrounds it, so that a first signal doesn't cut it off.
    """

    wishes: Wishes
    jobs: int = 8
    stop: Callable[[], bool] = lambda: False
    protected: Callable[[], AbstractContextManager[None]] = nullcontext


@dataclass(frozen=True, slots=True)
class Published:
    """What a release did; a pull request's has no ``outcome``, for no tag of it moves."""

    release: Release
    revision: int
    images: tuple[ImageResult, ...]
    found: ReleaseSet
    payload_uploaded: bool
    tested: Tested
    evidence: Survey
    outcome: Settled | Unchanged | None

    @property
    def metadata(self) -> Digest | None:
        """The digest of the channel's metadata; None for a pull request."""
        return None if self.outcome is None else self.outcome.metadata

    @property
    def unchanged(self) -> bool:
        """Whether nothing was built, uploaded or moved."""
        nothing_built = not any(image.built for image in self.images)
        return nothing_built and not self.payload_uploaded and not isinstance(self.outcome, Settled)


async def build_images(
    release: Release,
    keys: Sequence[str],
    *,
    platforms: Sequence[Platform] | None = None,
    target: Store,
    workshop: Workshop,
    timing: Timing,
    signing: Signing | None,
    emit: Emit,
    claimed: bool = False,
) -> tuple[SetRecord, Images]:
    """Claim or join the set, then build what is missing of the images and all they are built from.

    What the gate lets pass is pushed by digest, with a record each, its SBOM, and signed evidence; no tag of an image
    is set.

    Args:
        platforms: only these of the release's platforms.
        signing: None where nothing is signed.
        claimed: the set was claimed by another job, and is taken as it is.

    Raises:
        Refused: the gate found a secret; or nobody has claimed the set.
        UnpinnedBase, BuildFailed, DiskFull, ToolMissing, ConfigurationError, Conflict, RegistryError
    """
    closure = release.project.graph.closure(keys)
    wanted = _narrowed(release, platforms)
    gates = Gates(release.project.gate, workshop.workspace, emit=emit)

    async def attempt(supply: BaseSupply, *, refresh: bool) -> tuple[SetRecord, Images]:
        if claimed:
            record = await join_release(release, supply, target=target)
        else:
            record = await settle_set(release, supply, target=target, timing=timing, refresh=refresh)
        if record.revision > 1:
            emit(Note(f"this is revision {record.revision} of commit {release.commit[:12]}"))
        images = await build_platforms(
            release,
            record,
            closure,
            platforms=wanted,
            target=target,
            workshop=workshop,
            supply=supply,
            gates=gates,
            timing=timing,
            run=owner().run,
            emit=emit,
        )
        return record, images

    async with BaseSupply(release, workshop.workspace, emit=emit) as supply:
        try:
            record, images = await attempt(supply, refresh=False)
        except BaseGone as gone:
            if claimed:
                raise
            emit(Note(f"{gone}; resolving bases again", warning=True))
            record, images = await attempt(supply, refresh=True)
    built = any(image.fresh for image in images.values())
    await prove_images(
        release,
        images,
        gates=gates,
        target=target,
        host=workshop.target_host,
        job=(await workshop.registry()).store if built else None,
        signing=signing,
        emit=emit,
    )
    return record, images


async def build_and_assemble(
    release: Release,
    keys: Sequence[str],
    *,
    target: Store,
    workshop: Workshop,
    timing: Timing,
    signing: Signing | None,
    emit: Emit,
) -> tuple[SetRecord, dict[str, ImageResult]]:
    """``build_images`` for all platforms, then their indexes under the set's immutable tag.

    Raises:
        ImmutableTagConflict: another image is there already under the immutable tag.
        ShipgraphError: see ``build_images``.
    """
    record, images = await build_images(
        release, keys, target=target, workshop=workshop, timing=timing, signing=signing, emit=emit
    )
    closure = release.project.graph.closure(keys)
    return record, await assemble_images(
        release, record, closure, images, target=target, timing=timing, run=owner().run
    )


async def assemble_built(
    release: Release, keys: Sequence[str], *, target: Store, workspace: Workspace, timing: Timing, emit: Emit
) -> tuple[SetRecord, dict[str, ImageResult]]:
    """Assemble what was built before, on other machines say, and all it is built from; nothing is built.

    Raises:
        Refused: the registry has no set of this commit.
        BuildFailed: an image was not built for some platform.
        ImmutableTagConflict, RegistryError
    """
    record = await newest_record(release, target)
    closure = release.project.graph.closure(keys)
    async with BaseSupply(release, workspace, emit=emit, make_roots=False) as supply:
        supply.use(record)
        images = await build_platforms(
            release,
            record,
            closure,
            platforms=release.platforms,
            target=target,
            workshop=None,
            supply=supply,
            gates=None,
            timing=timing,
            run=owner().run,
            emit=emit,
        )
    return record, await assemble_images(
        release, record, closure, images, target=target, timing=timing, run=owner().run
    )


def _narrowed(release: Release, platforms: Sequence[Platform] | None) -> tuple[Platform, ...]:
    if not platforms:
        return release.platforms
    unknown = [str(platform) for platform in platforms if platform not in release.platforms]
    if unknown:
        raise ConfigurationError(
            f"the release is not built for {', '.join(unknown)}", allowed=", ".join(map(str, release.platforms))
        )
    return tuple(platform for platform in release.platforms if platform in platforms)


def check_publishes(release: Release) -> None:
    """Refuse what has no channel to go to.

    Raises:
        ConfigurationError
    """
    if release.channel is None:
        raise ConfigurationError("a pull request publishes nothing", hint="`shipgraph build` builds it")


async def publish(
    release: Release,
    *,
    target: Store,
    workshop: Workshop,
    timing: Timing,
    transacting: Transacting,
    emit: Emit,
) -> Published:
    """All of it: every moving tag changes to this release, or none does.

    A pull request's release is built, gated and tested, and nothing moves.

    Raises:
        ShipgraphError: what is said in ``errors``; moving tags are then as before, unless the error is
            ``TransactionUnfinished``.
    """
    await check_payload(release)
    host, workspace = workshop.target_host, workshop.workspace
    signing = find_signing(release, workspace, host, emit=emit)
    record, images = await build_and_assemble(
        release,
        release.project.graph.order,
        target=target,
        workshop=workshop,
        timing=timing,
        signing=signing,
        emit=emit,
    )
    tested = await run_release_tests(
        release, record.revision, host=host, target=target, workspace=workspace, signing=signing, emit=emit
    )
    tested.check()
    uploaded = await make_payload(
        release, record.revision, target=target, workshop=workshop, timing=timing, signing=signing, emit=emit
    )
    if signing is not None:
        await attest_release(release, record.revision, target=target, signing=signing, run=owner().run, emit=emit)
    if release.channel is None:
        found = await collect_set(target, release, release.immutable_tag(record.revision))
        evidence, outcome = await survey_set(release, found, target, signing, emit=emit), None
    else:
        found, evidence, outcome = await finish(
            release,
            record,
            target=target,
            host=host,
            signing=signing,
            timing=timing,
            transacting=transacting,
            kind=Kind.RELEASE,
            emit=emit,
        )
    return Published(release, record.revision, tuple(images.values()), found, uploaded, tested, evidence, outcome)


async def finish(
    release: Release,
    record: SetRecord,
    *,
    target: Store,
    host: str,
    signing: Signing | None,
    timing: Timing,
    transacting: Transacting,
    kind: Kind,
    emit: Emit,
    as_owner: Owner | None = None,
) -> tuple[ReleaseSet, Survey, Settled | Unchanged]:
    """Collect the set from the registry, ask for its evidence, and move every tag to it.

    Args:
        record: the set, as it was claimed: maybe by a release to a channel that takes more than this one.
        host: the registry as this machine reaches it.
        signing: whose evidence counts, and who signs the metadata; None where no evidence is required.

    Raises:
        Refused: the set is incomplete, lacks evidence, or its payload is another's; or the registry refused a move and
            all were taken back.
        UnpinnedBase: the channel takes only releases with pinned bases.
        NotPublic: not everybody can pull it, where that is asked for; nothing moved, unless it is the metadata alone.
        EvidenceUntrusted, SigningFailed: the metadata can't be signed by who the channel accepts; nothing moved.
        Conflict, RegistryError, TransactionUnfinished
    """
    check_publishes(release)
    check_pinned(release, record)
    emit(Started(FINALIZE, "finalize"))
    found = await collect_set(target, release, release.immutable_tag(record.revision))
    await check_belongs(found, target)
    # a promoted release was tested as its own commit asks for; the file that is checked out may be of another
    ask = partial(survey_set, release, found, target, signing, emit=emit, tests=kind is Kind.RELEASE)
    evidence = await ask()
    if timing.lag and evidence.refuses:
        await anyio.sleep(timing.lag)  # what was attached a moment ago may not be seen yet
        evidence = await ask()
    evidence.check()
    (
        await prove_public(release, target, await release_subjects(release, target, found), lag=timing.lag, emit=emit)
    ).check()
    channel, signer = release.channel, as_owner or owner()
    assert channel is not None  # noqa: S101 (checked above)

    async def move(wishes: Wishes) -> Settled | Unchanged:
        return await finalize(
            target,
            release,
            found,
            record.revision,
            kind=kind,
            owner=signer,
            timing=timing,
            ancestry=GitAncestry(release.project.folder),
            wishes=wishes,
            emit=emit,
            jobs=transacting.jobs,
            stop=transacting.stop,
            alive=run_liveness(release.source, emit=emit),
            sign=None
            if signing is None
            else metadata_signer(release, channel, target=target, host=host, signing=signing, run=signer.run),
        )

    with transacting.protected():
        try:
            outcome = await move(transacting.wishes)
        except ChannelBusy:
            if not await _is_moving(target, release, found.immutable_tag):
                raise
            emit(Note("another run is publishing this very release: waiting until it is done"))
            outcome = await move(replace(transacting.wishes, wait=True))
    emit(Finished(FINALIZE, "finalize", "unchanged" if isinstance(outcome, Unchanged) else "all tags moved"))
    if isinstance(outcome, Settled):
        moved = await release_subjects(release, target, found, outcome.metadata)
        (await prove_public(release, target, moved, lag=timing.lag, emit=emit)).check()
    return found, evidence, outcome


async def survey_set(
    release: Release, found: ReleaseSet, target: Store, signing: Signing | None, *, emit: Emit, tests: bool = True
) -> Survey:
    """Which evidence a set has; only what the project trusts counts, and no verdict by an exception that is over.

    Args:
        tests: whether verdicts of other tests than the project's file asks for count for nothing.
    """
    if signing is None:
        return await survey(found.subjects, release.project.evidence, None)
    standing = Validity(release.project.gate, tests=tests_of(release, found) if tests else {})
    return await survey(found.subjects, release.project.evidence, Telling(signing.verifier(target, standing), emit))


async def _is_moving(target: Store, release: Release, immutable_tag: str) -> bool:
    """Whether the transaction that the journal shows is for this very release, or is over by now."""
    journal = await target.resolve(release.metadata_repository, JOURNAL)
    if journal is None:
        return False
    document = await read_document(target, release.metadata_repository, journal.digest, JOURNAL_TYPE)
    entry = decode_entry(document.content, where="journal")
    if entry.state is not State.OPEN:
        return True
    moves = entry.release
    same = moves is not None and (moves.immutable_tag, moves.version) == (immutable_tag, release.version)
    return same and entry.channel == release.channel
