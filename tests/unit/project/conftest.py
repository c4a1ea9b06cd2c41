"""Projects on disk: a valid one to start from, and real git repositories."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

VALID = """\
[project]
name = "demo"
platforms = ["linux/amd64", "linux/arm64"]

[images.base]
context = "docker/base"
base = "debian:bookworm-slim"
cache-scope = "demo-base"

[images.demo]
context = "docker/demo"
parent = "base"

[images.agent]
context = "docker/agent"
parent = "demo"
"""

Write = Callable[[str], Path]


@pytest.fixture
def valid() -> str:
    """The text of a small valid file."""
    return VALID


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a ``shipgraph.toml`` beside the folders ``docker/{base,demo,agent}``, each with a Dockerfile."""
    for name in ("base", "demo", "agent"):
        (tmp_path / "docker" / name).mkdir(parents=True)
        (tmp_path / "docker" / name / "Dockerfile").write_text("FROM scratch\n")

    def file(text: str) -> Path:
        (tmp_path / "shipgraph.toml").write_bytes(text.encode())
        return tmp_path

    return file


class Repository:
    """A real git repository that no configuration of the machine reaches."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def git(self, *arguments: str, date: int = 1_700_000_000) -> str:
        own = {
            "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "HOME": str(self.root),
            "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_AUTHOR_DATE": f"{date} +0000",
            "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org", "GIT_COMMITTER_DATE": f"{date} +0000",
        }  # fmt: skip
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        done = subprocess.run(["git", *arguments], cwd=self.root, env=kept | own, check=True, capture_output=True)
        return done.stdout.decode().strip()

    def commit(self, message: str = "a commit", *, date: int = 1_700_000_000) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", message, date=date)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """A repository on branch main with one commit."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    root = tmp_path / "repository"
    root.mkdir()
    made = Repository(root)
    made.git("init", "--quiet", "--initial-branch=main")
    (root / "README").write_text("hello\n")
    made.commit()
    return made
