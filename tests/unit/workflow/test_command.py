"""`shipgraph workflow` as a user calls it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from shipgraph.cli.main import main

from .projects import SHAPES, make

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "reference" / "json.md"
TABLE = f'[workflow]\naction = "acme/shipgraph@{"1" * 40}"\naction-version = "v1.0.0"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project in a folder of a repository, which has no commit yet."""
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    where = tmp_path / "ship"
    make(where, SHAPES["payload"] + TABLE)
    return where


def call(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["workflow", "--project", str(folder), *words])


def test_it_is_written_below_the_repositorys_root_and_then_unchanged(folder: Path) -> None:
    first = call(folder)
    assert (first.exit_code, first.stdout) == (0, ".github/workflows/build-runtime-images.yml: written\n")
    file = folder.parent / ".github" / "workflows" / "build-runtime-images.yml"
    assert "--project ship" in file.read_text()
    assert list(file.parent.iterdir()) == [file]
    before = file.stat().st_mtime_ns
    second = call(folder)
    assert second.stdout == ".github/workflows/build-runtime-images.yml: unchanged\n"
    assert file.stat().st_mtime_ns == before


def test_check_shows_the_difference_and_fails(folder: Path) -> None:
    missing = call(folder, "--check")
    assert missing.exit_code == 1
    assert "there is no .github/workflows/build-runtime-images.yml" in missing.stderr
    assert not (folder.parent / ".github").exists()
    call(folder)
    assert call(folder, "--check").exit_code == 0
    file = folder.parent / ".github" / "workflows" / "build-runtime-images.yml"
    file.write_text(file.read_text().replace("contents: read", "contents: write", 1))
    drifted = call(folder, "--check")
    assert drifted.exit_code == 1
    assert "-      contents: write\n+      contents: read\n" in drifted.stdout
    assert "run `shipgraph workflow` and commit the file" in drifted.stderr
    assert "contents: write" in file.read_text()


def test_a_dry_run_shows_the_same_and_is_no_failure(folder: Path) -> None:
    done = call(folder, "--dry-run")
    assert done.exit_code == 0
    assert "+name: build-runtime-images" in done.stdout
    assert not (folder.parent / ".github").exists()


def test_another_place_and_stdout(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "elsewhere" / "w.yml"
    assert call(folder, "--output", str(place)).exit_code == 0
    assert call(folder, "--output", "-").stdout == place.read_text()
    assert call(folder, "--output", str(place), "--check").exit_code == 0
    assert call(folder, "--output", "-", "--check").exit_code == 2


def test_the_document_is_the_one_that_is_documented(folder: Path) -> None:
    section = re.search(r"^## `workflow`\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert section is not None
    documented = set(re.findall(r"^\| `([^`]+)` \|", section[1], re.MULTILINE))
    document = json.loads(call(folder, "--check", "--json").stdout)
    members = set(document) | {f"jobs[].{name}" for job in document["jobs"] for name in job}
    assert members == documented
    assert document["current"] is False
    assert document["written"] is False
    assert document["diff"].startswith("--- .github/workflows/")
    by_id = {job["id"]: job for job in document["jobs"]}
    assert by_id["build-demo-linux-arm64"]["runner"] == "ubuntu-24.04-arm"
    assert by_id["build-demo-linux-arm64"]["needs"] == ["set"]
    assert by_id["resume"]["permissions"] == ["contents: read", "packages: write", "actions: read"]


def test_without_an_action_it_says_what_to_write(folder: Path) -> None:
    (folder / "shipgraph.toml").write_text(SHAPES["payload"])
    done = call(folder)
    assert done.exit_code == 2
    assert "workflow.action" in done.stderr
    assert "OWNER/REPOSITORY@COMMIT" in done.stderr
    assert "set action in [workflow]" in done.stderr


def test_outside_of_a_repository_there_is_no_place_for_it(tmp_path: Path) -> None:
    make(tmp_path / "p", SHAPES["payload"] + TABLE)
    if any((parent / ".git").exists() for parent in tmp_path.parents):
        pytest.fail("the tests' own folder is within a repository: give another with --basetemp")
    done = call(tmp_path / "p")
    assert done.exit_code == 2
    assert "is in no git repository" in done.stderr


def test_the_flagships_workflow_is_what_its_file_says() -> None:
    done = call(ROOT / "containai", "--check")
    assert done.exit_code == 0, done.stdout


def test_the_flagships_cache_scopes_are_the_runbooks() -> None:
    text = (ROOT / ".github/workflows/build-runtime-images.yml").read_text()
    scopes = re.findall(r"# cache scope: (\S+)\n  build-(\S+)-linux-(?:amd64|arm64):", text)
    assert len(scopes) == 14
    assert {image: scope for scope, image in scopes} == {
        "base": "containai-base",
        "containai": "runtime-containai",
        "copilot": "runtime-copilot",
        "codex": "runtime-codex",
        "claude": "runtime-claude",
        "proxy": "runtime-proxy",
        "log-forwarder": "runtime-log-forwarder",
    }
