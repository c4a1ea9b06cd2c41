"""Approval: jobs that only wait for what an environment of the repository asks for, before a channel's tags move."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shipgraph.workflow.conditions import both, either, leads_to
from shipgraph.workflow.jobs import Job, Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shipgraph.project.spec import Project


def approvals_of(project: Project, suffix: str, condition: str, *, needs: tuple[str, ...]) -> list[Job]:
    """One job for each environment. A job of its own: while it waits, no other release has to.

    Args:
        suffix: tells these from the jobs of another operation.
        condition: when the operation runs at all; empty where ``needs`` says so.
    """
    spec = project.workflow
    by_environment: dict[str, list[str]] = {}
    for channel, environment in spec.environments.items():
        by_environment.setdefault(environment, []).append(channel)
    return [
        Job(
            id=f"approve-{environment}{suffix}".replace(".", "-"),
            name=f"approve ({environment})",
            note=f"Waits for what environment {environment} asks for before tags of {', '.join(names)} move.",
            needs=needs,
            condition=both(condition, either(*(leads_to(name, project.channels) for name in names))),
            environment=environment,
            runs_on=spec.runner,
            minutes=spec.minutes["other"],
            rights=(),
            steps=(Step(name="Approved", run="true"),),
        )
        for environment, names in by_environment.items()
    ]


def approved(approvals: Sequence[Job], *conditions: str) -> str:
    """Whether all that was asked was granted: an approval that a channel doesn't need is skipped."""
    granted = (
        either(f"needs.{job.id}.result == 'success'", f"needs.{job.id}.result == 'skipped'") for job in approvals
    )
    return both("!cancelled()", *conditions, *granted)
