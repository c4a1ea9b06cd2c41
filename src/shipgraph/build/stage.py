"""The steps of building, each of which first asks the registry whether its work is done.

::

    plan_inputs ─► find_build ─┬─ there: reuse ──────────────────────────────────────┬─► assemble ─► claim_image_tag
                               └─ not: build_platform ─► (gate) ─► publish_platform ─┘

A build pushes to the job's own registry on loopback (``job``); what passed the gate is copied from there, byte for
byte, to the ``target``. Which step comes when is the engine's to say. Other runs may do the same at the same time:
whoever claims a build's record first is followed by all (``claims``).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

import anyio

from shipgraph.build.ages import scoped
from shipgraph.build.builder import DEFAULT_TIMEOUT, BaseImage, BuildRequest, Cache, build_task
from shipgraph.build.built import Built, now_text
from shipgraph.build.claims import ClaimStore, claim_build
from shipgraph.build.finish import finish_image
from shipgraph.build.inputs import ANNOTATION_INPUTS, Inputs, platform_inputs
from shipgraph.build.secrets import declared_secrets
from shipgraph.errors import BuildFailed, ConfigurationError, ShipgraphError
from shipgraph.events import Failed, Finished, Started
from shipgraph.oci import media_types
from shipgraph.oci.platform import Platform
from shipgraph.records.builds import BuildRecord
from shipgraph.store.copy import copy_manifest
from shipgraph.store.protocols import Fetcher, Prober, Pusher, Tagger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from shipgraph.build.builder import Builder
    from shipgraph.build.context import Context
    from shipgraph.events import Emit
    from shipgraph.records.claims import Sleep


class JobStore(Fetcher, Prober, Pusher, Tagger, Protocol):
    """What building needs of the job's own registry."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a base's or parent's manifest can be copied from if the job's registry lacks it."""

    store: Fetcher
    repository: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformBuild:
    """One image for one platform, as the plan has it.

    ``repository`` is the full name without the host, the same in the job's registry and the target. ``base`` is the
    parent (``parent`` is true) or the external base; ``base_name`` the reference of the latter, for annotations.
    ``labels`` and ``annotations`` are the same for every commit; ``secrets`` the ids that the image declares;
    ``epoch`` its age epoch; ``created`` the commit's time in seconds.
    """

    image: str
    repository: str
    platform: Platform
    context: Context
    dockerfile: Path
    base: BaseImage | None
    commit: str
    created: int
    parent: bool = False
    base_name: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    epoch: int = 0

    @property
    def task(self) -> str:
        """The name of this build in events."""
        return build_task(self.image, self.platform)

    @property
    def title(self) -> str:
        """The name of this build for people."""
        return f"{self.image} {self.platform}"


def describe_image(
    title: str,
    *,
    source: str = "",
    description: str | None = None,
    licenses: str | None = None,
) -> dict[str, str]:
    """The OCI annotations (and labels) that are the same for every commit of a project."""
    named = {
        media_types.ANNOTATION_TITLE: title,
        media_types.ANNOTATION_SOURCE: source,
        media_types.ANNOTATION_DESCRIPTION: description,
        media_types.ANNOTATION_LICENSES: licenses,
    }
    return {key: value for key, value in named.items() if value}


async def plan_inputs(build: PlatformBuild) -> Inputs:
    """The inputs of a build; reads the Dockerfile and nothing else.

    Raises:
        ConfigurationError: there is no Dockerfile.
    """
    try:
        dockerfile = await anyio.Path(build.dockerfile).read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"the Dockerfile of image {build.image} can't be read: {build.dockerfile}: {error.strerror}",
            hint="set `dockerfile`, or put a file of the name Dockerfile into its context",
        ) from error
    base = "" if build.base is None else str(build.base.digest)
    return platform_inputs(
        image=build.image,
        platform=build.platform,
        dockerfile=dockerfile,
        context=build.context.hash,
        arguments=build.arguments,
        parent=base if build.parent else "",
        base="" if build.parent else base,
        labels=build.labels,
        annotations=build.annotations,
        secrets=build.secrets,
        epoch=build.epoch,
    )


async def build_platform(
    build: PlatformBuild,
    *,
    builder: Builder,
    job: JobStore,
    job_address: str,
    logs: Path,
    origin: Origin | None = None,
    secrets: Mapping[str, Path] | None = None,
    caches: Sequence[Cache] = (),
    fresh: bool = False,
    timeout: float | None = None,
    http_proxy: bool = True,
    run: str = "",
    emit: Emit,
) -> Built:
    """Build into the job's registry.

    Args:
        job, job_address: the job's registry, as a store and as the ``host:port`` of it that the builder pushes to.
        logs: the folder for ``<image>-<platform>.log``.
        origin: where the base comes from if the job's registry doesn't have it yet.
        secrets: what this machine offers, by id; the build gets those that the image declares.
        fresh: run every step, whatever any cache holds.

    Raises:
        BuildFailed, DiskFull, ToolMissing, ConfigurationError: see ``Builder`` and ``finish_image``.
        RegistryError: the base can't be had.
    """
    inputs = await plan_inputs(build)
    log = logs / f"{build.image}-{build.platform.slug}.log"
    emit(Started(build.task, build.title))
    began, started = time.monotonic(), now_text()
    try:
        await anyio.Path(logs).mkdir(parents=True, exist_ok=True)
        await anyio.Path(log).unlink(missing_ok=True)
        await provide_base(build.base, job=job, origin=origin, emit=emit)
        request = BuildRequest(
            image=build.image,
            platform=build.platform,
            context=build.context.folder,
            dockerfile=build.dockerfile,
            base=build.base,
            registry=job_address,
            repository=build.repository,
            epoch=build.created,
            log=log,
            ignore_file=build.context.ignore_file,
            arguments=build.arguments,
            labels={**build.labels, **_commit_labels(build)},
            secrets=declared_secrets(build.secrets, secrets or {}),
            caches=scoped(caches, build.epoch),
            age_epoch=build.epoch,
            timeout=DEFAULT_TIMEOUT if timeout is None else timeout,
            http_proxy=http_proxy,
            fresh=fresh,
        )
        outcome = await builder.build(request, emit=emit)
        manifest = await finish_image(
            job,
            build.repository,
            outcome.digest,
            platform=build.platform,
            annotations=_annotations(build, inputs),
            base_repository="" if build.base is None else build.base.repository,
            base=None if build.base is None else build.base.digest,
        )
    except ShipgraphError as error:
        emit(Failed(build.task, build.title, str(error), str(log)))
        raise
    emit(Finished(build.task, build.title, "built", time.monotonic() - began))
    base = "" if build.base is None else str(build.base.digest)
    record = BuildRecord(
        inputs=inputs.hash,
        image=build.image,
        repository=build.repository,
        platform=str(build.platform),
        digest=str(manifest.digest),
        media_type=manifest.media_type,
        size=manifest.size,
        builder=builder.description,
        bases={build.base_name or (build.base.name if build.base else ""): base} if base and not build.parent else {},
        arguments=dict(build.arguments),
        parent=base if build.parent else "",
        commit=build.commit,
        run=run,
        started=started,
        ended=now_text(),
        components=dict(inputs.components),
    )
    return Built(record, fresh=True)


async def provide_base(base: BaseImage | None, *, job: JobStore, origin: Origin | None, emit: Emit) -> None:
    """Make sure that the job's registry has what a build starts from.

    Raises:
        BuildFailed: it hasn't, and nobody says where it could come from.
        NotFound, ContentError, RegistryError
    """
    if base is None or await job.has_manifest(base.repository, base.digest):
        return
    if origin is None:
        raise BuildFailed(f"{base.repository}@{base.digest}, which the build starts from, is nowhere to be had")
    await copy_manifest(origin.store, origin.repository, job, base.repository, base.digest, emit=emit)


async def publish_platform(
    built: Built,
    *,
    job: Fetcher,
    target: ClaimStore,
    metadata: str,
    settle: float,
    sleep: Sleep,
    emit: Emit,
    jobs: int = 4,
    mount_from: str | None = None,
) -> Built:
    """Copy a platform's image to the target and claim its record; the image that counts, ours or another run's.

    Args:
        metadata: the repository of records.
        mount_from: the parent's repository, which holds its layers already.

    Raises:
        RegistryError, ContentError
    """
    if not built.fresh:
        return built
    record = built.record
    task = f"publish:{record.image}:{Platform.parse(record.platform).slug}"
    title = f"publish {record.image} {record.platform}"
    emit(Started(task, title))
    began = time.monotonic()
    await copy_manifest(
        job,
        record.repository,
        target,
        record.repository,
        built.digest,
        emit=emit,
        task=task,
        jobs=jobs,
        mount_from=mount_from,
    )
    won = await claim_build(target, metadata, record.repository, record, settle=settle, sleep=sleep)
    outcome = "done" if won.digest == record.digest else "adopted"
    emit(Finished(task, title, outcome, time.monotonic() - began))
    return Built(won, fresh=False)


def _annotations(build: PlatformBuild, inputs: Inputs) -> dict[str, str]:
    """Those of the project, the way to the build record, and what the image is built from."""
    out = {**build.annotations, ANNOTATION_INPUTS: inputs.hash}
    if build.base is not None:
        out[media_types.ANNOTATION_BASE_DIGEST] = str(build.base.digest)
        if build.base_name and not build.parent:
            out[media_types.ANNOTATION_BASE_NAME] = build.base_name
    return out


def _commit_labels(build: PlatformBuild) -> dict[str, str]:
    created = datetime.fromtimestamp(build.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {media_types.ANNOTATION_REVISION: build.commit, media_types.ANNOTATION_CREATED: created}
