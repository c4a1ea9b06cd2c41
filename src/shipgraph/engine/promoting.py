"""Promote: an existing release to another channel or version; no builder is needed, and no digest changes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from shipgraph.build.claims import newest_set
from shipgraph.channel.journal import Kind
from shipgraph.engine.bases import check_pinned
from shipgraph.engine.finalizing import Transacting, finish
from shipgraph.engine.gating import Gates
from shipgraph.engine.opening import Asked, open_view, owner
from shipgraph.engine.proving import prove_payload
from shipgraph.errors import ConfigurationError, Refused
from shipgraph.events import Note
from shipgraph.oci.platform import Platform
from shipgraph.payload.stage import version_payload
from shipgraph.project.channels import decide
from shipgraph.project.git import find_commit, read_git
from shipgraph.project.trigger import Trigger
from shipgraph.promote.collect import collect_set, payload_tag

if TYPE_CHECKING:
    from shipgraph.engine.signing import Signing
    from shipgraph.engine.workspace import Workspace
    from shipgraph.events import Emit
    from shipgraph.evidence.requirements import Survey
    from shipgraph.project.release import Release
    from shipgraph.promote.collect import ReleaseSet
    from shipgraph.promote.protocol import Settled, Unchanged
    from shipgraph.promote.timing import Timing
    from shipgraph.records.sets import SetRecord
    from shipgraph.store.protocols import Store


async def open_promotion(asked: Asked, commit: str | None) -> Release:
    """What is to be promoted, and where to: the commit is the git tag's where the version exists in git, else the
    one that was named, else the one that is checked out.

    Raises:
        ConfigurationError, GitError
    """
    view = await open_view(asked.folder, asked.registry, asked.root)
    project = view.project
    if not asked.channel and not asked.version:
        raise ConfigurationError("promote where to?", hint="give --channel, or --version for a release")
    git = await read_git(project.folder)
    goal = decide(project.channels, Trigger.local(asked.channel, asked.version), branch=git.branch)
    found = None
    if commit is not None:
        found = await find_commit(project.folder, commit)
        if found is None:
            raise ConfigurationError(f"git has no commit or tag {commit!r}", hint="give 40 hex digits or a tag's name")
    elif goal.release_tag is not None:
        found = await find_commit(project.folder, goal.release_tag)
    of, time = found or (git.commit, git.commit_time)
    return replace(
        view,
        channel=goal.channel,
        version=goal.version,
        release_tag=goal.release_tag,
        commit=of,
        commit_time=time,
        dirty=False,
    )


async def promote(
    release: Release,
    *,
    target: Store,
    host: str,
    workspace: Workspace,
    signing: Signing | None,
    timing: Timing,
    transacting: Transacting,
    emit: Emit,
) -> tuple[Release, ReleaseSet, Survey, Settled | Unchanged]:
    """Move the newest revision of the release's commit to the release's channel and version.

    The payload's manifest for the version is made, gated and attested here; of everything else the evidence must be
    there.

    Args:
        host: the registry as this machine reaches it.

    Raises:
        Refused: there is no such release, it is incomplete, or it lacks evidence that is required.
        UnpinnedBase: the channel takes only releases with pinned bases.
        Conflict, RegistryError, TransactionUnfinished
    """
    record = await newest_set(target, release.metadata_repository, release.commit)
    if record is None:
        raise Refused(
            f"the registry has no release of commit {release.commit}",
            hint="`shipgraph release` makes one; promote only moves what is there",
        )
    check_pinned(release, record)
    if release.rehearsal:  # a rehearsal may have narrowed its platforms
        release = replace(release, platforms=_platforms(release, record))
    tag = release.immutable_tag(record.revision)
    spec, repository = release.project.payload, release.payload_repository
    if spec is not None and repository is not None:
        await version_payload(
            target, spec, repository, tag, payload_tag(tag, release.version), release.version, timing.settle
        )
        await prove_payload(
            release,
            await collect_set(target, release, tag),
            gates=Gates(release.project.gate, workspace, emit=emit),
            target=target,
            host=host,
            signing=signing,
            provenance=True,
            run=owner().run,
            emit=emit,
        )
    emit(Note(f"promoting {tag} to {release.channel} as {release.version}"))
    found, evidence, outcome = await finish(
        release,
        record,
        target=target,
        host=host,
        signing=signing,
        timing=timing,
        transacting=transacting,
        kind=Kind.PROMOTE,
        emit=emit,
    )
    return release, found, evidence, outcome


def _platforms(release: Release, record: SetRecord) -> tuple[Platform, ...]:
    built = {Platform.parse(text) for text in record.platforms}
    return tuple(platform for platform in release.platforms if platform in built)
