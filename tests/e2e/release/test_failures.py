"""What goes wrong: exit code, what, why, what next; moving tags stay, and the next run completes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from tests.e2e.release.conftest import Demo, moving_tags_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.real


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A file system of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--recursive", "--lazy", folder], check=True)


def enlarge(folder: Path) -> None:
    """Give it room."""
    subprocess.run(["mount", "-o", "remount,size=200M", folder], check=True)


def test_failing_dockerfile(rehearsed: Demo) -> None:
    before = moving_tags_of(rehearsed.root)
    rehearsed.edit("docker/tool/Dockerfile", "RUN", "RUN echo the very reason >&2; exit 7; ")
    commit = rehearsed.commit()
    done = rehearsed.run("rehearse", code=1)
    assert "error: building tool for linux/amd64 failed" in done.err
    assert "the very reason" in done.err
    log = rehearsed.folder / ".shipgraph" / "logs" / "tool-linux-amd64.log"
    assert f"next: the whole output is in {log}; fix the cause and run the same command again" in done.err
    assert "the very reason" in log.read_text()
    assert moving_tags_of(rehearsed.root) == before
    assert rehearsed.run("rehearse", "--json", code=1).document["error"]["kind"] == "BuildFailed"
    rehearsed.edit("docker/tool/Dockerfile", "RUN echo the very reason >&2; exit 7; ", "RUN true; ")
    assert rehearsed.commit() != commit
    assert rehearsed.json("rehearse")["moved"] is True


def test_log_goes_to_github_as_an_annotation_in_one_line(rehearsed: Demo) -> None:
    rehearsed.edit("docker/tool/Dockerfile", "RUN", "RUN echo 'a % and more' >&2; exit 7; ")
    done = rehearsed.run("rehearse", code=1, environment={"GITHUB_ACTIONS": "true"})
    (line,) = [line for line in done.err.splitlines() if line.startswith("::error")]
    assert line.startswith("::error title=shipgraph::building tool for linux/amd64 failed")
    assert "a %25 and more" in line
    assert "%0A" in line


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('base = "scratch"', 'parent = "tool"', "circle: base → tool → app → base"),
        ('parent = "app"', 'parent = "ap"', "image tool has the parent 'ap', and the project has no such image"),
        ("[payload]", "[payload", "not TOML"),
        ("[payload]", "[payloads]", "payloads"),
        ('context = "docker/side"', 'context = "docker/inside"', "docker/inside"),
        ('files = ["payload/**"]', 'files = ["payloads/**"]', "payloads/**"),
    ],
)
def test_mistakes_in_the_file(rehearsed: Demo, old: str, new: str, said: str) -> None:
    before = moving_tags_of(rehearsed.root)
    right = (rehearsed.folder / "shipgraph.toml").read_text()
    rehearsed.edit("shipgraph.toml", old, new)
    for command in (("plan", "--root", rehearsed.root), ("rehearse",)):
        done = rehearsed.run(*command, code=2)
        assert said in done.err
        assert re.search(r"^error: .*", done.err, re.MULTILINE)
    if "payloads/**" not in said:
        assert re.search(r"shipgraph\.toml:\d+: ", done.err), "file and line"
    assert moving_tags_of(rehearsed.root) == before
    rehearsed.write("shipgraph.toml", right)
    assert rehearsed.json("rehearse")["unchanged"] is True


def test_arguments_that_can_not_be(rehearsed: Demo) -> None:
    channel = rehearsed.run("rehearse", "--channel", "devel", code=2)
    assert "there is no channel 'devel'; allowed: dev, nightly, prod" in channel.err
    url = rehearsed.run("release", "--registry", "https://127.0.0.1:5000/acme", code=2)
    assert "'https://127.0.0.1:5000/acme' is a URL; allowed: HOST or HOST/NAMESPACE, without a scheme" in url.err
    upper = rehearsed.run("plan", "--registry", "127.0.0.1:5000/a/-/b", code=2)
    assert "is not a repository name" in upper.err
    version = rehearsed.run("rehearse", "--channel", "prod", code=2)
    assert "give it with --version" in version.err
    unknown = rehearsed.run("build", "ap", "--root", rehearsed.root, code=2)
    assert "did you mean 'app'?" in unknown.err
    nowhere = rehearsed.run("status", "--root", rehearsed.folder / "nowhere", code=2)
    assert "there is no registry in" in nowhere.err
    assert "`shipgraph rehearse` makes one" in nowhere.err
    assert not (rehearsed.folder / "nowhere").exists()
    nothing = rehearsed.run("rehearse", "--no-such-option", "--json", code=2)
    assert nothing.document["error"]["kind"] == "UsageError"
    assert nothing.document["error"]["exitCode"] == 2


def test_no_project_and_no_git(rehearsed: Demo, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    missing = rehearsed.run("plan", "--project", empty, code=2)
    assert "there is no shipgraph.toml" in missing.err
    assert "--project" in missing.err
    shutil.copytree(rehearsed.folder, tmp_path / "plain", ignore=shutil.ignore_patterns(".git", ".shipgraph"))
    for command in ("plan", "rehearse", "release"):
        plain = rehearsed.run(command, "--project", tmp_path / "plain", code=2)
        assert "is not in a git repository" in plain.err
        assert "  next: " in plain.err
    young = Demo(tmp_path / "plain")
    young.git("init", "--quiet", "--initial-branch=main")
    unborn = young.run("rehearse", code=2)
    assert "no commit" in unborn.err
    assert "  next: " in unborn.err


def test_no_builder(rehearsed: Demo, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "git").symlink_to(shutil.which("git") or "git")
    before = moving_tags_of(rehearsed.root)
    rehearsed.edit("docker/side/hello", "hello", "no builder")
    done = rehearsed.run("rehearse", code=2, environment={"PATH": str(programs)})
    assert "no builder works on this machine" in done.err
    assert "apt-get install buildah" in done.err
    assert moving_tags_of(rehearsed.root) == before
    assert rehearsed.json("rehearse")["moved"] is True


def test_no_git_program(rehearsed: Demo, tmp_path: Path) -> None:
    (tmp_path / "programs").mkdir()
    done = rehearsed.run("rehearse", code=2, environment={"PATH": str(tmp_path / "programs")})
    assert "install git" in done.err


def test_full_disk_under_the_builder(rehearsed: Demo) -> None:
    before = moving_tags_of(rehearsed.root)
    rehearsed.edit("docker/side/hello", "hello", "full")
    state = rehearsed.folder / ".shipgraph" / "builder"
    with small_disk(state, "2M"):
        done = rehearsed.run("rehearse", code=1)
        assert "no space left on the disk" in done.err
        assert "free some room" in done.err
        assert moving_tags_of(rehearsed.root) == before
        enlarge(state)
        assert rehearsed.json("rehearse")["moved"] is True


def test_full_disk_under_the_registry(demo: Demo, tmp_path: Path) -> None:
    root = tmp_path / "registry"
    with small_disk(root, "700k"):
        done = demo.run("rehearse", "--root", root, code=None)
        assert done.code in (1, 5)
        assert re.search("no space left|no room", done.err, re.IGNORECASE)
        assert "free some room" in done.err
        assert moving_tags_of(root) == {}
        enlarge(root)
        assert demo.json("rehearse", "--root", root)["moved"] is True
        assert demo.json("verify", "dev", "--root", root)["ok"] is True


def test_missing_evidence_refuses_and_moves_nothing(rehearsed: Demo) -> None:
    before = moving_tags_of(rehearsed.root)
    rehearsed.edit("shipgraph.toml", "require = []", 'require = ["test"]')
    done = rehearsed.run("rehearse", code=3)
    assert "required evidence is missing: test of base" in done.err
    assert "  next: " in done.err
    assert moving_tags_of(rehearsed.root) == before


def test_damaged_registry_is_said_and_nothing_is_believed(rehearsed: Demo) -> None:
    metadata = rehearsed.root / "acme" / "demo-metadata"
    for entry in json.loads((metadata / "index.json").read_text())["manifests"]:
        if entry.get("annotations", {}).get("org.opencontainers.image.ref.name") == "journal":
            blob = metadata / "blobs" / "sha256" / entry["digest"].removeprefix("sha256:")
            blob.write_bytes(blob.read_bytes().replace(b"journal", b"journey"))
    done = rehearsed.run("rehearse", code=1)
    assert re.search("expected sha256:[0-9a-f]{64}, got ", done.err)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_unwritable_folder(rehearsed: Demo) -> None:
    state = rehearsed.folder / ".shipgraph"
    subprocess.run(["mount", "--bind", state, state], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", state], check=True)
        done = rehearsed.run("rehearse", code=1)
        assert "Read-only file system" in done.err
    finally:
        subprocess.run(["umount", "--lazy", state], check=True)
