"""The tests of a release: each platform by digest, verdicts signed once, what fails refuses after all have been run."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.engine.world import FILE, World, make_world
from tests.unit.evidence.made import new_signer, policy_of

from shipgraph.engine import testing
from shipgraph.engine.finalizing import survey_set
from shipgraph.engine.signing import Signing
from shipgraph.errors import Refused
from shipgraph.events import silent
from shipgraph.evidence.referrers import ReferrerVerifier
from shipgraph.evidence.requirements import Kind, survey
from shipgraph.imagetest.engine import Command, Container, EngineBroken, Ran, TestImage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from shipgraph.engine.releasing import Published

pytestmark = pytest.mark.anyio

TESTS = """
[[images.base.tests]]
run = ["base"]
[[images.app.tests]]
run = ["app"]
[[images.tool.tests]]
run = ["tool"]
platforms = ["linux/amd64"]
"""


class FakeEngine:
    """Runs nothing, and lets what it is told to fail."""

    description = "fake 1"

    def __init__(self) -> None:
        self.failing: set[str] = set()
        self.opened: list[str] = []

    @asynccontextmanager
    async def open(self, image: TestImage) -> AsyncIterator[Container]:
        self.opened.append(image.title)
        assert image.reference.endswith(f"@{image.manifest.digest}")
        yield self

    async def run(self, command: Command) -> Ran:
        if command.entrypoint:
            return Ran(127, "no such file or directory")
        return Ran(1 if command.run[0] in self.failing else 0, "output")


class Scene:
    """A published release whose images have tests."""

    def __init__(self, world: World, published: Published, engine: FakeEngine) -> None:
        self.world, self.published, self.engine = world, published, engine
        self.signer = new_signer()

    async def test(self, **more: Any) -> testing.Tested:
        return await testing.run_release_tests(
            self.published.release,
            self.published.revision,
            host="127.0.0.1:5000",
            target=self.world.store,
            workspace=self.world.workshop().workspace,
            signing=Signing(self.signer, policy_of(self.signer)),
            emit=self.world.events.append,
            **more,
        )


@pytest.fixture
async def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    world = make_world(tmp_path / "demo", FILE + TESTS)
    engine = FakeEngine()

    async def find(snapshots: object, store: object, *, choice: str) -> tuple[tuple[FakeEngine, ...], tuple[str, ...]]:
        return ((engine,), ()) if choice == "auto" else ((), (f"{choice} is not there",))

    monkeypatch.setattr(testing, "find_engines", find)
    monkeypatch.setattr(testing, "can_run", lambda platform: True)
    return Scene(world, await world.publish(), engine)


async def test_every_platform_is_tested_once(scene: Scene) -> None:
    tested = await scene.test()
    tested.check()
    assert set(scene.engine.opened) == {
        "base (linux/amd64)", "base (linux/arm64)", "app (linux/amd64)", "app (linux/arm64)", "tool (linux/amd64)",
    }  # fmt: skip
    assert set(tested.omitted) == {f"{title} has no test" for title in (
        "tool (linux/arm64)", "side (linux/amd64)", "side (linux/arm64)")}  # fmt: skip
    verifier = ReferrerVerifier(scene.world.store, policy_of(scene.signer))
    found = await survey(scene.published.found.subjects, ["test"], verifier)
    assert {subject.name for subject in found.missing[Kind.TEST]} == {
        "tool (linux/arm64)", "side (linux/amd64)", "side (linux/arm64)",
    }  # fmt: skip
    again = await scene.test()
    assert (again.results, len(again.before)) == ((), 5)
    assert len((await scene.test(again=True)).results) == 5


async def test_a_changed_test_is_run_though_the_image_has_passed_another(scene: Scene) -> None:
    """What an image is built from doesn't name its tests: its digest and the verdict on it are those of before."""
    await scene.test()
    scene.world.edit("shipgraph.toml", 'run = ["app"]', 'run = ["app"]\nexpect-output = "more"')
    project = (await scene.world.release(view=True)).project
    scene.published = replace(scene.published, release=replace(scene.published.release, project=project))

    async def missing() -> set[str]:
        signing = Signing(scene.signer, policy_of(scene.signer))
        found = scene.published.found
        survey = await survey_set(scene.published.release, found, scene.world.store, signing, emit=silent)
        return {one.name for one in survey.missing[Kind.TEST] if one.name.startswith("app")}

    assert await missing() == {"app (linux/amd64)", "app (linux/arm64)"}
    tested = await scene.test()
    assert [result.image.title for result in tested.failed] == ["app (linux/amd64)", "app (linux/arm64)"]
    scene.world.edit("shipgraph.toml", '"more"', '"put"')
    project = (await scene.world.release(view=True)).project
    scene.published = replace(scene.published, release=replace(scene.published.release, project=project))
    assert len((await scene.test()).results) == 2
    assert await missing() == set()
    assert (await scene.test()).results == ()


async def test_all_are_run_and_what_fails_is_not_signed(scene: Scene) -> None:
    scene.engine.failing = {"base"}
    tested = await scene.test()
    assert len(tested.results) == 5
    with pytest.raises(Refused, match=r"base \(linux/amd64\): base: it ended with 1"):
        tested.check()
    scene.engine.failing = set()
    assert len((await scene.test()).results) == 2


async def test_images_and_platforms_may_be_chosen(scene: Scene) -> None:
    from shipgraph.oci.platform import Platform

    tested = await scene.test(keys=["app"], platforms=[Platform("linux", "arm64")])
    assert [result.image.title for result in tested.results] == ["app (linux/arm64)"]


async def test_a_platform_that_cannot_run_here_is_said(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testing, "can_run", lambda platform: platform.architecture == "amd64")
    tested = await scene.test()
    assert "app (linux/arm64) can't run on this machine" in tested.omitted


async def test_without_an_engine_nothing_counts_as_tested(scene: Scene) -> None:
    with pytest.raises(EngineBroken, match="docker is not there"):
        await scene.test(engine="docker")
