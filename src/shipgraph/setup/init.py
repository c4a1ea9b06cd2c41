"""``shipgraph init``: a draft of ``shipgraph.toml``, and whether it loads."""

from __future__ import annotations

import os
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from shipgraph.errors import ConfigurationError
from shipgraph.project.config import FILE_NAME, ProjectFile
from shipgraph.project.deriving import derive
from shipgraph.project.reading import Problem, read_tables
from shipgraph.project.toml_lines import show_path
from shipgraph.setup.init_bake import read_bake
from shipgraph.setup.init_draft import Draft, draft, slug
from shipgraph.setup.init_file import render
from shipgraph.setup.init_tree import find_images

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shipgraph.project.spec import Project


@dataclass(frozen=True, slots=True)
class Drafted:
    """A draft, its text, the project that it loads as, and why it doesn't where that is None."""

    path: Path
    draft: Draft
    text: str
    project: Project | None
    problems: tuple[str, ...]


def draft_tree(folder: Path, below: Path, name: str, *, default_branch: str = "", owner: str | None = None) -> Drafted:
    """A draft from the Dockerfiles of a folder.

    Args:
        folder: the project's, absolute.
        below: where to look: it or a folder in it.
        name: the project's name.
        owner: the source repository's, empty where there is none; None: nobody has looked.

    Raises:
        ConfigurationError: there is no Dockerfile, or ``below`` is elsewhere.
    """
    if not below.resolve().is_relative_to(folder.resolve()):
        raise ConfigurationError(f"{below} is not within the project's folder {folder}")
    found = find_images(folder, below, name)
    if not found:
        raise ConfigurationError(
            f"there is no Dockerfile in {below}",
            hint="name the folder with --project or --from, or a bake file with --from",
        )
    payload = ("payload/**",) if (folder / "payload").is_dir() else ()
    return _drafted(folder, draft(name, found, payload=payload, default_branch=default_branch, notes=_ownerless(owner)))


def draft_bake(
    folder: Path,
    text: bytes,
    file: Path,
    name: str,
    *,
    default_branch: str = "",
    owner: str | None = None,
    sure: bool = True,
) -> Drafted:
    """A draft from a bake file in JSON.

    Args:
        sure: whether the name is the user's; else the one that all repositories begin with is better.
        owner: see ``draft_tree``; a namespace that is the same needs no mention.

    Raises:
        ConfigurationError: see ``init_bake.read_bake``.
    """
    bake = read_bake(text, str(file), folder, file.parent)
    namespace = bake.namespace if bake.namespace.lower() != (owner or "").lower() else ""
    made = draft(
        name if sure else common_name([one.repository for one in bake.found]) or name,
        bake.found,
        registry=bake.registry,
        namespace=namespace,
        default_branch=default_branch,
        notes=(*bake.notes, *(() if namespace else _ownerless(owner))),
    )
    return _drafted(folder, made)


def _ownerless(owner: str | None) -> tuple[str, ...]:
    """What is to be done where no git remote names an owner: all but a rehearsal needs a namespace."""
    return ("set `namespace` in [project]: no git remote says whose the project is",) if owner == "" else ()


def common_name(repositories: Sequence[str]) -> str:
    """The name that all repositories are or begin with (``demo`` of ``demo-base`` and ``demo``); empty for none."""
    name = min(repositories, key=len)
    same = all(one == name or one.startswith(f"{name}-") for one in repositories)
    return name if same and slug(name) == name else ""


def _drafted(folder: Path, made: Draft) -> Drafted:
    text, path = render(made), folder / FILE_NAME
    problems: list[Problem] = []
    file = read_tables(ProjectFile, tomllib.loads(text), problems)
    project = None if file is None else derive(file, path, problems)
    told = tuple(
        f"{problem.what} (key `{show_path(problem.path)}`)"
        + (f"; allowed: {problem.allowed}" if problem.allowed else "")
        for problem in problems
    )
    return Drafted(path, made, text, project, told)


def write(drafted: Drafted, *, force: bool = False) -> None:
    """Write the file, in one step; one that is there is replaced only by force.

    Raises:
        ConfigurationError: there is one, or it can't be written.
    """
    path = drafted.path
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{FILE_NAME}-", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(drafted.text)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            if force:
                Path(temporary).replace(path)
            else:
                os.link(temporary, path)  # fails where there is one, whoever made it meanwhile
        finally:
            Path(temporary).unlink(missing_ok=True)
    except FileExistsError:
        raise exists(path) from None
    except OSError as error:
        raise ConfigurationError(f"the file can't be written: {error.strerror}", file=str(path)) from error


def exists(path: Path) -> ConfigurationError:
    """The refusal where there is a file already."""
    return ConfigurationError(
        "is there already", file=str(path), hint="--dry-run shows the draft, --force replaces the file"
    )
