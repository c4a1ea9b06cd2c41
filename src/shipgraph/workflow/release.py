"""The jobs of a release: every image and platform a job of its own, then the stages that need all of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from shipgraph.errors import ConfigurationError
from shipgraph.workflow.approvals import approvals_of, approved
from shipgraph.workflow.conditions import (
    PULL_REQUEST,
    SCHEDULE,
    both,
    either,
    elsewhere,
    here,
    releases,
)
from shipgraph.workflow.jobs import Job, Right
from shipgraph.workflow.steps import Steps

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from shipgraph.oci.platform import Platform
    from shipgraph.project.graph import ImageSpec
    from shipgraph.project.spec import Project
    from shipgraph.workflow.place import Place

FINALIZE: Final = "finalize"
READ: Final = (Right.CONTENTS,)
PUSH: Final = (Right.CONTENTS, Right.PACKAGES)
MOVE: Final = (*PUSH, Right.ACTIONS)
"""What moves tags also asks whether the run that has an open transaction is still alive."""


def group(project: Project) -> str:
    """The group of jobs of which one at a time moves tags or deletes."""
    return f"{project.name}-channels"


def runner_of(project: Project, platform: Platform) -> str:
    """The label of a platform's own machine.

    Raises:
        ConfigurationError: nobody said which; nothing is ever emulated.
    """
    try:
        return project.workflow.runners[str(platform)]
    except KeyError:
        raise ConfigurationError(
            f"no runner is known for {platform}",
            file=str(project.file),
            key="workflow.runners",
            hint=f'add "{platform}" = "LABEL" for a runner that is such a machine',
        ) from None


def build_id(key: str, platform: Platform) -> str:
    """The id of the job that builds an image for a platform."""
    return f"build-{key}-{platform.slug}".replace(".", "-")


class ReleaseJobs:
    """Makes the jobs of one project's releases."""

    def __init__(self, project: Project, place: Place) -> None:
        self._project = project
        self._spec = project.workflow
        self._minutes = project.workflow.minutes
        self._steps = Steps(project, place)

    def all(self) -> list[Job]:
        """Every job, in the order in which they run."""
        jobs = [*self._rehearsals(), self._set(), *self._builds(), self._assemble(), *self._tests()]
        if self._project.payload is not None:
            jobs.append(self._payload())
        jobs.append(self._attest([job.id for job in jobs if job.id.startswith(("test-", "payload"))]))
        approvals = approvals_of(self._project, "", "", needs=("attest",))
        return [*jobs, *approvals, self._finalize(approvals), self._resume(), self._visibility(), self._prune(),
                self._refresh()]  # fmt: skip

    def _rehearsals(self) -> Iterator[Job]:
        steps = self._steps
        note = "A pull request, and any release in a fork: the whole of it, into a registry of the job's own."
        for platform in self._project.platforms:
            yield Job(
                id=f"rehearse-{platform.slug}",
                name=f"rehearse ({platform})",
                note=note,
                condition=either(PULL_REQUEST, both(elsewhere(self._spec), releases(self._spec))),
                runs_on=runner_of(self._project, platform),
                minutes=self._minutes["rehearse"],
                rights=READ,
                steps=(
                    steps.checkout(),
                    steps.setup(builds=True),
                    steps.script("Rehearse the release", f"rehearse --platform {platform}"),
                ),
            )
            note = ""

    def _set(self) -> Job:
        steps = self._steps
        return Job(
            id="set",
            name="set",
            note="What is released: the commit, its revision and the digests of external bases, written down before"
            "\nanything is built. No state passes between jobs but what is in the registry.",
            condition=both(here(self._spec), releases(self._spec)),
            runs_on=self._spec.runner,
            minutes=self._minutes["other"],
            rights=PUSH,
            steps=(
                steps.checkout(),
                steps.setup(),
                steps.command("Claim the release's set record", "build --claim-only"),
            ),
        )

    def _builds(self) -> Iterator[Job]:
        for image in self._project.graph:
            for platform in image.platforms:
                yield self._build(image, platform)

    def _build(self, image: ImageSpec, platform: Platform) -> Job:
        steps = self._steps
        needs = "set" if image.parent is None else build_id(image.parent, platform)
        limit = self._minutes["build"]
        if image.timeout is not None:
            limit = max(limit, -(-image.timeout // 60) + self._minutes["other"])
        return Job(
            id=build_id(image.key, platform),
            name=f"{image.key} ({platform})",
            note=f"cache scope: {image.cache_scope}",
            needs=(needs,),
            runs_on=runner_of(self._project, platform),
            minutes=limit,
            rights=(*PUSH, *steps.signing),
            steps=(
                steps.checkout(),
                steps.setup(signs=True, builds=True),
                *steps.build(
                    "Build, gate, sign, push by digest", f"build {image.key} --platform {platform} --claimed", image
                ),
            ),
        )

    def _assemble(self) -> Job:
        steps, graph = self._steps, self._project.graph
        leaves = [
            build_id(image.key, platform)
            for image in graph
            for platform in image.platforms
            if not any(platform in graph[child].platforms for child in graph.children(image.key))
        ]
        return Job(
            id="assemble",
            name="assemble",
            note="Each image's index of its platforms. The builds that it waits for waited for all others.",
            needs=tuple(leaves),
            runs_on=self._spec.runner,
            minutes=self._minutes["other"],
            rights=PUSH,
            steps=(steps.checkout(), steps.setup(), steps.command("Assemble the images", "assemble")),
        )

    def _tests(self) -> Iterator[Job]:
        steps = self._steps
        for platform in self._project.platforms:
            yield Job(
                id=f"test-{platform.slug}",
                name=f"test ({platform})",
                needs=("assemble",),
                runs_on=runner_of(self._project, platform),
                minutes=self._minutes["test"],
                rights=(*PUSH, *steps.signing),
                steps=(
                    steps.checkout(),
                    steps.setup(signs=True),
                    steps.command("Test the images by digest", f"test --platform {platform}", signs=True),
                ),
            )

    def _payload(self) -> Job:
        steps = self._steps
        return Job(
            id="payload",
            name="payload",
            needs=("assemble",),
            runs_on=self._spec.runner,
            minutes=self._minutes["payload"],
            rights=(*PUSH, *steps.signing),
            steps=(
                steps.checkout(),
                steps.setup(signs=True),
                steps.command("Pack, gate and push the payload", "payload", signs=True),
            ),
        )

    def _attest(self, needs: list[str]) -> Job:
        steps = self._steps
        return Job(
            id="attest",
            name="attest",
            needs=tuple(needs),
            runs_on=self._spec.runner,
            minutes=self._minutes["other"],
            rights=(*PUSH, *steps.signing),
            steps=(
                steps.checkout(),
                steps.setup(signs=True),
                steps.command("Sign the provenance of all of it", "attest", signs=True),
            ),
        )

    def _finalize(self, approvals: Sequence[Job]) -> Job:
        steps = self._steps
        condition = approved(approvals, "needs.attest.result == 'success'") if approvals else ""
        return Job(
            id=FINALIZE,
            name="finalize",
            note="Every tag of every image moves, or none does.",
            needs=("attest", *(job.id for job in approvals)),
            condition=condition,
            group=group(self._project),
            runs_on=self._spec.runner,
            minutes=self._minutes["finalize"],
            rights=(*MOVE, *steps.signing),
            steps=(
                steps.checkout(history=True),
                steps.setup(signs=True),
                steps.command("Prove that everybody can pull all of it", "visibility", event=False),
                replace(steps.command("Move all tags", "finalize --wait", signs=True), id=FINALIZE),
            ),
            outputs={"channel": f"${{{{ steps.{FINALIZE}.outputs.channel }}}}"},
        )

    def _resume(self) -> Job:
        steps = self._steps
        return Job(
            id="resume",
            name="resume",
            note="Ends a transaction that finalize left open: it failed, or somebody cancelled the run.",
            needs=(FINALIZE,),
            condition=both(
                "always()", either("needs.finalize.result == 'failure'", "needs.finalize.result == 'cancelled'")
            ),
            group=group(self._project),
            runs_on=self._spec.runner,
            minutes=self._minutes["finalize"],
            rights=MOVE,
            steps=(
                steps.checkout(history=True),
                steps.setup(),
                steps.command("End what is open", "resume", event=False),
            ),
        )

    def _visibility(self) -> Job:
        steps = self._steps
        return Job(
            id="visibility",
            name="visibility",
            note="Once more, now that the tags have moved.",
            needs=(FINALIZE,),
            condition=after(FINALIZE, self._spec.environments),
            runs_on=self._spec.runner,
            minutes=self._minutes["other"],
            rights=(Right.CONTENTS, Right.PACKAGES_READ),
            steps=(
                steps.checkout(),
                steps.setup(),
                steps.given(
                    "Prove that everybody can pull what is published",
                    steps.line("visibility", event=False) + ' -- "$CHANNEL"',
                    {"CHANNEL": f"${{{{ needs.{FINALIZE}.outputs.channel }}}}"},
                ),
            ),
        )

    def _prune(self) -> Job:
        steps = self._steps
        return Job(
            id="retention",
            name="retention",
            needs=(FINALIZE,),
            condition=after(FINALIZE, self._spec.environments),
            group=group(self._project),
            runs_on=self._spec.runner,
            minutes=self._minutes["prune"],
            rights=MOVE,
            steps=(steps.checkout(), steps.setup(), steps.command("Clean up", "prune", event=False)),
        )

    def _refresh(self) -> Job:
        steps = self._steps
        return Job(
            id="refresh-expiring",
            name="refresh what expires soon",
            note="Whatever became of the release: a channel that nothing is published to must not expire.",
            needs=(FINALIZE, "resume"),
            condition=both("!cancelled()", here(self._spec), SCHEDULE),
            group=group(self._project),
            runs_on=self._spec.runner,
            minutes=self._minutes["finalize"],
            rights=(*MOVE, *steps.signing),
            steps=(
                steps.checkout(),
                steps.setup(signs=True),
                steps.command("Sign their metadata anew", "refresh --expiring --wait", event=False, signs=True),
            ),
        )


def after(job: str, environments: Mapping[str, str]) -> str:
    """Runs after a job that succeeded. A skipped approval among its own needs would skip this one too."""
    return both("!cancelled()", f"needs.{job}.result == 'success'") if environments else ""
