"""What git says about the project: the commit, whether the work tree is that commit, and who came before whom.

Nothing here writes to the repository: no index refresh, no object, no lock. The tree of a dirty work tree is made with
an index and an object directory of its own, which are thrown away.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

import anyio
import anyio.to_thread

from shipgraph import process
from shipgraph.errors import GitError, ProcessFailed, ToolMissing

if TYPE_CHECKING:
    from collections.abc import Mapping

_PLACES: Final = ("--is-shallow-repository", "--git-path", "index", "--git-path", "objects", "--show-toplevel")
MAX_CHANGED: Final = 100
TIMEOUT: Final = 120.0
# The state that shipgraph keeps in the project's folder is never part of a release, ignored by git or not.
OWN_STATE: Final = ".shipgraph"
_EXCLUDE: Final = f":(top,exclude,glob)**/{OWN_STATE}/**"
_COMMIT: Final = re.compile(r"[0-9a-f]{40}", re.ASCII)
# Of git's own variables only those that configure it stay; the others could point at another repository, as they do
# in a hook.
_KEPT: Final = ("GIT_CONFIG", "GIT_CEILING_DIRECTORIES", "GIT_DISCOVERY_ACROSS_FILESYSTEM", "GIT_EXEC_PATH")
# Whatever the repository configures: no file-system monitor is started, and nothing is written beside the index.
_SETTINGS: Final = (
    "-c", "core.fsmonitor=false", "-c", "core.untrackedCache=false", "-c", "core.splitIndex=false",
    "-c", "advice.addEmbeddedRepo=false", "-c", "core.quotePath=false",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class GitState:
    """The repository as it is now.

    ``root`` is the work tree's top; ``commit`` the 40 hex digits of HEAD, ``commit_time`` its committer's time in
    seconds since the epoch; ``branch`` None where HEAD is detached; ``tags`` those that point at HEAD; ``tree`` the git
    tree of the work tree, HEAD's own unless ``dirty``; ``changed`` at most 100 of the paths that make it so;
    ``remote_url`` the remote's address without credentials, empty without a remote.
    """

    root: Path
    commit: str
    commit_time: int
    branch: str | None
    tags: tuple[str, ...]
    tree: str
    dirty: bool = False
    changed: tuple[str, ...] = ()
    remote_url: str = ""
    is_shallow: bool = False


class Relation(StrEnum):
    """What one commit is to another."""

    EQUAL = "equal"
    ANCESTOR = "ancestor"
    DESCENDANT = "descendant"
    DIVERGED = "diverged"
    UNKNOWN = "unknown"


async def read_git(folder: Path) -> GitState:
    """Read the state of the repository that a folder belongs to.

    Raises:
        GitError: git isn't installed, the folder is in no work tree, or there is no commit yet.
    """
    answer = await _git(folder, "rev-parse", "--path-format=absolute", *_PLACES)
    shallow, index, objects, root = answer.split("\n", 3)
    top = Path(root.removesuffix("\n"))
    status = await _git(
        top, "status", "--porcelain=v2", "--branch", "-z", "--untracked-files=normal", "--ignore-submodules=none",
        "--no-renames", "--no-ahead-behind", "--", ".", _EXCLUDE,
    )  # fmt: skip
    headers, changed = _read_status(status)
    commit = headers.get("branch.oid", "")
    if commit == "(initial)":
        raise GitError(f"{top} has no commit yet", hint="commit the project first: a release names a commit")
    if not _COMMIT.fullmatch(commit):
        raise GitError(
            f"{top} has commits that are not 40 hex digits", hint="repositories with SHA-256 ids are not supported"
        )
    tree, time = (await _git(top, "log", "-1", "--no-show-signature", "--format=%T %ct", commit)).split()
    tags = await _git(top, "for-each-ref", "--points-at", commit, "--format=%(refname:strip=2)", "refs/tags")
    branch = headers.get("branch.head", "(detached)")
    return GitState(
        root=top,
        commit=commit,
        commit_time=int(time),
        branch=None if branch == "(detached)" else branch,
        tags=tuple(tags.splitlines()),
        tree=await _work_tree(top, Path(index), Path(objects)) if changed else tree,
        dirty=bool(changed),
        changed=tuple(changed[:MAX_CHANGED]),
        remote_url=await _remote_url(top),
        is_shallow=shallow == "true",
    )


async def relation(folder: Path, a: str, b: str) -> Relation:
    """What commit ``a`` is to commit ``b``: its ancestor, descendant, neither (diverged), or not to be told.

    ``UNKNOWN`` where one of them isn't in this clone, or the clone is shallow and history ends before the answer.

    Raises:
        GitError: git failed, or a name isn't 40 hex digits.
    """
    for commit in (a, b):
        if not _COMMIT.fullmatch(commit):
            raise GitError(f"{commit[:100]!r} is not the id of a commit")
    if a == b:
        return Relation.EQUAL
    for commit in (a, b):
        if (await _run(folder, "cat-file", "-e", f"{commit}^{{commit}}", check=False)).status != 0:
            return Relation.UNKNOWN
    if await _is_ancestor(folder, a, b):
        return Relation.ANCESTOR
    if await _is_ancestor(folder, b, a):
        return Relation.DESCENDANT
    return Relation.UNKNOWN if await is_shallow(folder) else Relation.DIVERGED


async def list_files(folder: Path) -> tuple[str, ...]:
    """The files below a folder that committing everything would hold, sorted: POSIX paths relative to the folder.

    Tracked files and new ones that aren't ignored; never deleted ones, nor shipgraph's own state.

    Raises:
        GitError: git failed.
    """
    listed = await _git(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", ".", _EXCLUDE)
    deleted = await _git(folder, "ls-files", "-z", "--deleted", "--", ".")
    return tuple(sorted({path for path in listed.split("\0") if path} - set(deleted.split("\0"))))


async def is_shallow(folder: Path) -> bool:
    """Whether the clone's history is cut off.

    Raises:
        GitError: git failed.
    """
    return (await _git(folder, "rev-parse", "--is-shallow-repository")).strip() == "true"


async def find_commit(folder: Path, name: str) -> tuple[str, int] | None:
    """The commit that a tag's name or a commit's id stands for, and its time in seconds; None if git has neither.

    Raises:
        GitError: git failed.
    """
    ref = name if _COMMIT.fullmatch(name) else f"refs/tags/{name}"
    answer = await _run(folder, "log", "-1", "--no-show-signature", "--format=%H %ct", ref, "--", check=False)
    if answer.status != 0:
        return None
    commit, time = answer.stdout.split()
    return commit, int(time)


async def _is_ancestor(folder: Path, a: str, b: str) -> bool:
    done = await _run(folder, "merge-base", "--is-ancestor", a, b, check=False)
    if done.status not in (0, 1):
        raise _failure(folder, "merge-base", done.tail)
    return done.status == 0


async def _work_tree(top: Path, index: Path, objects: Path) -> str:
    """The tree that committing everything would make; index and new objects live in a folder that goes away."""
    with tempfile.TemporaryDirectory(prefix="shipgraph-git-") as name:
        own = Path(name)
        await anyio.to_thread.run_sync(_prepare, own, index)
        extra = {
            "GIT_INDEX_FILE": str(own / "index"),
            "GIT_OBJECT_DIRECTORY": str(own / "objects"),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(objects),
        }
        await _git(top, "add", "--all", "--", ".", _EXCLUDE, extra=extra)
        return (await _git(top, "write-tree", extra=extra)).strip()


def _prepare(own: Path, index: Path) -> None:
    (own / "objects").mkdir()
    if index.exists():
        shutil.copy2(index, own / "index")  # its file times spare git reading every unchanged file


async def _remote_url(top: Path) -> str:
    """The address of ``origin``, or of the only remote; credentials in it are dropped at once."""
    remotes = (await _git(top, "remote")).splitlines()
    name = "origin" if "origin" in remotes else remotes[0] if len(remotes) == 1 else ""
    if not name:
        return ""
    done = await _run(top, "remote", "get-url", "--", name, check=False)
    return _without_credentials(done.stdout.strip()) if done.status == 0 else ""


def _without_credentials(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    if "@" not in parts.netloc:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _read_status(text: str) -> tuple[dict[str, str], list[str]]:
    """Headers and changed paths of ``git status --porcelain=v2 --branch -z``."""
    headers: dict[str, str] = {}
    changed: list[str] = []
    # Fields before the path, by kind of entry; renames are off, so every entry is one record.
    fields = {"1": 8, "u": 10, "?": 1}
    for record in text.split("\0"):
        kind = record[:1]
        if kind == "#":
            name, _, value = record[2:].partition(" ")
            headers[name] = value
        elif kind in fields:
            changed.append(record.split(" ", fields[kind])[-1])
    return headers, changed


def _environment(extra: Mapping[str, str] | None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name.startswith(_KEPT)}
    fixed = {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_NO_REPLACE_OBJECTS": "1"}
    return kept | fixed | {"GIT_NO_LAZY_FETCH": "1"} | dict(extra or {})


async def _run(
    folder: Path, *arguments: str, extra: Mapping[str, str] | None = None, check: bool = True
) -> process.Completed:
    try:
        return await process.run(
            ["git", *_SETTINGS, *arguments], cwd=folder, env=_environment(extra), timeout=TIMEOUT, check=check
        )
    except ToolMissing as error:
        if not await anyio.Path(folder).is_dir():
            raise GitError(f"{folder} is not a folder") from error
        raise GitError("git is not installed", hint="install git") from error
    except NotADirectoryError as error:
        raise GitError(f"{folder} is not a folder") from error
    except ProcessFailed as error:
        raise _failure(folder, arguments[0], error.tail or str(error)) from error


async def _git(folder: Path, *arguments: str, extra: Mapping[str, str] | None = None) -> str:
    return (await _run(folder, *arguments, extra=extra)).stdout


def _failure(folder: Path, command: str, tail: str) -> GitError:
    last = tail.strip().splitlines()[-1] if tail.strip() else "no message"
    if "dubious ownership" in tail:
        return GitError(
            f"git refuses to read {folder}: it belongs to another user",
            hint=f"git config --global --add safe.directory {folder}",
        )
    if "not a git repository" in tail or "must be run in a work tree" in tail:
        return GitError(f"{folder} is not in a git repository", hint="run git init and commit the project first")
    return GitError(f"git {command} failed in {folder}: {last}")
