"""The whole workflow: a pure function of the project and of where it is in its repository."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shipgraph.errors import ConfigurationError
from shipgraph.workflow.operations import OperationJobs
from shipgraph.workflow.release import ReleaseJobs
from shipgraph.workflow.triggers import triggers
from shipgraph.workflow.yaml import write

if TYPE_CHECKING:
    from shipgraph.project.spec import Project
    from shipgraph.workflow.jobs import Job
    from shipgraph.workflow.place import Place
    from shipgraph.workflow.yaml import Value

_HEAD: Final = """\
# Made by `shipgraph workflow` from {file}; `shipgraph workflow --check` fails where the two differ.
# What each job may do stands beside it, and is all that its token can. Scripts are the same text for every event.
"""


def plan_jobs(project: Project, place: Place) -> tuple[Job, ...]:
    """Every job of the workflow, those of a release first.

    Raises:
        ConfigurationError: a platform has no runner, or two jobs would have one id.
    """
    jobs = (*ReleaseJobs(project, place).all(), *OperationJobs(project, place).all())
    seen: set[str] = set()
    for job in jobs:
        if job.id in seen:
            raise ConfigurationError(
                f"two jobs of the workflow would be called {job.id!r}", hint="give an image another key"
            )
        seen.add(job.id)
    return jobs


def render_workflow(project: Project, place: Place) -> str:
    """The workflow file's text; the same for the same values. Raises what ``plan_jobs`` raises."""
    file = f"{place.folder}/shipgraph.toml" if place.folder else "shipgraph.toml"
    document: dict[str, Value] = {
        "name": project.workflow.file.rpartition(".")[0],
        "on": triggers(project, place),
        "permissions": {},
        "defaults": {"run": {"shell": "bash"}},
        "jobs": {job.id: job.document() for job in plan_jobs(project, place)},
    }
    return _HEAD.format(file=file) + "\n" + _spaced(write(document))


def _spaced(text: str) -> str:
    """An empty line before each top-level key and each job."""
    lines: list[str] = []
    in_jobs = False
    for line in text.splitlines():
        top = not line.startswith((" ", "#"))
        in_jobs = line == "jobs:" if top else in_jobs
        starts = top or (in_jobs and line.startswith("  ") and line[2] != " ")
        comment_before = bool(lines) and lines[-1].startswith("  # ")
        if starts and lines and lines[-1] != "jobs:" and not comment_before:
            lines.append("")
        lines.append(line)
    return "\n".join(lines) + "\n"
