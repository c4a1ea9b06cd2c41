"""Gathers what a page about a channel's release shows: everything by digest, from the registry alone."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio.to_thread

from shipgraph.build.claims import find_build
from shipgraph.build.inputs import ANNOTATION_INPUTS
from shipgraph.check.channel import read_channel, read_journal, strip_host
from shipgraph.engine.signing import rule_of, trust_of
from shipgraph.engine.verifying import verify
from shipgraph.engine.viewing import names
from shipgraph.errors import ConfigurationError, ContentError, NotFound
from shipgraph.events import Finished, Started, counted, silent
from shipgraph.evidence.referrers import ReferrerVerifier
from shipgraph.evidence.requirements import Kind
from shipgraph.oci import media_types
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import ImageIndex, ImageManifest
from shipgraph.records.document import read_document
from shipgraph.records.prune import PRUNE_TYPE, RETENTION, Done, decode_prune
from shipgraph.report import facts
from shipgraph.report.page import render
from shipgraph.tasks import gather

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from shipgraph.channel.journal import ChannelHead
    from shipgraph.channel.metadata import ImageEntry
    from shipgraph.engine.workspace import Workspace
    from shipgraph.events import Emit
    from shipgraph.oci.descriptor import Descriptor
    from shipgraph.project.release import Release
    from shipgraph.records.builds import BuildRecord
    from shipgraph.remote.store import RemoteStore

TASK: Final = "report"
MOST_DETAILS: Final = 30
"""Lines that are shown of one statement."""


async def gather_facts(
    view: Release, store: RemoteStore, workspace: Workspace, channel: str, *, lag: float = 0.0, emit: Emit = silent
) -> facts.ReleaseFacts:
    """A channel's release.

    Args:
        lag: see ``verifying.verify``.

    Raises:
        ConfigurationError: the project has no such channel.
        NotFound: nothing is published on it.
        ContentError: what is there can't be read.
        RegistryError
    """
    project = view.project
    emit(Started(TASK, f"report of {channel}"))
    if channel not in project.channels:
        raise ConfigurationError(f"there is no channel {channel!r}", allowed=", ".join(project.channels))
    journal = await read_journal(store, names(view))
    seen = await read_channel(store, names(view), channel, journal)
    if seen.metadata is None or seen.digest is None:
        raise NotFound(f"nothing is published on channel {channel}", hint=f"`shipgraph release --channel {channel}`")
    metadata = seen.metadata
    policy = trust_of(view, workspace, store.host)
    reader = _Reader(view, store, ReferrerVerifier(store, policy))
    ruled = ReferrerVerifier(store, policy, rule=rule_of(view, channel, store.host))
    images = await reader.images(metadata.images)
    payload = None
    if metadata.payload is not None and view.payload_repository is not None:
        payload = await reader.payload(view.payload_repository, metadata.payload.ref, metadata.payload.digest)
    checks = await verify(view, store, workspace, channel, None, lag=lag, emit=emit)
    emit(Finished(TASK, f"report of {channel}", counted(len(images), "image")))
    return facts.ReleaseFacts(
        project=project.name,
        registry=view.registry,
        channel=channel,
        version=metadata.version,
        immutable_tag=metadata.immutable_tag,
        commit=metadata.commit,
        moving_tags=metadata.moving_tags,
        images=images,
        payload=payload,
        metadata=facts.Metadata(
            view.metadata_repository,
            str(seen.digest),
            metadata.serial,
            metadata.generated_at,
            metadata.expires_at,
            (await _evidence(ruled, view.metadata_repository, seen.digest, Kind.PROVENANCE),),
        ),
        now=datetime.fromtimestamp(await store.now(), UTC),
        required=tuple(project.evidence),
        source=view.source,
        history=_history(seen.head),
        hold=seen.head.hold if seen.head else "",
        checks=tuple(facts.Check(row.name, str(row.state), row.detail) for row in checks),
        clean_up=await _clean_up(store, view.metadata_repository),
    )


async def write_page(found: facts.ReleaseFacts, place: Path | None, workspace: Workspace) -> Path:
    """Write the page in one step, by default into the workspace; where it is now.

    Raises:
        ConfigurationError: it can't be written there.
    """
    if place is None:
        workspace.prepare()
        place = workspace.root / f"report-{found.channel}.html"
    text = render(found)

    def write(path: Path) -> Path:
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            aside.write_text(text, encoding="utf-8", newline="\n")
            aside.replace(path)
        except OSError as error:
            aside.unlink(missing_ok=True)
            raise ConfigurationError(f"the page can't be written: {error.strerror}", file=str(path)) from error
        return path

    return await anyio.to_thread.run_sync(write, place)


class _Reader:
    """Reads the parts of one release."""

    def __init__(self, view: Release, store: RemoteStore, verifier: ReferrerVerifier) -> None:
        self._view, self._store, self._verifier = view, store, verifier

    async def images(self, entries: tuple[ImageEntry, ...]) -> tuple[facts.Image, ...]:
        """All images; a parent is who a build record names, and where there is none, who the project names today."""
        keys = {entry.digest: entry.image for entry in entries}
        return tuple(await gather([partial(self._image, entry, keys) for entry in entries]))

    async def _image(self, entry: ImageEntry, keys: Mapping[str, str]) -> facts.Image:
        repository = strip_host(self._view.registry, entry.repository)
        digest = Digest.parse(entry.digest)
        index = await self._store.manifest(repository, digest)
        if not isinstance(index, ImageIndex):
            raise ContentError(f"{repository}@{digest} is not an index over platforms")
        record = await self._record(repository, index)
        graph = self._view.project.graph
        parent = keys.get(record.parent) if record is not None and record.parent else None
        known = graph[entry.image].parent if entry.image in graph else None
        if record is None and known in keys.values():
            parent = known
        platforms = await gather([partial(self._platform, repository, child) for child in index.manifests])
        return facts.Image(
            key=entry.image,
            repository=entry.repository,
            digest=entry.digest,
            parent=parent,
            platforms=tuple(platforms),
            evidence=(await _evidence(self._verifier, repository, digest, Kind.PROVENANCE),),
            built_on=_base(index, entry.image, self._view) if parent is None else "",
        )

    async def _record(self, repository: str, index: ImageIndex) -> BuildRecord | None:
        inputs = index.annotations.get(ANNOTATION_INPUTS)
        if inputs is None:
            return None
        record = await find_build(self._store, self._view.metadata_repository, repository, inputs)
        return record if record is not None and record.digest == str(index.digest) else None

    async def _platform(self, repository: str, child: Descriptor) -> facts.Platform:
        manifest = await self._store.manifest(repository, child.digest)
        if not isinstance(manifest, ImageManifest):
            raise ContentError(f"{repository}@{child.digest} is not one platform's image")
        boms = await self._store.referrers(repository, child.digest, media_types.CYCLONEDX_JSON)
        return facts.Platform(
            name=str(child.platform or "?"),
            digest=str(child.digest),
            config=manifest.config.size,
            layers=tuple(facts.Blob(str(layer.digest), layer.size) for layer in manifest.layers),
            evidence=tuple(
                await gather([partial(_evidence, self._verifier, repository, child.digest, kind) for kind in Kind])
            ),
            sbom=str(boms[0].digest) if boms else "",
        )

    async def payload(self, repository: str, reference: str, digest: str) -> facts.Payload:
        """The payload: its files and its evidence."""
        manifest = await self._store.manifest(repository, Digest.parse(digest))
        if not isinstance(manifest, ImageManifest):
            raise ContentError(f"{repository}@{digest} is not a payload")
        kinds = (Kind.GATE, Kind.PROVENANCE)
        return facts.Payload(
            reference=reference,
            digest=digest,
            blobs=tuple(
                facts.Blob(str(layer.digest), layer.size, layer.annotations.get(media_types.ANNOTATION_TITLE, ""))
                for layer in manifest.layers
            ),
            evidence=tuple(
                await gather([partial(_evidence, self._verifier, repository, manifest.digest, kind) for kind in kinds])
            ),
        )


def _base(index: ImageIndex, key: str, view: Release) -> str:
    named = index.annotations.get(media_types.ANNOTATION_BASE_NAME)
    if named:
        return named
    graph = view.project.graph
    return str(graph[key].base) if key in graph and graph[key].base is not None else ""


async def _evidence(verifier: ReferrerVerifier, repository: str, digest: Digest, kind: Kind) -> facts.Evidence:
    found = await verifier.find(repository, digest, kind)
    if found.verified is None:
        return facts.Evidence(str(kind), reasons=found.reasons)
    details = tuple(describe(kind, found.verified.statement.predicate))
    return facts.Evidence(str(kind), found.verified.signer.name, details=details)


def describe(kind: Kind, predicate: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a statement says, in words; what has another shape than it should is left out."""
    match kind:
        case Kind.GATE:
            scanner, scanned = _dict(predicate.get("scanner")), _dict(predicate.get("scanned"))
            findings = _dict(predicate.get("findings"))
            said = [
                (
                    "scanner",
                    f"{scanner.get('name', '?')} {scanner.get('version', '')}, rules {scanner.get('rules', '?')}",
                ),
                ("scanned", f"{scanned.get('blobs', '?')} blobs"),
                ("findings", ", ".join(f"{count} {grade}" for grade, count in findings.items() if count) or "none"),
            ]
            for one in _list(predicate.get("exceptions")):
                given = _dict(one)
                what = f"{given.get('rule')}: {given.get('reason')} (until {given.get('expires')})"
                said.append(("exception", what))
        case Kind.TEST:
            said = [
                (word, str(name))
                for member, word in (("passedTests", "passed"), ("warnedTests", "warned"), ("failedTests", "failed"))
                for name in _list(predicate.get(member))
            ]
        case Kind.PROVENANCE:
            run = _dict(predicate.get("runDetails"))
            about = _dict(run.get("metadata"))
            said = [
                ("builder", str(_dict(run.get("builder")).get("id", "?"))),
                *((name, str(about[key])) for key, name in _ABOUT.items() if about.get(key)),
            ]
    return said[:MOST_DETAILS]


_ABOUT = {"invocationId": "run", "startedOn": "started", "finishedOn": "finished"}


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _history(head: ChannelHead | None) -> tuple[facts.Past, ...]:
    if head is None:
        return ()
    states = [("now" if number == 0 else "before", one) for number, one in enumerate(head.releases)]
    states += [("rolled back", one) for one in head.undone]
    return tuple(
        facts.Past(state, one.serial, one.version, one.immutable_tag, one.commit, one.settled_at)
        for state, one in states
    )


async def _clean_up(store: RemoteStore, repository: str) -> facts.CleanUp | None:
    found = await store.resolve(repository, RETENTION)
    if found is None:
        return None
    document = await read_document(store, repository, found.digest, PRUNE_TYPE)
    record = decode_prune(document.content, where=f"{repository}:{RETENTION}")
    return facts.CleanUp(
        outcome=str(record.outcome),
        at=record.ended_at,
        by=record.by,
        counts={str(done): record.count(done) for done in Done},
        kept=record.kept,
        left=record.left,
        freed=record.freed,
        problem=record.problem,
    )
