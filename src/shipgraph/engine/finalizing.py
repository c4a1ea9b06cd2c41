"""The end of a release: its set as the registry has it, its evidence, and the transaction that moves every tag."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from shipgraph.channel.journal import JOURNAL, JOURNAL_TYPE, Kind, State, decode_entry
from shipgraph.engine.attesting import metadata_signer
from shipgraph.engine.bases import check_pinned
from shipgraph.engine.liveness import run_liveness
from shipgraph.engine.opening import GitAncestry, owner
from shipgraph.engine.payload import check_belongs
from shipgraph.engine.testing import tests_of
from shipgraph.engine.validity import Telling, Validity
from shipgraph.engine.visibility import prove_public, release_subjects
from shipgraph.errors import ChannelBusy, ConfigurationError
from shipgraph.events import Finished, Note, Started
from shipgraph.evidence.requirements import Survey, survey
from shipgraph.promote.collect import ReleaseSet, collect_set
from shipgraph.promote.protocol import Settled, Unchanged
from shipgraph.promote.stage import Wishes, finalize
from shipgraph.records.document import read_document

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from shipgraph.channel.journal import Owner
    from shipgraph.engine.signing import Signing
    from shipgraph.events import Emit
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


def check_publishes(release: Release) -> None:
    """Refuse what has no channel to go to.

    Raises:
        ConfigurationError
    """
    if release.channel is None:
        raise ConfigurationError("a pull request publishes nothing", hint="`shipgraph build` builds it")


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
