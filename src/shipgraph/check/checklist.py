"""The checklist of a published channel: each row says ok, BROKEN, MISSING or not applicable.

A check without a source is 'not applicable', never 'ok'; and every row is checked, whatever the others say.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import anyio.to_thread

from shipgraph.channel.metadata import LATEST, parse_time, serial_tag
from shipgraph.check.channel import find_drift, open_transaction, read_channel, read_journal, strip_host
from shipgraph.check.evidence import Verifiers, evidence_rows
from shipgraph.check.history import CLEAN_UP, RUN, AskRun, clean_up_row, run_row
from shipgraph.check.row import Row, State
from shipgraph.errors import RegistryError, ShipgraphError
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import ImageIndex, ImageManifest
from shipgraph.records.sets import set_tag
from shipgraph.tasks import gather

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from shipgraph.channel.journal import JournalEntry
    from shipgraph.channel.metadata import ChannelMetadata, ImageEntry
    from shipgraph.check.channel import ChannelView, CheckStore, Names
    from shipgraph.oci.platform import Platform


@dataclass(frozen=True, slots=True)
class Expected:
    """What the project says a release has: image repositories, platforms by repository, required evidence."""

    repositories: tuple[str, ...]
    platforms: dict[str, tuple[Platform, ...]]
    required: frozenset[str]


Check: TypeAlias = "Callable[[], Awaitable[Row | list[str]]]"
"""One row's check: the row, or what is broken."""


async def nobody() -> Row:
    """The check of public access where there is no public."""
    return Row("public", State.NOT_APPLICABLE, "a registry on loopback has no public")


@dataclass(frozen=True, slots=True)
class Sources:
    """What a checklist asks beside the registry: who vouches, what the public gets, what the forge knows of runs.

    ``local_payload`` is an archive on this disk that should be the published one.
    """

    verifiers: Verifiers
    public: Check = nobody
    run: AskRun | None = None
    local_payload: Path | None = None


async def check_channel(
    store: CheckStore,
    names: Names,
    channel: str,
    expected: Expected,
    *,
    sources: Sources,
) -> list[Row]:
    """Every row for one channel.

    Args:
        sources: what is compared with the registry.

    Raises:
        RegistryUnavailable: the registry gives no answer at all.
    """
    rows: list[Row] = []
    try:
        journal = await read_journal(store, names)
        view = await read_channel(store, names, channel, journal)
    except RegistryError:
        raise
    except ShipgraphError as error:
        return [*rows, Row("metadata", State.BROKEN, str(error))]
    if view.metadata is None or view.digest is None:
        return [*rows, Row("metadata", State.BROKEN, f"{names.metadata}:{channel} is not there")]
    metadata = view.metadata

    async def row(name: str, check: Check) -> Row:
        try:
            found = await check()
        except ShipgraphError as error:
            return Row(name, State.BROKEN, str(error))
        if isinstance(found, Row):
            return found
        return Row(name, State.BROKEN, "; ".join(found)) if found else Row(name, State.OK)

    rows.append(_row("metadata", _metadata_problems(metadata, await store.now())))
    checks: list[tuple[str, Check]] = [
        ("metadata tags", partial(_tag_problems, store, names, view, journal)),
        ("images", partial(_image_problems, store, names, metadata, expected)),
        ("moving tags", partial(_drift_problems, store, names, metadata)),
        ("immutable tags", partial(_immutable_problems, store, names, metadata)),
        ("payload", partial(_payload_problems, store, names, metadata)),
        ("payload file", partial(_local_payload, store, names, metadata, sources.local_payload)),
        ("transaction", partial(_journal_problems, journal, view)),
        ("public", sources.public),
        (CLEAN_UP, partial(clean_up_row, store, names)),
    ]
    first = await row(RUN, partial(run_row, store, names, view, journal, sources.run))
    rows = [first, *rows, *await gather([partial(row, name, check) for name, check in checks])]
    try:
        rows.extend(await evidence_rows(store, names, metadata, view.digest, expected.required, sources.verifiers))
    except RegistryError:
        raise
    except ShipgraphError as error:
        rows.append(Row("evidence", State.BROKEN, str(error)))
    return rows


def _row(name: str, problems: list[str]) -> Row:
    return Row(name, State.BROKEN, "; ".join(problems)) if problems else Row(name, State.OK)


def _metadata_problems(metadata: ChannelMetadata, now: float) -> list[str]:
    problems: list[str] = []
    try:
        expires = parse_time(metadata.expires_at)
        parse_time(metadata.generated_at)
        if expires <= datetime.fromtimestamp(now, UTC):
            problems.append(f"it expired at {metadata.expires_at}")
    except ValueError as error:
        problems.append(f"a time can't be read: {error}")
    if not metadata.images:
        problems.append("it names no image")
    if metadata.serial < 1:
        problems.append(f"its serial is {metadata.serial}")
    return problems


async def _tag_problems(store: CheckStore, names: Names, view: ChannelView, journal: JournalEntry | None) -> list[str]:
    metadata = view.metadata
    assert metadata is not None  # noqa: S101 (checked before)
    serial = serial_tag(view.name, metadata.serial)
    found = await store.resolve(names.metadata, serial)
    problems = [] if found and found.digest == view.digest else [f"{serial} is not the channel's metadata"]
    # A refresh moves `channels` only where the channel holds it, and a repair or clean-up maybe not at all.
    moved = journal is not None and any(move.tag == LATEST for move in journal.moves)
    if journal is not None and moved and journal.channel == view.name and journal.serial == metadata.serial:
        latest = await store.resolve(names.metadata, LATEST)
        if latest is None or latest.digest != view.digest:
            problems.append(f"{LATEST} is not the manifest that was committed last")
    if await store.resolve(names.metadata, set_tag(metadata.immutable_tag)) is None:
        problems.append(f"{set_tag(metadata.immutable_tag)} is not there")
    return problems


async def _image_problems(store: CheckStore, names: Names, metadata: ChannelMetadata, expected: Expected) -> list[str]:
    named = {strip_host(names.host, image.repository) for image in metadata.images}
    problems = [
        f"{repository} is not in the metadata" for repository in expected.repositories if repository not in named
    ]
    found = await gather([partial(_one_image, store, names, image, expected) for image in metadata.images])
    return [*problems, *(problem for some in found for problem in some)]


async def _one_image(store: CheckStore, names: Names, image: ImageEntry, expected: Expected) -> list[str]:
    repository, digest = strip_host(names.host, image.repository), Digest.parse(image.digest)
    try:
        index = await store.manifest(repository, digest)
        if not isinstance(index, ImageIndex):
            return [f"{repository}@{digest} is not an index"]
        there = {child.platform for child in index.manifests}
        problems = [
            f"{repository} lacks {platform}"
            for platform in expected.platforms.get(repository, ())
            if platform not in there
        ]
        for child in index.manifests:
            problems.extend(await _one_platform(store, repository, child.digest))
    except ShipgraphError as error:
        return [str(error)]
    return problems


async def _one_platform(store: CheckStore, repository: str, digest: Digest) -> list[str]:
    manifest = await store.manifest(repository, digest)
    if not isinstance(manifest, ImageManifest):
        return [f"{repository}@{digest} is an index within an index"]
    there = await gather([partial(store.has_blob, repository, blob.digest) for blob in manifest.blobs])
    return [f"{repository} lacks blob {blob.digest}" for blob, ok in zip(manifest.blobs, there, strict=True) if not ok]


async def _drift_problems(store: CheckStore, names: Names, metadata: ChannelMetadata) -> list[str]:
    return [str(drift) for drift in await find_drift(store, names, metadata)]


async def _immutable_problems(store: CheckStore, names: Names, metadata: ChannelMetadata) -> list[str]:
    wanted = [(strip_host(names.host, image.repository), image.digest) for image in metadata.images]
    found = await gather([partial(store.resolve, repository, metadata.immutable_tag) for repository, _ in wanted])
    return [
        f"{repository}:{metadata.immutable_tag} is {'absent' if there is None else there.digest}, not {digest}"
        for (repository, digest), there in zip(wanted, found, strict=True)
        if there is None or str(there.digest) != digest
    ]


async def _payload(store: CheckStore, names: Names, metadata: ChannelMetadata) -> ImageManifest | None:
    if metadata.payload is None or names.payload is None:
        return None
    manifest = await store.manifest(names.payload, Digest.parse(metadata.payload.digest))
    return manifest if isinstance(manifest, ImageManifest) and manifest.layers else None


async def _payload_problems(store: CheckStore, names: Names, metadata: ChannelMetadata) -> Row | list[str]:
    if metadata.payload is None:
        problem = names.payload is not None
        return ["the metadata names no payload"] if problem else Row("payload", State.NOT_APPLICABLE, "no payload")
    manifest = await _payload(store, names, metadata)
    if manifest is None or names.payload is None:
        return [f"{metadata.payload.digest} is not a payload"]
    problems = []
    if f"@{metadata.payload.digest}" not in metadata.payload.ref:
        problems.append(f"its reference {metadata.payload.ref} names another digest")
    there = await gather([partial(store.has_blob, names.payload, layer.digest) for layer in manifest.layers])
    gone = [layer.digest for layer, ok in zip(manifest.layers, there, strict=True) if not ok]
    problems.extend(f"blob {digest} is gone" for digest in gone)
    async with store.blob(names.payload, manifest.layers[-1]) as pieces:
        async for _ in pieces:  # the SBOM, checked while it is read; of many files, it is no small document
            pass
    return problems


async def _local_payload(
    store: CheckStore, names: Names, metadata: ChannelMetadata, path: Path | None
) -> Row | list[str]:
    if path is None or metadata.payload is None:
        return Row("payload file", State.NOT_APPLICABLE, "no local archive (--payload FILE)")
    manifest = await _payload(store, names, metadata)
    if manifest is None:
        return ["the channel's payload can't be read"]

    def read() -> str:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    try:
        local = await anyio.to_thread.run_sync(read)
    except OSError as error:
        return [f"{path}: {error.strerror}"]
    layer = manifest.layers[0].digest
    return [] if layer.hex == local else [f"{path} is sha256:{local}, the payload's layer {layer}"]


async def _journal_problems(journal: JournalEntry | None, view: ChannelView) -> list[str]:
    if journal is None:
        return ["there is no journal"]
    opened = open_transaction(journal)
    if opened is not None:
        return [f"transaction {opened.id} of {opened.owner.run} is open: run `shipgraph resume`"]
    releases = view.head.releases if view.head else ()
    if not releases:
        return [f"the journal knows no release of {view.name}"]
    if releases[0].metadata != str(view.digest):
        return [f"the journal says that the channel's metadata is {releases[0].metadata}, the tag {view.digest}"]
    return []
