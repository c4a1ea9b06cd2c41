"""One job claims the set, all others take it as it was claimed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.engine.world import TIMING, World, make_world

from shipgraph.engine.building import assemble_built, build_images
from shipgraph.engine.claiming import claim_release
from shipgraph.engine.workspace import Workspace
from shipgraph.errors import Refused
from shipgraph.events import silent
from shipgraph.oci.platform import Platform

if TYPE_CHECKING:
    from pathlib import Path

    from shipgraph.project.release import Release
    from shipgraph.records.sets import SetRecord

pytestmark = pytest.mark.anyio
AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
WEEK = 7 * 86400.0


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path / "demo")


async def claim(world: World, release: Release) -> SetRecord:
    workspace = Workspace.of(world.folder)
    return await claim_release(release, target=world.store, workspace=workspace, timing=TIMING, emit=silent)


async def build(world: World, release: Release, platform: Platform, *, claimed: bool = True) -> SetRecord:
    more: dict[str, Any] = {"target": world.store, "workshop": world.workshop(), "timing": TIMING, "signing": None}
    record, _ = await build_images(release, ("side",), platforms=(platform,), claimed=claimed, emit=silent, **more)
    return record


async def test_a_set_is_claimed_without_building_and_claimed_again_it_is_the_same(world: World) -> None:
    release = await world.release()
    record = await claim(world, release)
    assert (record.commit, record.revision, record.tree) == (release.commit, 1, release.tree)
    assert list(await world.tags()) == [f"metadata:set-sha-{release.commit}"]
    assert await claim(world, release) == record


async def test_an_age_that_passes_between_two_jobs_does_not_split_the_release(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = await world.release()
    monkeypatch.setattr(time, "time", lambda: 10 * WEEK - 1)
    claimed = await claim(world, release)
    assert await build(world, release, AMD64) == claimed
    monkeypatch.setattr(time, "time", lambda: 10 * WEEK + 1)
    assert await build(world, release, ARM64) == claimed
    record, images = await assemble_built(
        release, ("side",), target=world.store, workspace=Workspace.of(world.folder), timing=TIMING, emit=silent
    )
    assert record == claimed
    assert {str(child.platform) for child in images["side"].index.manifests} == {"linux/amd64", "linux/arm64"}
    assert (await build(world, release, ARM64, claimed=False)).revision == 2, "whoever looks for itself would have"


async def test_a_later_run_claims_what_has_changed_and_its_jobs_follow_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = await world.release()
    monkeypatch.setattr(time, "time", lambda: 10 * WEEK - 1)
    await claim(world, release)
    monkeypatch.setattr(time, "time", lambda: 10 * WEEK + 1)
    second = await claim(world, release)
    assert second.revision == 2
    assert await build(world, release, AMD64) == second


async def test_a_set_that_nobody_claimed_is_not_built(world: World) -> None:
    release = await world.release()
    with pytest.raises(Refused, match="has no release of commit"):
        await build(world, release, AMD64)
    assert await world.tags() == {}


async def test_a_set_of_another_tree_is_not_built(world: World) -> None:
    await claim(world, await world.release())
    world.write("docker/side/hello", "changed, and not committed\n")
    with pytest.raises(Refused, match="was claimed for tree") as caught:
        await build(world, await world.release(rehearsal=True), AMD64)
    assert "--claim-only" in caught.value.hint
