"""Jobs wait for exactly what they are built from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shipgraph.workflow.release import build_id

from .projects import make, read

if TYPE_CHECKING:
    from pathlib import Path

    from shipgraph.project.spec import Project

PLATFORMS = ("linux/amd64", "linux/arm64")


@st.composite
def files(draw: st.DrawFn) -> str:
    """A project of up to nine images: each has a parent before it or none, and some of its parent's platforms."""
    count = draw(st.integers(1, 9))
    chosen: list[tuple[str, ...]] = []
    text = '[project]\nname = "demo"\nplatforms = ["linux/amd64", "linux/arm64"]\n'
    for number in range(count):
        parent = draw(st.none() | st.integers(0, number - 1)) if number else None
        offered = PLATFORMS if parent is None else chosen[parent]
        mine = tuple(p for p in offered if draw(st.booleans())) or offered[:1]
        chosen.append(mine)
        text += f'[images.i{number}]\ncontext = "c"\nplatforms = [{", ".join(repr(p) for p in mine)}]\n'
        text += 'base = "scratch"\n' if parent is None else f'parent = "i{parent}"\n'
    return text


def above(needs: dict[str, list[str]], job: str) -> set[str]:
    """All that a job waits for, directly or not."""
    found: set[str] = set()
    waiting = list(needs[job])
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += needs[one]
    return found


def builds(project: Project) -> set[str]:
    return {build_id(image.key, platform) for image in project.graph for platform in image.platforms}


@given(text=files())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_build_waits_for_its_parent_on_its_platform_and_for_nobody_else(tmp_path: Path, text: str) -> None:
    project = make(tmp_path, text)
    jobs = read(project)["jobs"]
    for image in project.graph:
        for platform in image.platforms:
            parent = "set" if image.parent is None else build_id(image.parent, platform)
            assert jobs[build_id(image.key, platform)]["needs"] == [parent]
    assert {name for name in jobs if name.startswith("build-")} == builds(project)


@given(text=files())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_images_are_assembled_once_all_are_built_and_no_build_is_waited_for_twice(tmp_path: Path, text: str) -> None:
    project = make(tmp_path, text)
    jobs = read(project)["jobs"]
    needs = {name: job.get("needs", []) for name, job in jobs.items()}
    assert above(needs, "assemble") == builds(project) | {"set"}
    direct = set(needs["assemble"])
    assert not any(one in above(needs, other) for one in direct for other in direct)
    assert len(direct) == len(needs["assemble"])


@given(text=files())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_tags_move_after_everything_else(tmp_path: Path, text: str) -> None:
    project = make(tmp_path, text + '[payload]\nfiles = ["c/**"]\n')
    jobs = read(project)["jobs"]
    needs = {name: job.get("needs", []) for name, job in jobs.items()}
    tests = {f"test-{platform.slug}" for platform in project.platforms}
    assert above(needs, "finalize") == builds(project) | tests | {"set", "assemble", "payload", "attest"}
