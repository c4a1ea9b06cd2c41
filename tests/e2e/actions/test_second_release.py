"""A push while a package is private: refused before any tag moves, and the rerun of its failed jobs ends it.

Before each job of it, the same job is run without one of its permissions, once for each.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from .conftest import copied
from .project import MOVED
from .test_operations import PERMISSIONS as OPERATIONS
from .workflow import SAYS, Settled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .act import Run
    from .conftest import First, World

pytestmark = pytest.mark.real

PRIVATE = "demo-side"
BEFORE = ("set", "build-app-linux-amd64", "assemble", "test-linux-amd64", "payload", "attest")
AFTER = ("finalize", "visibility", "retention")
SIGNS = ("contents", "packages", "id-token", "attestations")
PERMISSIONS = {
    "set": ("contents", "packages"),
    "build-app-linux-amd64": SIGNS,
    "assemble": ("contents", "packages"),
    "test-linux-amd64": SIGNS,
    "payload": SIGNS,
    "attest": SIGNS,
    "finalize": SIGNS,
    "visibility": ("contents",),
    "retention": ("contents", "packages"),
}


@dataclass(frozen=True)
class Second:
    """Both attempts, and the tags before and after each."""

    world: World
    commit: str
    attempts: tuple[Run, Run]
    tags: tuple[dict[str, str], dict[str, str], dict[str, str]]

    def moved(self, number: int) -> dict[str, str]:
        """The moving tags before the attempt of that number."""
        return {name: digest for name, digest in self.tags[number].items() if name.partition(":")[2] in MOVED}


@pytest.fixture(scope="module")
def second(first: First, tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[Second]:
    first.run.check()
    with copied(first, tmp_path_factory.mktemp("second"), port) as world:
        world.demo.write("docker/app/hello", "hello again from app\n")
        world.demo.write("payload/readme.txt", "read me again\n")
        event = world.push()
        tags = world.hub.tags()
        world.hub.set_visibility(PRIVATE, "private")
        one = world.run(event, lacking=BEFORE)
        between = world.hub.tags()
        world.hub.set_visibility(PRIVATE, "public")
        done = {name: Settled(job.result, job.outputs) for name, job in one.jobs.items() if job.result == "success"}
        two = world.run(event, lacking=AFTER, settled=done, attempt=2)
        yield Second(world, event.commit, (one, two), (tags, between, world.hub.tags()))


def test_no_attempt_prints_a_token(second: Second) -> None:
    for run in second.attempts:
        assert not [name for name, token in run.tokens.items() if token in run.text]


def test_a_private_package_is_named_and_no_tag_moves(second: Second) -> None:
    run = second.attempts[0]
    job = run.jobs["finalize"]
    assert job.result == "failure", job.log
    assert f"https://github.com/orgs/acme/packages/container/{PRIVATE}/settings" in job.log.lower()
    assert "exit status 1" in job.log
    assert "demo-app/settings" not in job.log
    assert second.moved(0) == second.moved(1)
    assert not {"visibility", "retention"} & set(run.results)


def test_resume_finds_nothing_to_do_where_finalize_opened_nothing(second: Second) -> None:
    assert second.attempts[0].results["resume"] == "success"


def test_the_rerun_of_failed_jobs_ends_the_release_and_repeats_nothing(second: Second) -> None:
    ran = {name for name in second.attempts[1].results if "--without-" not in name}
    assert ran == {"finalize", "visibility", "retention"}
    assert {second.attempts[1].results[name] for name in ran} == {"success"}
    tags = second.tags[2]
    for package in ("demo-base", "demo-app", "demo-side"):
        assert tags[f"{package}:dev"] == tags[f"{package}:sha-{second.commit}"]
    assert tags["demo-app:dev"] != second.tags[0]["demo-app:dev"]
    assert tags["demo-base:dev"] == second.tags[0]["demo-base:dev"]
    assert tags["demo-metadata:dev"] == tags["demo-metadata:dev-2"]
    assert '"ok": true' in second.world.shipgraph("verify", "dev", "--json")


@pytest.mark.parametrize(
    ("job", "permission"), [(job, permission) for job, found in PERMISSIONS.items() for permission in found]
)
def test_a_job_fails_clearly_without_any_one_of_its_permissions(second: Second, job: str, permission: str) -> None:
    run = second.attempts[job in AFTER]
    lacking = run.jobs[f"{job}--without-{permission}"]
    assert lacking.result == "failure", lacking.log
    assert SAYS[permission] in lacking.log
    assert "Traceback" not in lacking.log
    assert run.jobs[job].result == "success" or job == "finalize"


def test_visibility_needs_no_right_to_packages_as_long_as_all_are_public(second: Second) -> None:
    """It proves what anybody can do. The right is there to name what is private, where the metadata is private too."""
    assert second.attempts[1].jobs["visibility--without-packages"].result == "success"


def test_the_table_of_permissions_is_that_of_the_workflow(second: Second) -> None:
    declared = {f"{job}--without-{permission}" for job, found in PERMISSIONS.items() for permission in found}
    ran = {name for run in second.attempts for name in run.jobs if "--without-" in name}
    assert declared == ran - {"visibility--without-packages"}


def test_every_kind_of_job_is_run_without_its_permissions_somewhere(first: First) -> None:
    elsewhere = {*OPERATIONS, "resume", "rehearse-linux-amd64"}  # the latter two are in tests of their own
    kinds = {re.sub(r"^(build|test|rehearse)-.*", r"\1", name) for name in {*PERMISSIONS, *elsewhere}}
    assert kinds == {re.sub(r"^(build|test|rehearse)-.*", r"\1", name) for name in first.run.jobs}
