"""The rendered workflow and its file: rendered from the project, compared, written."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from shipgraph.errors import GitError
from shipgraph.project.loader import load_project
from shipgraph.workflow.place import find_place
from shipgraph.workflow.rendering import plan_jobs, render_workflow

if TYPE_CHECKING:
    from pathlib import Path

    from shipgraph.workflow.jobs import Job

FOLDER: Final = ".github/workflows"
_OWN_ACTION: Final = "\nname: shipgraph\n"
_SMALL: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class Rendered:
    """A workflow, and what its file has now; ``shown`` is the path as a user knows it, ``there`` None for no
    file."""

    path: Path
    shown: str
    text: str
    there: str | None
    jobs: tuple[Job, ...]

    @property
    def current(self) -> bool:
        """Whether the file is what it would be made to."""
        return self.there == self.text

    def diff(self) -> str:
        """From what is there to what belongs there, as `diff -u` writes it; empty where they are the same."""
        before = (self.there or "").splitlines(keepends=True)
        return "".join(
            difflib.unified_diff(before, self.text.splitlines(keepends=True), self.shown, f"{self.shown} (rendered)")
        )


async def render(folder: Path, output: Path | None = None) -> Rendered:
    """The workflow of a project, and its file: in ``.github/workflows`` of the repository unless ``output`` says where.

    Raises:
        ConfigurationError: the project's file is wrong, or the workflow needs what it doesn't say.
        GitError: the project is in no repository.
    """
    project = load_project(folder)
    inside_of = project.folder.resolve()
    root = await anyio.to_thread.run_sync(_find_root, inside_of)
    spec = project.workflow
    inside = inside_of.relative_to(root).as_posix()
    own = await anyio.to_thread.run_sync(_is_shipgraph, root)
    place = find_place(inside, spec.action, spec.action_version, is_shipgraph=own, file=str(project.file))
    path = root / FOLDER / spec.file if output is None else output
    shown = f"{FOLDER}/{spec.file}" if output is None else str(output)
    there = await anyio.to_thread.run_sync(_read, path)
    return Rendered(path, shown, render_workflow(project, place), there, plan_jobs(project, place))


async def write(rendered: Rendered) -> None:
    """Write the file; a reader sees the old one or the new one, whole."""

    def put() -> None:
        rendered.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = rendered.path.with_name(f".{rendered.path.name}.new")
        unfinished.write_text(rendered.text, encoding="utf-8")
        unfinished.replace(rendered.path)

    await anyio.to_thread.run_sync(put)


def _find_root(folder: Path) -> Path:
    """The repository's root; it may be one without any commit yet."""
    for candidate in (folder, *folder.parents):
        if (candidate / ".git").exists():
            return candidate
    raise GitError(f"{folder} is in no git repository", hint="a workflow belongs to one: run `git init`")


def _read(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None


def _is_shipgraph(root: Path) -> bool:
    """Whether shipgraph's own action is at the repository's root."""
    try:
        with (root / "action.yml").open("rb") as file:
            return _OWN_ACTION in file.read(_SMALL).decode("utf-8", errors="replace")
    except OSError:
        return False
