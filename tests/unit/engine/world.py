"""A release without a registry and without a builder: a store in memory, and a builder that makes tiny images."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio

from shipgraph.attest.key import KEY_PLACE, make_key
from shipgraph.build.builder import BuildOutcome
from shipgraph.engine.finalizing import Transacting
from shipgraph.engine.opening import Asked, open_release
from shipgraph.engine.releasing import Published, publish
from shipgraph.engine.workspace import Workspace
from shipgraph.errors import BuildFailed
from shipgraph.oci import media_types
from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.manifest import ImageManifest, encode_json, parse_manifest
from shipgraph.promote.stage import Wishes
from shipgraph.promote.timing import Timing
from shipgraph.store.content import from_bytes, read_blob
from shipgraph.store.memory import MemoryStore

if TYPE_CHECKING:
    from pathlib import Path

    from shipgraph.build.builder import BuildRequest
    from shipgraph.events import Emit, Event
    from shipgraph.project.release import Release
    from shipgraph.store.protocols import Store

FILE = """\
[project]
name = "demo"
platforms = ["linux/amd64", "linux/arm64"]
namespace = "acme"
registry = "registry.example"

[images.base]
context = "docker/base"
base = "scratch"

[images.app]
context = "docker/app"
parent = "base"

[images.tool]
context = "docker/tool"
parent = "app"

[images.side]
context = "docker/side"
parent = "base"
max-age = "7d"

[payload]
files = ["payload/**"]

[evidence]
require = []
"""
IMAGES = ("base", "app", "side", "tool")
REQUIRED = 'require = ["gate", "provenance"]'
TIMING = Timing(lag=0, gap=0, settle=0.001, margin=0.01, conditional=True)


class FakeBuilder:
    """Makes an image of one layer more than its base's; what is in it depends on the context alone."""

    description = "fake 1"

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.requests: list[BuildRequest] = []
        self.failing: set[str] = set()
        self.running = self.most = 0

    @property
    def built(self) -> list[str]:
        """The images that were built, once for each platform."""
        return [request.image for request in self.requests]

    async def build(self, request: BuildRequest, *, emit: Emit) -> BuildOutcome:
        """See ``Builder``."""
        self.requests.append(request)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await anyio.sleep(0.002)
            if request.image in self.failing:
                raise BuildFailed(f"building {request.image} failed", log=str(request.log))
            return await self._image(request)
        finally:
            self.running -= 1

    async def _image(self, request: BuildRequest) -> BuildOutcome:
        layers: tuple[Descriptor, ...] = ()
        diffs: list[str] = []
        if request.base is not None:
            base = await self._store.manifest(request.base.repository, request.base.digest)
            assert isinstance(base, ImageManifest)
            layers = base.layers
            config = json.loads(await read_blob(self._store, request.base.repository, base.config))
            diffs = config["rootfs"]["diff_ids"]
            for layer in layers:
                content = await read_blob(self._store, request.base.repository, layer)
                await self._store.push_blob(request.repository, layer, from_bytes(content))
        plain = _layer(request.image, request.context)
        packed = gzip.compress(plain, mtime=0)
        top = Descriptor.of(media_types.LAYER_TAR_GZIP, packed)
        content = encode_json(
            {
                "os": request.platform.os,
                "architecture": request.platform.architecture,
                "config": {"Labels": dict(request.labels)},
                "rootfs": {"type": "layers", "diff_ids": [*diffs, f"sha256:{hashlib.sha256(plain).hexdigest()}"]},
            }
        )
        described = Descriptor.of(media_types.IMAGE_CONFIG, content)
        await self._store.push_blob(request.repository, top, from_bytes(packed))
        await self._store.push_blob(request.repository, described, from_bytes(content))
        document: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": media_types.IMAGE_MANIFEST,
            "config": described.to_json(),
            "layers": [layer.to_json() for layer in (*layers, top)],
        }
        manifest = parse_manifest(encode_json(document))
        await self._store.push_manifest(request.repository, manifest)
        return BuildOutcome(manifest.digest)


def _layer(image: str, context: Path) -> bytes:
    """A layer with the context's files, below a folder of the image's name."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for path in sorted(path for path in context.rglob("*") if path.is_file()):
            member = tarfile.TarInfo(f"{image}/{path.relative_to(context)}")
            content = path.read_bytes()
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


@dataclass(frozen=True)
class FakeRegistry:
    """The job's registry."""

    store: MemoryStore
    address: str = "127.0.0.1:1"


class FakeWorkshop:
    """What ``open_workshop`` opens, without a process."""

    def __init__(self, workspace: Workspace, jobs: int = 2) -> None:
        self.workspace = workspace
        self.target_host = "registry.example"
        self.jobs = anyio.CapacityLimiter(jobs)
        self.secrets: dict[str, Path] = {}
        self.job = MemoryStore()
        self.fake = FakeBuilder(self.job)

    async def builder(self) -> FakeBuilder:
        """The builder."""
        return self.fake

    async def registry(self) -> FakeRegistry:
        """The job's registry."""
        return FakeRegistry(self.job)


@dataclass
class World:
    """A project in git, a store, and what happened."""

    folder: Path
    store: MemoryStore = field(default_factory=MemoryStore)
    events: list[Event] = field(default_factory=list)

    def git(self, *arguments: str) -> str:
        """Run git."""
        own = {
            "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_AUTHOR_DATE": "1700000000 +0000",
            "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org", "GIT_COMMITTER_DATE": "1700000000 +0000",
        }  # fmt: skip
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        done = subprocess.run(
            ["git", *arguments], cwd=self.folder, env=kept | own, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def write(self, path: str, text: str) -> None:
        """Write a file of the project."""
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace a piece of a file that must be there."""
        text = (self.folder / path).read_text()
        assert old in text
        self.write(path, text.replace(old, new))

    def commit(self) -> str:
        """Commit everything; the commit."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "a commit")
        return self.git("rev-parse", "HEAD")

    async def release(self, **more: Any) -> Release:
        """The release that a command would make."""
        wanted = {"rehearsal": False, "view": False}
        flags = {name: more.pop(name) for name in wanted if name in more}
        return await open_release(Asked(self.folder, **{"channel": "dev", **more}), **flags)

    def workshop(self, jobs: int = 2) -> FakeWorkshop:
        """A machine with cold storage."""
        return FakeWorkshop(Workspace.of(self.folder), jobs)

    async def publish(
        self, *, target: Store | None = None, workshop: FakeWorkshop | None = None, wait: bool = False, **more: Any
    ) -> Published:
        """Release the project."""
        return await publish(
            await self.release(**more),
            target=target or self.store,
            workshop=workshop or self.workshop(),  # type: ignore[arg-type]
            timing=TIMING,
            transacting=Transacting(Wishes(wait=wait), protected=nullcontext),
            emit=self.events.append,
        )

    async def tags(self) -> dict[str, str]:
        """Every tag."""
        found = {}
        for repository in (*(f"acme/demo-{name}" for name in (*IMAGES, "payload", "metadata")), "acme/demo"):
            for tag in await self.store.tags(repository):
                there = await self.store.resolve(repository, tag)
                assert there is not None
                found[f"{repository.removeprefix('acme/demo-')}:{tag}"] = str(there.digest)
        return found

    async def moving(self) -> dict[str, str]:
        """The tags that only a transaction may change."""
        return {
            name: digest
            for name, digest in (await self.tags()).items()
            if name.partition(":")[2] in ("dev", "nightly", "prod", "channels")
        }


def make_signed_world(folder: Path, text: str = FILE) -> World:
    """The project with a key of its own, and evidence required."""
    key = make_key(Workspace.of(folder).root / KEY_PLACE)
    keys = f'[[signing.keys]]\nname = "release"\npublic = "{key.public_text}"\n'
    return make_world(folder, f"{text.replace('require = []', REQUIRED)}\n{keys}")


def make_world(folder: Path, text: str = FILE) -> World:
    """The project, committed; nothing signs for it."""
    world = World(folder)
    world.write("shipgraph.toml", text)
    for key in IMAGES:
        world.write(f"docker/{key}/Dockerfile", "ARG BASE_IMAGE=scratch\nFROM ${BASE_IMAGE}\nCOPY hello /\n")
        world.write(f"docker/{key}/hello", f"hello from {key}\n")
    world.write("payload/run", "#!/bin/sh\n")
    world.write(".gitignore", ".shipgraph/\n")
    world.git("init", "--quiet", "--initial-branch=main")
    world.commit()
    return world
