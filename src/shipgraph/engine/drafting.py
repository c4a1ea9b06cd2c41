"""Drafting ``shipgraph.toml``: what git and buildx know about the folder, and the draft of ``setup``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import msgspec

from shipgraph import process
from shipgraph.build.select import find_buildx
from shipgraph.errors import ConfigurationError, ProcessFailed, ToolMissing
from shipgraph.events import Finished, Started, counted
from shipgraph.setup import init
from shipgraph.setup.init_draft import slug

if TYPE_CHECKING:
    from shipgraph.events import Emit

_BAKE_SECONDS: Final = 60.0
_GIT_SECONDS: Final = 20.0
_TASK: Final = "init"


@dataclass(frozen=True, slots=True)
class _Source:
    """What git knows: the repository's name and owner (empty without a remote), and the default branch."""

    name: str = ""
    owner: str = ""
    branch: str = ""


async def draft_project(folder: Path, source: Path | None, name: str | None, *, emit: Emit) -> init.Drafted:
    """A draft from a bake file, or from the Dockerfiles of a folder.

    Args:
        source: a bake file, or where to look; the project's folder where None.
        name: the project's name; by default the repository's, or the folder's.

    Raises:
        ConfigurationError: there is nothing to draft from.
        ToolMissing: a bake file in HCL needs buildx.
    """
    folder = await anyio.to_thread.run_sync(folder.resolve)
    emit(Started(_TASK, "init"))
    known = await _git(folder)
    project = slug(name or known.name or folder.name)
    if source is not None and await anyio.Path(source).is_file():
        path = await anyio.to_thread.run_sync(source.resolve)
        text = await _read_bake(path)
        drafted = await anyio.to_thread.run_sync(
            lambda: init.draft_bake(
                folder,
                text,
                path,
                project,
                default_branch=known.branch,
                owner=known.owner,
                sure=name is not None,
            )
        )
    else:
        below = folder if source is None else source
        drafted = await anyio.to_thread.run_sync(
            lambda: init.draft_tree(folder, below.resolve(), project, default_branch=known.branch, owner=known.owner)
        )
    emit(Finished(_TASK, "init", counted(len(drafted.draft.images), "image")))
    return drafted


async def _git(folder: Path) -> _Source:
    """What git knows of the folder; nothing where it is in no repository. A folder within one has its own name."""

    async def ask(*words: str) -> str:
        done = await process.run(["git", *words], cwd=folder, check=False, timeout=_GIT_SECONDS)
        return done.stdout.strip() if done.status == 0 else ""

    try:
        top = await ask("rev-parse", "--show-toplevel")
        remote = urlsplit(_address(await ask("remote", "get-url", "origin")))
        head = (await ask("symbolic-ref", "--short", "refs/remotes/origin/HEAD")).removeprefix("origin/")
        branch = head or await ask("branch", "--show-current")
    except (ToolMissing, ProcessFailed):
        return _Source()
    parts = [part for part in remote.path.removesuffix(".git").split("/") if part]
    at_root = bool(top) and folder == await anyio.to_thread.run_sync(Path(top).resolve)
    known = head or (branch if branch in ("main", "master", "trunk") else "")
    return _Source(parts[-1] if parts and at_root else "", parts[0] if len(parts) > 1 else "", known)


def _address(remote: str) -> str:
    """A remote as a URL: ``git@HOST:PATH`` is short for ssh."""
    host, colon, path = remote.partition(":")
    return f"ssh://{host}/{path}" if colon and "/" not in host and not path.startswith("//") else remote


async def _read_bake(path: Path) -> bytes:
    """A bake file in JSON: as buildx evaluates it, which alone knows HCL, variables and matrices; or as it is.

    Raises:
        ToolMissing: it isn't JSON, and there is no buildx.
        ConfigurationError: buildx refuses it.
    """
    try:
        command = await find_buildx()
    except ToolMissing:
        if path.suffix == ".json":
            return await anyio.to_thread.run_sync(path.read_bytes)
        raise ToolMissing(
            f"{path} is not JSON, and there is no buildx to read it",
            hint=f"elsewhere: `docker buildx bake --print -f {path.name} > bake.json`; "
            "then `shipgraph init --from bake.json`",
        ) from None
    ask = [*command, "bake", "-f", path.name]
    try:
        listed = await process.run(
            [*ask, "--list=type=targets,format=json"], cwd=path.parent, timeout=_BAKE_SECONDS, check=False
        )
        targets = _targets(listed.stdout) if listed.status == 0 else []  # an older buildx: the default group
        done = await process.run(
            [*ask, "--print", "--progress=quiet", *targets], cwd=path.parent, timeout=_BAKE_SECONDS
        )
    except ProcessFailed as error:
        raise ConfigurationError(f"buildx can't read it: {error.tail.strip() or error}", file=str(path)) from None
    return done.stdout.encode()


class _Listed(msgspec.Struct, frozen=True):
    name: str
    group: bool = False


def _targets(text: str) -> list[str]:
    """All targets of a bake file, not only those of its default group."""
    try:
        listed = msgspec.json.decode(text, type=list[_Listed])
    except msgspec.DecodeError:
        return []
    return [one.name for one in listed if not one.group and not one.name.startswith("-")]
