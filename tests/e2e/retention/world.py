"""A project with a history: real transactions over HTTP into a registry with GHCR's habits, or a plain one, in no time.

Images are a few bytes, and the calendar is the registry's own: a history of months is pushed in seconds.
"""

from __future__ import annotations

import base64
import json
import subprocess
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
from tests.e2e.transaction.project import FILE, IMAGES, META, PARENTS, PAYLOAD, PLATFORMS, environment

from shipgraph.channel.journal import JOURNAL, JOURNAL_TYPE, JournalEntry, Kind, decode_entry
from shipgraph.embedded.ghcr.accounts import Accounts, Pat, Workflow
from shipgraph.embedded.ghcr.habits import DAY, Habits
from shipgraph.embedded.ghcr.state import Ghcr
from shipgraph.embedded.serving import serve
from shipgraph.engine.finalizing import Transacting
from shipgraph.engine.opening import open_view, owner
from shipgraph.engine.shelving import open_cleaning
from shipgraph.events import silent
from shipgraph.oci import media_types
from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import (
    EMPTY_CONFIG,
    EMPTY_DESCRIPTOR,
    ImageIndex,
    build_artifact,
    build_index,
    encode_json,
    parse_manifest,
)
from shipgraph.oci.platform import Platform
from shipgraph.promote.collect import collect_set, payload_tag
from shipgraph.promote.order import Standing
from shipgraph.promote.stage import Wishes, finalize
from shipgraph.promote.timing import Timing
from shipgraph.records.builds import INDEX, BuildRecord, build_tag, encode_build
from shipgraph.records.document import push_document, read_document
from shipgraph.records.sets import SetRecord, encode_set, immutable_tag, set_tag
from shipgraph.remote import RemoteStore
from shipgraph.store.content import from_bytes
from shipgraph.store.disk import DiskStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    import pytest

    from shipgraph.embedded.fault import Fault
    from shipgraph.engine.shelving import Cleaning
    from shipgraph.oci.manifest import ImageManifest
    from shipgraph.project.release import Release
    from shipgraph.promote.protocol import Settled, Unchanged

WORKFLOW, WRITER = "ghs_demo", "ghp_writer"
ACCOUNTS = Accounts(
    {
        WORKFLOW: Workflow("acme/demo"),
        WRITER: Pat("alice", frozenset({"read:packages", "write:packages"}), frozenset({"acme"})),
    },
    {"acme/demo": "public"},
    {"acme": "organization"},
)
REPOSITORIES = (*(f"acme/demo-{name}" for name in IMAGES), PAYLOAD, META)
TIMING = Timing(lag=0, gap=10, settle=0, margin=1, conditional=True)
"""Of the transactions that make a history: they have no rival, so they wait for nobody."""
RETENTION = """
[retention]
keep = { default = 2, app = 3 }
grace = "1h"
unfinished = "30d"
"""

Things = dict[str, dict[str, tuple[str, ...]]]
"""Every version by repository and digest, with its tags."""


@dataclass
class Hand:
    """What is done to requests; and which came."""

    requests: list[str] = field(default_factory=list)
    rules: list[Callable[[str, str], Fault | None]] = field(default_factory=list)

    def __call__(self, method: str, path: str, headers: Mapping[str, str]) -> Fault | None:
        self.requests.append(f"{method} {path}")
        return next((fault for rule in self.rules if (fault := rule(method, path)) is not None), None)

    @property
    def deletes(self) -> list[str]:
        return [request for request in self.requests if request.startswith("DELETE ")]


@dataclass
class World:
    """The project, its registry, and the hand on it."""

    folder: Path
    root: Path
    host: str
    hand: Hand
    ghcr: Ghcr | None
    calendar: list[float]
    view: Release
    environment: dict[str, str]

    def days_ago(self, days: float) -> None:
        """What the registry's calendar says from now on."""
        self.calendar[0] = -days * DAY

    def configure(self, retention: str) -> None:
        """Another policy."""
        text = (self.folder / "shipgraph.toml").read_text().partition("\n[retention]")[0]
        (self.folder / "shipgraph.toml").write_text(text + retention)

    @asynccontextmanager
    async def store(self) -> AsyncIterator[RemoteStore]:
        async with RemoteStore(self.host) as store:
            yield store

    @asynccontextmanager
    async def cleaning(self, *, stop: Callable[[], bool] = lambda: False) -> AsyncIterator[Cleaning]:
        """Everything for a clean-up, as the command opens it."""
        view = await open_view(self.folder, None, None)
        async with open_cleaning(view, None, Transacting(Wishes(), stop=stop), emit=silent) as cleaning:
            yield cleaning

    async def run(self, *arguments: str, code: int | None = 0, **more: str) -> subprocess.CompletedProcess[str]:
        """The command itself, beside the server."""
        from tests.e2e.transaction.project import PROGRAM

        done = await anyio.to_thread.run_sync(
            lambda: subprocess.run(
                [*PROGRAM, *arguments],
                cwd=self.folder,
                env={**environment(), **self.environment, **more},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
        )
        assert "Traceback" not in done.stderr, done.stderr
        if code is not None:
            assert done.returncode == code, f"{arguments}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    # --- the history

    async def image(self, store: RemoteStore, name: str, seed: str, parent: Digest | None) -> ImageIndex:
        """An image's index over two platforms, by digest; the same seed and parent make the same bytes."""
        repository = f"acme/demo-{name}"
        children = []
        for text in PLATFORMS:
            platform = Platform.parse(text)
            layer = f"{name} {seed} {text}".encode()
            files = {"type": "layers", "diff_ids": [str(Digest.of(layer))]}
            config = encode_json({"os": "linux", "architecture": platform.architecture, "rootfs": files})
            parts = [
                Descriptor.of(media_types.IMAGE_CONFIG, config),
                Descriptor.of("application/vnd.oci.image.layer.v1.tar", layer),
            ]
            for descriptor, content in zip(parts, (config, layer), strict=True):
                await store.push_blob(repository, descriptor, from_bytes(content))
            document = {
                "schemaVersion": 2,
                "mediaType": media_types.IMAGE_MANIFEST,
                "config": parts[0].to_json(),
                "layers": [parts[1].to_json()],
            }
            manifest = parse_manifest(encode_json(document))
            await store.push_manifest(repository, manifest)
            children.append(Descriptor(manifest.media_type, manifest.digest, manifest.size, platform=platform))
        annotations = {} if parent is None else {media_types.ANNOTATION_BASE_DIGEST: str(parent)}
        index = build_index(children, annotations=annotations)
        await store.push_manifest(repository, index)
        return index

    async def build(self, store: RemoteStore, number: int, seeds: Mapping[str, str] | None = None) -> Release:
        """Everything of a release but its metadata. ``seeds`` makes an image the same as another release's."""
        commit = f"{number:040x}"
        tag = immutable_tag(commit, 1)
        record = SetRecord(project="demo", commit=commit, revision=1, tree=commit, platforms=PLATFORMS, bases={})
        await self.document(store, set_tag(tag), encode_set(record))
        indexes: dict[str, ImageIndex] = {}
        for name in IMAGES:
            parent = PARENTS[name]
            index = await self.image(
                store, name, (seeds or {}).get(name, str(number)), indexes[parent].digest if parent else None
            )
            indexes[name] = index
            inputs = Digest.of(f"{name} {index.digest}".encode()).hex
            build = BuildRecord(
                inputs=inputs, image=name, repository=f"acme/demo-{name}", platform=INDEX, digest=str(index.digest),
                media_type=index.media_type, size=index.size, builder="test",
            )  # fmt: skip
            await self.document(store, build_tag(inputs), encode_build(build))
            await store.tag(f"acme/demo-{name}", tag, index)
        release = replace(self.view, commit=commit, channel="dev", version="dev", release_tag=None)
        payload = await self.payload(store, number, "dev", indexes)
        await store.tag(PAYLOAD, tag, payload)
        await store.tag(PAYLOAD, payload_tag(tag, "dev"), payload)
        return release

    async def payload(
        self, store: RemoteStore, number: int, version: str, indexes: Mapping[str, ImageIndex]
    ) -> ImageManifest:
        """The payload's manifest for a version."""
        spec = self.view.project.payload
        assert spec is not None
        archive = f"payload {number}".encode()
        bom = {
            "bomFormat": "CycloneDX",
            "components": [
                {"type": "container", "name": f"acme/demo-{name}", "version": str(index.digest)}
                for name, index in indexes.items()
            ],
        }
        contents = (archive, encode_json(bom))
        layers = [Descriptor.of(spec.layer_type, archive), Descriptor.of(media_types.CYCLONEDX_JSON, contents[1])]
        await store.push_blob(PAYLOAD, EMPTY_DESCRIPTOR, from_bytes(EMPTY_CONFIG))
        for layer, content in zip(layers, contents, strict=True):
            await store.push_blob(PAYLOAD, layer, from_bytes(content))
        manifest = build_artifact(spec.artifact_type, layers, annotations={media_types.ANNOTATION_VERSION: version})
        await store.push_manifest(PAYLOAD, manifest)
        return manifest

    async def document(self, store: RemoteStore, tag: str, document: Any) -> None:
        await push_document(store, META, document)
        await store.tag(META, tag, document.manifest)

    async def publish(self, store: RemoteStore, release: Release, kind: Kind = Kind.RELEASE) -> Settled | Unchanged:
        """The real transaction."""
        found = await collect_set(store, release, release.immutable_tag(1))
        return await finalize(
            store, release, found, 1, kind=kind, owner=owner(), timing=TIMING, ancestry=_ahead,
            wishes=Wishes(wait=True), emit=silent, jobs=4, stop=lambda: False,
        )  # fmt: skip

    def release_of(self, number: int) -> Release:
        """The release that was made under a number."""
        return replace(self.view, commit=f"{number:040x}", channel="dev", version="dev", release_tag=None)

    async def fill(self, repository: str, count: int) -> None:
        """So many manifests without tags."""
        async with self.store() as store:
            for number in range(count):
                content = f"filling {number}".encode()
                layer = Descriptor.of("text/plain", content)
                for descriptor, body in ((EMPTY_DESCRIPTOR, EMPTY_CONFIG), (layer, content)):
                    await store.push_blob(repository, descriptor, from_bytes(body))
                await store.push_manifest(repository, build_artifact("application/vnd.test.filling", [layer]))

    async def release(self, number: int, seeds: Mapping[str, str] | None = None) -> Release:
        async with self.store() as store:
            release = await self.build(store, number, seeds)
            await self.publish(store, release)
            return release

    async def promote(self, release: Release, version: str) -> None:
        """An existing release to prod."""
        async with self.store() as store:
            tag = release.immutable_tag(1)
            first = await store.resolve(PAYLOAD, tag)
            assert first is not None
            manifest = await store.manifest(PAYLOAD, first.digest)
            assert not isinstance(manifest, ImageIndex)
            again = build_artifact(
                manifest.artifact_type or "", manifest.layers, annotations={media_types.ANNOTATION_VERSION: version}
            )
            await store.tag(PAYLOAD, payload_tag(tag, version), again)
            prod = replace(release, channel="prod", version=version, release_tag=version)
            await self.publish(store, prod, Kind.PROMOTE)

    async def attach(self, store: RemoteStore, repository: str, subject: Digest, kind: str) -> Digest:
        """Something that refers to a manifest; on GHCR its fallback tag is kept too."""
        manifest = await store.manifest(repository, subject)
        content = f"{kind} of {subject}".encode()
        layer = Descriptor.of("text/plain", content)
        for descriptor, body in ((EMPTY_DESCRIPTOR, EMPTY_CONFIG), (layer, content)):
            await store.push_blob(repository, descriptor, from_bytes(body))
        artifact = build_artifact(f"application/vnd.test.{kind}", [layer], subject=manifest.descriptor)
        await store.push_manifest(repository, artifact)
        return artifact.digest

    # --- what is there

    async def things(self, *, all_of_it: bool = False) -> Things:
        """Every version and its tags, as the registry itself has them; the journal and records only if wanted."""
        found: Things = {}
        disk = DiskStore(self.root)
        for repository in await disk.repositories():
            if self.ghcr is None:
                listed = {str(one.digest): one.tags for one in await disk.listing(repository)}
            else:
                package = await self.ghcr.ledger.package(repository)
                if package is None:
                    continue
                versions, _ = await self.ghcr.ledger.versions(package, deleted=False, limit=100_000, offset=0)
                listed = {one.digest: tuple(sorted(one.tags)) for one in versions if one.deleted_at is None}
            found[repository] = listed
        if not all_of_it:
            found[META] = {digest: tags for digest, tags in found[META].items() if tags and not _is_own(tags)}
        return found

    async def journal(self) -> JournalEntry:
        """The journal as it is now."""
        async with self.store() as store:
            found = await store.resolve(META, JOURNAL)
            assert found is not None
            document = await read_document(store, META, found.digest, JOURNAL_TYPE)
            return decode_entry(document.content, where="journal")

    async def walk(self) -> list[str]:
        """Everything that can be reached from the channels' tags and the journal's heads, and isn't there."""
        lost: list[str] = []
        async with self.store() as store:
            for channel in ("dev", "prod"):
                found = await store.resolve(META, channel)
                if found is not None:
                    lost += await _walk_metadata(store, found.digest)
        return lost

    async def walk_release(self, release: Release) -> list[str]:
        """What is missing of a release, from its immutable tags."""
        tag, lost = release.immutable_tag(1), []
        async with self.store() as store:
            for repository in (*(f"acme/demo-{name}" for name in IMAGES), PAYLOAD):
                found = await store.resolve(repository, tag)
                lost += (
                    [f"{repository}:{tag}"] if found is None else await walk_manifest(store, repository, found.digest)
                )
        return lost


async def walk(w: World, repository: str, digest: Digest) -> list[str]:
    """What is missing of a manifest and all that it holds."""
    async with w.store() as store:
        return await walk_manifest(store, repository, digest)


async def _walk_metadata(store: RemoteStore, digest: Digest) -> list[str]:
    from shipgraph.channel.metadata import decode_metadata
    from shipgraph.store.content import read_blob

    manifest = await store.manifest(META, digest)
    assert not isinstance(manifest, ImageIndex)
    metadata = decode_metadata(await read_blob(store, META, manifest.layers[0]), where="metadata")
    lost: list[str] = []
    for image in metadata.images:
        lost += await walk_manifest(store, image.repository.partition("/")[2], Digest.parse(image.digest))
    assert metadata.payload is not None
    return lost + await walk_manifest(store, PAYLOAD, Digest.parse(metadata.payload.digest))


async def walk_manifest(store: RemoteStore, repository: str, digest: Digest) -> list[str]:
    """What is missing of a manifest: itself, its parts, their blobs, and what the list of its referrers names."""
    if not await store.has_manifest(repository, digest):
        return [f"{repository}@{digest}"]
    manifest = await store.manifest(repository, digest)
    lost: list[str] = []
    if isinstance(manifest, ImageIndex):
        for child in manifest.manifests:
            lost += await walk_manifest(store, repository, child.digest)
    else:
        for blob in manifest.blobs:
            if not await store.has_blob(repository, blob.digest):
                lost.append(f"{repository}: blob {blob.digest}")
    for referrer in await store.referrers(repository, digest):
        if not await store.has_manifest(repository, referrer.digest):
            lost.append(f"{repository}@{referrer.digest} (refers to {digest})")
    return lost


def _is_own(tags: tuple[str, ...]) -> bool:
    return all(tag.startswith(("journal", "retention")) for tag in tags)


async def _ahead(commit: str, other: str) -> Standing:
    return Standing.AHEAD


@asynccontextmanager
async def world(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, ghcr: bool, retention: str = RETENTION, root: Path | None = None,
    **habits: Any,
) -> AsyncIterator[World]:  # fmt: skip
    """A project without a release, and its registry, while the block runs."""
    calendar, hand = [0.0], Hand()
    root = root or folder / "registry"
    root.mkdir(parents=True, exist_ok=True)
    mode = None
    if ghcr:
        clock = lambda: time.time() + calendar[0]  # noqa: E731 (a clock)
        mode = Ghcr(root / ".shipgraph", ACCOUNTS, habits=Habits(clock=clock, write_rate=0, read_rate=0, **habits))
    async with serve(DiskStore(root, durable=False), ghcr=mode, on_request=hand) as host:
        variables = make_project(folder / "project", host, retention, lag=habits.get("lag", 0.0))
        for name in ("GITHUB_RUN_ID", "GITHUB_API_URL", "GHCR_PAT", "GITHUB_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        view = await open_view(folder / "project", None, None)
        yield World(folder / "project", root, host, hand, mode, calendar, view, variables)


def make_project(folder: Path, host: str, retention: str, token: str = WORKFLOW, *, lag: float = 0.0) -> dict[str, str]:
    """The project's folder; the environment in which its commands may log in."""
    folder.mkdir(parents=True)
    timing = f"lag = {lag}\ngap = 1.5\nsettle = {1.55 + 2 * lag}\nmargin = 0.5"
    (folder / "shipgraph.toml").write_text(FILE.format(host=host, timing=timing) + retention)
    for name in IMAGES:
        (folder / name).mkdir()
        (folder / name / "Dockerfile").write_text("ARG BASE_IMAGE\nFROM scratch\n")
    for arguments in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "one"]):
        subprocess.run(["git", *arguments], cwd=folder, env=environment(), check=True)
    return login(folder.parent, host, token)


def login(folder: Path, host: str, token: str) -> dict[str, str]:
    """Docker's configuration for a token."""
    config = folder / token / "config.json"
    config.parent.mkdir(exist_ok=True)
    auth = base64.b64encode(f"token:{token}".encode()).decode()
    config.write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    return {"DOCKER_CONFIG": str(config.parent)}
