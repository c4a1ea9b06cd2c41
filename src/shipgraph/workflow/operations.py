"""The jobs of a dispatch that releases nothing: each operation one job, with the rights that it needs and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shipgraph.workflow.approvals import approvals_of, approved
from shipgraph.workflow.conditions import both, either, here, operates, promotes
from shipgraph.workflow.jobs import Job
from shipgraph.workflow.release import MOVE, PUSH, group
from shipgraph.workflow.steps import Steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shipgraph.project.spec import Project
    from shipgraph.workflow.jobs import Right, Step
    from shipgraph.workflow.place import Place

# Empty inputs stand for nothing; an input that looks like an option is an argument all the same.
_PROMOTE: Final = """\
set -- --version="$VERSION"
if [ -n "$CHANNEL" ]; then set -- "$@" --channel="$CHANNEL"; fi
"""
_ROLLBACK: Final = """\
set -- --wait
if [ -n "$VERSION" ]; then set -- "$@" --to="$VERSION"; fi
"""
_REFRESH: Final = """\
if [ -n "$CHANNEL" ]; then set -- -- "$CHANNEL"; else set -- --expiring; fi
"""


class OperationJobs:
    """Makes the jobs of one project's operations."""

    def __init__(self, project: Project, place: Place) -> None:
        self._project, self._spec = project, project.workflow
        self._steps = Steps(project, place)

    def all(self) -> list[Job]:
        """Every job."""
        steps, spec = self._steps, self._spec
        sign = (*MOVE, *steps.signing)
        asks = both(here(spec), either(promotes(), operates("rollback")))
        approvals = approvals_of(self._project, "-asked", asks, needs=())
        return [
            *approvals,
            self._job(
                "promote",
                promotes(),
                sign,
                steps.asked("Move an existing release", _PROMOTE + self._line('promote --wait "$@"')),
                note="Existing digests to another channel or version: nothing is built.",
                history=True,
                approvals=approvals,
            ),
            self._job(
                "rollback",
                operates("rollback"),
                sign,
                steps.asked("Go back", _ROLLBACK + self._line('rollback "$@"', ' -- "$CHANNEL"')),
                approvals=approvals,
            ),
            self._job(
                "refresh",
                operates("refresh"),
                sign,
                steps.asked("Sign metadata anew", _REFRESH + self._line("refresh --wait", ' "$@"'), version=False),
            ),
            self._job("resume-open", operates("resume"), MOVE, self._plain("End what is open", "resume"), history=True),
            self._job(
                "repair",
                operates("repair"),
                MOVE,
                self._plain("Put tags back to what the metadata says", "repair --wait"),
                history=True,
            ),
            self._job("prune", operates("prune"), MOVE, self._plain("Clean up", "prune"), kind="prune"),
            self._job(
                "bootstrap", operates("bootstrap"), PUSH, self._plain("Create the packages", "doctor --bootstrap")
            ),
        ]

    def _plain(self, name: str, words: str) -> Step:
        return self._steps.command(name, words, event=False)

    def _line(self, words: str, tail: str = "") -> str:
        return self._steps.line(words, event=False) + tail

    def _job(
        self,
        name: str,
        condition: str,
        rights: tuple[Right, ...],
        step: Step,
        *,
        note: str = "",
        history: bool = False,
        kind: str = "finalize",
        approvals: Sequence[Job] = (),
    ) -> Job:
        steps, signs = self._steps, rights not in (MOVE, PUSH)
        condition = both(here(self._spec), condition)
        return Job(
            id=name,
            name=name,
            note=note,
            needs=tuple(job.id for job in approvals),
            condition=approved(approvals, condition) if approvals else condition,
            group=group(self._project) if rights != PUSH else "",
            runs_on=self._spec.runner,
            minutes=self._spec.minutes[kind],
            rights=rights,
            steps=(steps.checkout(history=history), steps.setup(signs=signs), step),
        )
