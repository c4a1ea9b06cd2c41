"""A project of 1 MB busybox images in a git repository, and the installed program, run on it as a user runs it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.real.busybox import busybox_tar
from tests.real.registries import distribution_v3, docker_registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

PROGRAM = Path(sys.executable).with_name("shipgraph")

FILE = """\
[project]
name = "demo"
platforms = ["linux/amd64"]
namespace = "acme"

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

[payload]
files = ["payload/**"]

[evidence]
require = []

[build]
builder = "buildah"

[transaction]
gap = 0.1
settle = 0.4
"""
TWO = """\
[project]
name = "demo"
platforms = ["linux/amd64", "linux/arm64"]
namespace = "acme"

[images.base]
context = "docker/base"
base = "scratch"

[images.app]
context = "docker/app"
parent = "base"

[payload]
files = ["payload/**"]

[evidence]
require = []

[build]
builder = "auto"

[transaction]
gap = 0.1
settle = 0.4
"""
"""Two images are enough for some: a parent and its child, on two platforms."""

BASE = "FROM scratch\nARG TARGETARCH\nADD root-${TARGETARCH}.tar /\nRUN uname -m > /etc/machine\n"
CHILD = "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nCOPY hello /etc/hello\nRUN cat /etc/machine >> /etc/hello; sleep 1\n"
IMAGES = ("base", "app", "side", "tool")
MOVING = ("dev", "nightly", "prod", "channels", "v")


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """What it printed, as JSON."""
        found: dict[str, Any] = json.loads(self.out)
        return found


@dataclass(frozen=True)
class Demo:
    """The project: its folder, and the environment that commands get on top of a clean one."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """The rehearsal's registry."""
        return self.folder / ".shipgraph" / "registry"

    def start(self, *arguments: str | Path, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """The program, running."""
        return subprocess.Popen(
            [PROGRAM, *arguments],
            cwd=self.folder,
            env={**clean_environment(), **self.environment, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(
        self,
        *arguments: str | Path,
        code: int | None = 0,
        environment: Mapping[str, str] | None = None,
        timeout: float = 180.0,
    ) -> Done:
        """The program, run to its end, which must have that exit code and no traceback."""
        return finish(self.start(*arguments, environment=environment), code=code, timeout=timeout)

    def json(self, *arguments: str | Path, **more: Any) -> dict[str, Any]:
        """The document that a command prints."""
        return self.run(*arguments, "--json", **more).document

    def git(self, *arguments: str) -> str:
        """Run git."""
        done = subprocess.run(
            ["git", *arguments], cwd=self.folder, env=clean_environment(), check=True, capture_output=True, text=True
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

    def commit(self, message: str = "a commit") -> str:
        """Commit everything; the commit."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", message)
        return self.git("rev-parse", "HEAD")


def finish(process: subprocess.Popen[str], *, code: int | None = 0, timeout: float = 180.0) -> Done:
    """Wait for the program's end."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        raise AssertionError(f"not done after {timeout} s\n{out}\n{err}") from None
    assert code is None or process.returncode == code, f"exit code {process.returncode}\n{out}\n{err}"
    assert "Traceback" not in err, err
    assert "internal error" not in err, err
    return Done(process.returncode, out, err)


def clean_environment() -> dict[str, str]:
    """This process's environment without what would make the program behave as in CI, or git as its user likes it."""
    foreign = ("CI", "BUILDKIT_HOST", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "TERM")
    kept = {name: value for name, value in os.environ.items() if name not in foreign}
    kept = {name: value for name, value in kept.items() if not name.startswith(("GITHUB_", "GIT_", "GHCR_"))}
    author = {
        f"GIT_{who}_{what}": f"{what.lower()}@example.org"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    return {**kept, **author, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "NO_PROXY": "127.0.0.1"}


def files_of(folder: Path) -> dict[str, str]:
    """Every file of a folder and the hash of its content."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def tags_of(root: Path) -> dict[str, str]:
    """Every tag of a rehearsal's registry, as ``repository:tag``, by what the folder itself says."""
    found: dict[str, str] = {}
    for index in sorted(root.glob("acme/*/index.json")):
        for entry in json.loads(index.read_text())["manifests"]:
            name = entry.get("annotations", {}).get("org.opencontainers.image.ref.name")
            if name:
                found[f"{index.parent.name}:{name}"] = entry["digest"]
    return found


def moving_tags_of(root: Path) -> dict[str, str]:
    """The tags that only a transaction may change."""
    return {name: digest for name, digest in tags_of(root).items() if name.partition(":")[2].startswith(MOVING)}


def digests(document: dict[str, Any]) -> dict[str, str]:
    """Image key (or name) to digest, from any document with images."""
    return {image.get("key") or image["image"].removeprefix("demo-"): image["digest"] for image in document["images"]}


def outcomes(document: dict[str, Any]) -> dict[str, str]:
    """Image key to what was done."""
    return {image["key"]: image["outcome"] for image in document["images"]}


def wait_for(found: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    """Ask until the answer is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := found():
            return answer
        time.sleep(0.05)
    raise AssertionError(f"{what} did not happen within {seconds} s")


def copy_project(source: Path, target: Path) -> Demo:
    """A copy that builds from cold storage, but has the registry."""
    shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("builder", "jobs"))
    return Demo(target)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, committed once, never run."""
    demo = Demo(tmp_path_factory.mktemp("template") / "demo")
    demo.write("shipgraph.toml", FILE)
    demo.write("docker/base/Dockerfile", BASE)
    for architecture in ("amd64", "arm64"):
        shutil.copy(busybox_tar(architecture), demo.folder / "docker" / "base" / f"root-{architecture}.tar")
    for key in IMAGES[1:]:
        demo.write(f"docker/{key}/Dockerfile", CHILD)
        demo.write(f"docker/{key}/hello", f"hello from {key}\n")
    demo.write("payload/bin/run", "#!/bin/sh\necho run\n")
    demo.write("payload/readme.txt", "read me\n")
    (demo.folder / "payload" / "bin" / "run").chmod(0o755)
    demo.git("init", "--quiet", "--initial-branch=main")
    demo.commit("first")
    return demo.folder


@pytest.fixture(scope="session")
def rehearsed_once(template: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """The project after its first rehearsal, and what that printed; nobody changes it."""
    demo = copy_project(template, tmp_path_factory.mktemp("rehearsed") / "demo")
    return demo.folder, demo.run("rehearse")


@pytest.fixture
def demo(template: Path, tmp_path: Path) -> Demo:
    """The project, never run."""
    return copy_project(template, tmp_path / "demo")


@pytest.fixture
def rehearsed(rehearsed_once: tuple[Path, Done], tmp_path: Path) -> Demo:
    """The project with one rehearsal behind it; what is built next is built in cold storage."""
    return copy_project(rehearsed_once[0], tmp_path / "demo")


@pytest.fixture(scope="session", params=[docker_registry, distribution_v3], ids=lambda start: start.__name__)
def registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``127.0.0.1:PORT`` of a real registry; each test runs against both."""
    folder = tmp_path_factory.mktemp(request.param.__name__)
    with request.param(folder) as address:
        LOGS[address] = folder / "registry.log"
        yield address


LOGS: dict[str, Path] = {}
"""The log of each real registry, by its address."""


def requests_of(address: str) -> list[str]:
    """What a real registry was asked for so far, as ``METHOD PATH``."""
    return re.findall(r'"((?:GET|HEAD|PUT|POST|PATCH|DELETE) \S+) HTTP/', LOGS[address].read_text())


@pytest.fixture(autouse=True)
def no_mounts_left(tmp_path: Path) -> Iterator[None]:
    """buildah leaves its storage mounted; pytest couldn't delete the folder."""
    yield
    unmount(tmp_path)


@pytest.fixture(scope="session", autouse=True)
def no_mounts_left_at_the_end(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The same for what lives as long as the session."""
    yield
    unmount(tmp_path_factory.getbasetemp())


def unmount(folder: Path) -> None:
    """Unmount whatever is mounted below a folder."""
    for mount in reversed(mounts_below(folder)):
        subprocess.run(["umount", "--lazy", mount], check=False)


def mounts_below(folder: Path) -> list[str]:
    """What is mounted below a folder."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    return [mount for mount in mounts if Path(mount).is_relative_to(folder)]


def processes_of(folder: Path) -> list[str]:
    """The command lines of processes that name a folder in arguments or environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            text = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if str(folder).encode() in text and state != "Z" and int(process.name) != os.getpid():
            found.append(f"{process.name}: {(process / 'cmdline').read_bytes()!r}")
    return found
