"""What git says, asked of real repositories; nothing is written to them."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from shipgraph.errors import GitError
from shipgraph.project.git import Relation, is_shallow, list_files, read_git, relation

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.project.conftest import Repository


def contents(root: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


async def test_a_clean_tree(repository: Repository) -> None:
    repository.git("tag", "v1.0.0")
    repository.git("tag", "-a", "v1.0.1", "-m", "annotated")
    repository.git("remote", "add", "origin", "https://user:secret@github.com/Acme/demo.git")
    state = await read_git(repository.root)
    assert state.root == repository.root
    assert state.commit == repository.git("rev-parse", "HEAD")
    assert state.commit_time == 1_700_000_000
    assert state.branch == "main"
    assert state.tags == ("v1.0.0", "v1.0.1")
    assert state.tree == repository.git("rev-parse", "HEAD^{tree}")
    assert (state.dirty, state.changed, state.is_shallow) == (False, (), False)
    assert state.remote_url == "https://github.com/Acme/demo.git"


async def test_a_dirty_tree_is_the_tree_that_committing_would_make(repository: Repository) -> None:
    (repository.root / ".gitignore").write_text("*.log\n")
    (repository.root / "gone").write_text("x")
    repository.commit()
    (repository.root / "README").write_text("changed\n")
    (repository.root / "gone").unlink()
    (repository.root / "staged").write_text("s")
    repository.git("add", "staged")
    (repository.root / "new folder").mkdir()
    (repository.root / "new folder" / "ünï").write_text("n")
    (repository.root / "x.log").write_text("ignored")
    before = contents(repository.root / ".git")
    state = await read_git(repository.root / "new folder")
    assert contents(repository.root / ".git") == before
    assert state.dirty
    assert set(state.changed) == {"README", "gone", "staged", "new folder/"}
    assert state.commit == repository.git("rev-parse", "HEAD")
    repository.commit()
    assert repository.git("rev-parse", "HEAD^{tree}") == state.tree


async def test_own_state_and_ignored_files_are_not_changes(repository: Repository) -> None:
    for folder in (".shipgraph/registry", "sub/.shipgraph/keys"):
        (repository.root / folder).mkdir(parents=True)
        (repository.root / folder / "file").write_text("x")
    state = await read_git(repository.root)
    assert not state.dirty
    (repository.root / "sub" / "real").write_text("x")
    state = await read_git(repository.root)
    assert state.dirty
    with pytest.raises(subprocess.CalledProcessError):  # the tree must not be in the repository
        repository.git("cat-file", "-e", state.tree)


async def test_files_that_may_be_shipped(repository: Repository) -> None:
    for name in ("in/kept", "in/gone", "in/x.log", "in/deep/ünï code", "in/.shipgraph/key", "out"):
        (repository.root / name).parent.mkdir(parents=True, exist_ok=True)
        (repository.root / name).write_text("x")
    (repository.root / ".gitignore").write_text("*.log\n")
    repository.git("add", "in/gone", "in/kept")
    (repository.root / "in" / "gone").unlink()
    assert await list_files(repository.root / "in") == ("deep/ünï code", "kept")
    repository.commit()
    assert await list_files(repository.root / "in") == ("deep/ünï code", "kept")


async def test_variables_of_a_hook_do_not_mislead(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    assert (await read_git(repository.root)).branch == "main"


async def test_a_file_system_monitor_of_the_repository_is_not_started(repository: Repository, tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    repository.git("config", "core.fsmonitor", str(hook))
    (repository.root / "new").write_text("x")
    assert (await read_git(repository.root)).dirty
    assert not (tmp_path / "ran").exists()


async def test_detached_and_without_remote(repository: Repository) -> None:
    repository.git("checkout", "--quiet", "--detach")
    state = await read_git(repository.root)
    assert state.branch is None
    assert state.remote_url == ""


async def test_no_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(GitError, match="not in a git repository") as caught:
        await read_git(tmp_path)
    assert "git init" in caught.value.hint
    with pytest.raises(GitError, match="is not a folder"):
        await read_git(tmp_path / "nothing")


async def test_no_commit(tmp_path: Path, repository: Repository) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    repository.git("init", "--quiet", str(empty))
    with pytest.raises(GitError, match="no commit yet"):
        await read_git(empty)


async def test_no_git(repository: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitError, match="git is not installed"):
        await read_git(repository.root)


async def test_relations(repository: Repository, tmp_path: Path) -> None:
    first = repository.git("rev-parse", "HEAD")
    second = repository.commit("second")
    third = repository.commit("third")
    repository.git("checkout", "--quiet", "-b", "side", first)
    side = repository.commit("side", date=1_700_000_500)
    root = repository.root
    assert await relation(root, first, first) is Relation.EQUAL
    assert await relation(root, first, third) is Relation.ANCESTOR
    assert await relation(root, third, second) is Relation.DESCENDANT
    assert await relation(root, side, third) is Relation.DIVERGED
    assert await relation(root, first, "f" * 40) is Relation.UNKNOWN
    with pytest.raises(GitError, match="not the id of a commit"):
        await relation(root, "--all", first)
    assert not await is_shallow(root)
    shallow = tmp_path / "shallow"
    repository.git("clone", "--quiet", "--depth=1", "--no-single-branch", f"file://{root}", str(shallow))
    assert await is_shallow(shallow)
    assert (await read_git(shallow)).is_shallow
    assert await relation(shallow, first, third) is Relation.UNKNOWN
    assert await relation(shallow, side, third) is Relation.UNKNOWN
    assert os.fspath(shallow)
