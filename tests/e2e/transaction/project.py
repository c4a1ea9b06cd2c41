"""Three images on two platforms, a payload and metadata: a project whose releases are made without a builder."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from shipgraph.oci import media_types
from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import build_index, encode_json, parse_manifest
from shipgraph.oci.platform import Platform
from shipgraph.records.document import push_document
from shipgraph.records.sets import SetRecord, encode_set, immutable_tag, set_tag
from shipgraph.remote import Credentials, RemoteStore
from shipgraph.store.content import from_bytes
from shipgraph.store.disk import DiskStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shipgraph.store.protocols import Store

IMAGES = ("base", "app", "tool")
PARENTS = {"base": None, "app": "base", "tool": "app"}
PLATFORMS = ("linux/amd64", "linux/arm64")
META = "acme/demo-metadata"
PAYLOAD = "acme/demo-payload"
FILE = """\
[project]
name = "demo"
namespace = "acme"
platforms = ["linux/amd64", "linux/arm64"]
registry = "{host}"

[images.base]
context = "base"
base = "scratch"
[images.app]
context = "app"
parent = "base"
[images.tool]
context = "tool"
parent = "app"

[payload]
files = ["files/**"]

[evidence]
require = []

[channels.dev]
on = "push:main"
[channels.prod]
on = "tag:v*"
pinned = false

[transaction]
{timing}
"""
PROGRAM = [sys.executable, "-c", "from shipgraph.cli.main import main; main()"]


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


@dataclass
class Control:
    """The registry's process, and the way to its hand."""

    host: str
    process: subprocess.Popen[bytes]

    def say(self, **wish: Any) -> dict[str, Any]:
        return self._ask(json.dumps(wish).encode())

    def state(self) -> dict[str, Any]:
        return self._ask(None)

    def _ask(self, body: bytes | None) -> dict[str, Any]:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(urllib.request.Request(f"http://{self.host}/control", data=body), timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def wait_held(self, victim: subprocess.Popen[str]) -> str:
        """The request that is held back now; empty if the victim ended before."""
        while True:
            held: str = self.state()["held"]
            if held:
                return held
            if victim.poll() is not None:
                return str(self.state()["held"])
            time.sleep(0.01)


@contextlib.contextmanager
def registry(root: Path, log: Path) -> Iterator[Control]:
    """The registry over a folder, while the block runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Path(__file__).with_name("server.py")
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, server, str(port)], stdout=out, stderr=out)
    control = Control(f"127.0.0.1:{port}", process)
    try:
        for _ in range(500):
            with contextlib.suppress(OSError):
                control.say(root=str(root), hold=0)
                break
            time.sleep(0.02)
        yield control
    finally:
        process.terminate()
        process.wait()


@dataclass
class Demo:
    """The project's folder and its registry's folder."""

    folder: Path
    root: Path
    host: str
    commits: dict[int, str] = field(default_factory=dict)
    token: str = ""
    """With which the registry is logged in to and images are pushed; empty: they go right into the folder."""

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=self.folder, env=environment(), check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A command, running."""
        return subprocess.Popen(
            [*PROGRAM, *arguments],
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, code: int | None = 0) -> Done:
        """A command, run to its end."""
        done = finish(self.start(*arguments))
        if code is not None:
            assert done.code == code, f"{arguments}: exit code {done.code}\n{done.out}\n{done.err}"
        return done

    def environment(self) -> dict[str, str]:
        """A command's, with the registry's token where there is one."""
        if not self.token:
            return environment()
        config = self.folder.parent / "docker" / "config.json"
        if not config.exists():
            config.parent.mkdir()
            auth = base64.b64encode(f"token:{self.token}".encode()).decode()
            config.write_text(json.dumps({"auths": {self.host: {"auth": auth}}}))
        return {**environment(), "DOCKER_CONFIG": str(config.parent)}

    def checkout(self, number: int) -> None:
        self.git("checkout", "--quiet", self.commits[number] if number != max(self.commits) else "main")

    def commit(self, number: int) -> str:
        """The next commit, and its images and its set in the registry's folder."""
        for name in (*IMAGES, "files"):
            (self.folder / name).mkdir(exist_ok=True)
            (self.folder / name / "content").write_text(f"{name} {number}\n")
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", f"number {number}")
        commit = self.commits[number] = self.git("rev-parse", "HEAD")
        anyio.run(self._push, number, commit, self.git("rev-parse", "HEAD^{tree}"))
        return commit

    async def _push(self, number: int, commit: str, tree: str) -> None:
        if self.token:
            async with RemoteStore(self.host, credentials=Credentials("token", self.token)) as store:
                await self._push_to(store, number, commit, tree)
        else:
            await self._push_to(DiskStore(self.root), number, commit, tree)

    async def _push_to(self, store: Store, number: int, commit: str, tree: str) -> None:
        indexes: dict[str, Digest] = {}
        for name in IMAGES:
            indexes[name] = await push_image(store, f"acme/demo-{name}", name, number, indexes, commit)
        record = SetRecord(project="demo", commit=commit, revision=1, tree=tree, platforms=PLATFORMS, bases={})
        document = encode_set(record)
        await push_document(store, META, document)
        await store.tag(META, set_tag(immutable_tag(commit, 1)), document.manifest)


async def push_image(
    store: Store, repository: str, name: str, number: int, indexes: dict[str, Digest], commit: str
) -> Digest:
    """One image of one commit: an index over two platforms under its immutable tag."""
    children = []
    for text in PLATFORMS:
        platform = Platform.parse(text)
        layer = f"{name} {number} {text}".encode()
        files = {"type": "layers", "diff_ids": [str(Digest.of(layer))]}
        config = encode_json({"os": "linux", "architecture": platform.architecture, "rootfs": files})
        parts = (
            Descriptor.of(media_types.IMAGE_CONFIG, config),
            Descriptor.of("application/vnd.oci.image.layer.v1.tar", layer),
        )
        for descriptor, content in zip(parts, (config, layer), strict=True):
            await store.push_blob(repository, descriptor, from_bytes(content))
        raw = encode_json(
            {
                "schemaVersion": 2,
                "mediaType": media_types.IMAGE_MANIFEST,
                "config": parts[0].to_json(),
                "layers": [parts[1].to_json()],
            }
        )
        manifest = parse_manifest(raw, media_type=media_types.IMAGE_MANIFEST, digest=None, where=name)
        await store.push_manifest(repository, manifest)
        children.append(Descriptor(manifest.media_type, manifest.digest, manifest.size, platform=platform))
    parent = PARENTS[name]
    annotations = {media_types.ANNOTATION_REVISION: commit}
    if parent is not None:
        annotations[media_types.ANNOTATION_BASE_DIGEST] = str(indexes[parent])
    index = build_index(children, annotations=annotations)
    await store.tag(repository, immutable_tag(commit, 1), index)
    return index.digest


def make(folder: Path, root: Path, host: str, timing: str = "", *, token: str = "") -> Demo:
    """The project with a git repository and no commit yet."""
    folder.mkdir(parents=True)
    root.mkdir(parents=True, exist_ok=True)
    demo = Demo(folder, root, host, token=token)
    (folder / "shipgraph.toml").write_text(FILE.format(host=host, timing=timing))
    for name in IMAGES:
        (folder / name).mkdir()
        (folder / name / "Dockerfile").write_text("ARG BASE_IMAGE\nFROM scratch\n")
    demo.git("init", "--quiet", "-b", "main")
    return demo


def finish(process: subprocess.Popen[str], timeout: float = 120.0) -> Done:
    """Wait for a command's end."""
    out, err = process.communicate(timeout=timeout)
    assert "Traceback" not in err, err
    return Done(process.returncode, out, err)


def environment() -> dict[str, str]:
    """Nobody's configuration, no continuous integration."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GITHUB_", "GIT_", "GHCR_"))}
    author = {f"GIT_{who}_{what}": "demo@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    quiet = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "NO_PROXY": "127.0.0.1"}
    return {**kept, **author, **quiet}


def copy(source: Path, target: Path) -> None:
    """A fresh copy of a registry's folder."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
