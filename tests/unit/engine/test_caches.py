"""Which caches a build reads and writes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.unit.engine.world import World, make_world

from shipgraph.build.builder import Cache
from shipgraph.engine.caches import image_caches
from shipgraph.engine.opening import Asked, open_release

if TYPE_CHECKING:
    from pathlib import Path

    from shipgraph.project.release import Release

pytestmark = pytest.mark.anyio
OFFERED = {"ACTIONS_RUNTIME_TOKEN": "t", "ACTIONS_RESULTS_URL": "https://results.example/"}
HOST = "registry.example"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path / "demo")


def caches(release: Release, environment: dict[str, str], key: str = "app") -> tuple[Cache, ...]:
    return image_caches(release, release.project.graph[key], HOST, environment=environment)


async def pull_request(world: World) -> Release:
    path = world.folder / ".shipgraph" / "event.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"pull_request": {}, "number": 7}))
    return await open_release(Asked(world.folder, event=path))


async def test_a_release_to_a_branchs_channel_reads_and_writes_its_own_scope(world: World) -> None:
    release = await world.release(channel="dev")
    assert caches(release, OFFERED) == (Cache("gha", "runtime-app", read=True, write=True),)
    assert caches(release, OFFERED, "side") == (Cache("gha", "runtime-side", read=True, write=True),)
    assert len({caches(release, OFFERED, image.key) for image in release.project.graph}) == 4


async def test_a_pull_request_and_a_rehearsal_write_none(world: World) -> None:
    """What they wrote would count against the ten gigabytes that all branches share."""
    for release in (await pull_request(world), await world.release(rehearsal=True)):
        assert caches(release, OFFERED) == (Cache("gha", "runtime-app", read=True, write=False),)


async def test_a_version_is_built_without_any_shared_cache(world: World) -> None:
    assert caches(await world.release(channel="prod", version="v1.0.0"), OFFERED) == ()


@pytest.mark.parametrize("missing", OFFERED)
async def test_where_no_job_offers_it_there_is_none(world: World, missing: str) -> None:
    release = await world.release()
    assert caches(release, {name: value for name, value in OFFERED.items() if name != missing}) == ()
    assert caches(release, {}) == ()


@pytest.mark.parametrize("kind", ["local", "none"])
async def test_a_project_may_do_without_it(world: World, kind: str) -> None:
    world.edit("shipgraph.toml", "[evidence]", f'[build]\ncache = "{kind}"\n\n[evidence]')
    world.commit()
    assert caches(await world.release(), OFFERED) == ()
