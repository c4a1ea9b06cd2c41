"""A small project whose repository is on the stand-in for GitHub: busybox images, a payload."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.real.busybox import busybox_tar

from .equivalents import OWN
from .github import REPOSITORY, GitHub

if TYPE_CHECKING:
    from collections.abc import Mapping

PROGRAM = Path(sys.executable).with_name("shipgraph")
WORKFLOW = "build-runtime-images.yml"
FILE = """\
[project]
name = "demo"
platforms = ["linux/amd64", "linux/arm64"]
registry = "{registry}"

[images.base]
context = "docker/base"
base = "scratch"
[[images.base.tests]]
run = ["true"]

[images.app]
context = "docker/app"
parent = "base"
[[images.app.tests]]
run = ["cat", "/etc/hello"]
expect-output = "hello"

[images.side]
context = "docker/side"
base = "scratch"
platforms = ["linux/amd64"]
[[images.side.tests]]
run = ["cat", "/etc/name"]
expect-output = "side"

[payload]
files = ["payload/**"]

[build]
builder = "buildah"

[channels.dev]
on = "push:main"
[channels.nightly]
on = "schedule:0 6 * * *"
[channels.prod]
on = "tag:v*"
pinned = false

[workflow]
action = "{action}@{commit}"
action-version = "v0"

[signing]
by = "keyless"
trust-config = "sigstore.json"

[transaction]
gap = 0.3
settle = 1
margin = 2
"""
MOVED = ("dev", "nightly", "prod", "channels")
ROOT = "FROM scratch\nARG TARGETARCH\nADD root-${TARGETARCH}.tar /\nCOPY name /etc/name\n"
CHILD = "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nCOPY hello /etc/hello\n"


@dataclass
class Demo:
    """The developer's clone."""

    folder: Path

    def git(self, *arguments: str) -> str:
        """Run git here."""
        done = subprocess.run(["git", *arguments], cwd=self.folder, env=_environment(), check=True, capture_output=True)
        return done.stdout.decode().strip()

    def write(self, path: str, text: str) -> None:
        """Write a file."""
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

    def push_to(self, hub: GitHub) -> None:
        """From now on push there."""
        self.git("remote", "set-url", "--push", "origin", str(hub.git / f"{REPOSITORY}.git"))

    def push(self, *refs: str) -> None:
        """Push to the stand-in."""
        self.git("push", "--quiet", "--force", "origin", *(refs or ("main",)))

    def run(self, *arguments: str | Path, environment: Mapping[str, str] | None = None, code: int = 0) -> str:
        """The installed program, as its user runs it; what it printed."""
        done = subprocess.run(
            [PROGRAM, *arguments],
            cwd=self.folder,
            env={**_environment(), **(environment or {})},
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def bare_project(hub: GitHub, folder: Path) -> Demo:
    """An empty repository and its clone."""
    bare = hub.git / f"{REPOSITORY}.git"
    bare.parent.mkdir(parents=True)
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", bare], env=_environment(), check=True)
    for option in ("allowAnySHA1InWant", "allowFilter"):
        subprocess.run(["git", "-C", bare, "config", f"uploadpack.{option}", "true"], env=_environment(), check=True)
    demo = Demo(folder / "clone")
    demo.folder.mkdir(parents=True)
    demo.git("init", "--quiet", "--initial-branch=main")
    demo.git("remote", "add", "origin", f"https://github.com/{REPOSITORY}")
    demo.push_to(hub)
    return demo


def make(hub: GitHub, folder: Path, trust: str) -> Demo:
    """The project, committed and pushed, without a workflow.

    Args:
        trust: a Sigstore client trust configuration.
    """
    demo = bare_project(hub, folder)
    demo.write("shipgraph.toml", FILE.format(registry=hub.registry, action=OWN, commit="5" * 40))
    demo.write("sigstore.json", trust)
    for key_of_image in ("base", "side"):
        demo.write(f"docker/{key_of_image}/Dockerfile", ROOT)
        demo.write(f"docker/{key_of_image}/name", f"{key_of_image}\n")
        for architecture in ("amd64", "arm64"):
            shutil.copy(busybox_tar(architecture), demo.folder / "docker" / key_of_image / f"root-{architecture}.tar")
    demo.write("docker/app/Dockerfile", CHILD)
    demo.write("docker/app/hello", "hello from app\n")
    demo.write("payload/bin/run", "#!/bin/sh\necho run\n")
    demo.write("payload/readme.txt", "read me\n")
    (demo.folder / "payload" / "bin" / "run").chmod(0o755)
    demo.commit("first")
    demo.push()
    return demo


def _environment() -> dict[str, str]:
    who = {
        f"GIT_{who}_{what}": f"{what.lower()}@example.org"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    foreign = ("GITHUB_", "GIT_", "GHCR_", "ACTIONS_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign) and name != "CI"}
    return {**kept, **who, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "NO_PROXY": "127.0.0.1"}
