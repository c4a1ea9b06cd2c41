"""The release, start to end: the set, the images, the payload, the evidence, the transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from shipgraph.channel.journal import Kind
from shipgraph.engine.attesting import attest_release
from shipgraph.engine.building import build_and_assemble
from shipgraph.engine.finalizing import Transacting, finish, survey_set
from shipgraph.engine.opening import owner
from shipgraph.engine.payload import check_payload, make_payload
from shipgraph.engine.signing import find_signing
from shipgraph.engine.testing import check_tests, run_release_tests
from shipgraph.promote.collect import ReleaseSet, collect_set
from shipgraph.promote.protocol import Settled, Unchanged

if TYPE_CHECKING:
    from shipgraph.engine.assembling import ImageResult
    from shipgraph.engine.testing import Tested
    from shipgraph.engine.workshop import Workshop
    from shipgraph.events import Emit
    from shipgraph.evidence.requirements import Survey
    from shipgraph.oci.digest import Digest
    from shipgraph.project.release import Release
    from shipgraph.promote.timing import Timing
    from shipgraph.store.protocols import Store


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
    check_tests(release)
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
