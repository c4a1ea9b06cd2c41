"""What moves together was packed together: a payload says which images it belongs to, and consumers compare."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.unit.engine.world import TIMING, World, make_world

from shipgraph.channel.journal import Kind
from shipgraph.engine.finalizing import Transacting, finish
from shipgraph.engine.opening import Asked
from shipgraph.engine.promoting import open_promotion, promote
from shipgraph.engine.sets import newest_record
from shipgraph.engine.workspace import Workspace
from shipgraph.errors import Refused
from shipgraph.payload.sbom import images_of
from shipgraph.promote.stage import Wishes
from shipgraph.store.content import read_blob

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

SIDE = """
[images.side]
context = "docker/side"
parent = "base"
max-age = "7d"
"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path / "demo")


async def test_a_payload_names_each_image_of_its_release(world: World) -> None:
    found = (await world.publish()).found
    assert found.payload is not None
    sbom = await read_blob(world.store, "acme/demo-payload", found.payload.layers[-1])
    assert images_of(sbom, where="it") == {
        image.repository.removeprefix("acme/"): str(image.index.digest) for image in found.images
    }


async def test_what_was_packed_for_an_image_that_is_no_more_in_the_graph_is_not_promoted(world: World) -> None:
    await world.publish()
    commit = world.git("rev-parse", "HEAD")
    world.edit("shipgraph.toml", SIDE, "")
    world.commit()
    release = await open_promotion(Asked(world.folder, channel="nightly"), commit)
    with pytest.raises(Refused, match=r"packed for other images than sha-[0-9a-f]+ has: demo-side"):
        await promote(
            release, target=world.store, host="registry.example", workspace=Workspace.of(world.folder), signing=None,
            timing=TIMING, transacting=Transacting(Wishes()), emit=world.events.append,
        )  # fmt: skip
    assert not [name for name in await world.moving() if name.endswith(":nightly")]


async def test_an_older_image_under_a_newer_immutable_tag_is_found_out(world: World) -> None:
    """It has all its evidence, and so has the payload; they are not one release's."""
    older = (await world.publish()).found
    world.edit("docker/side/hello", "hello", "hallo")
    world.commit()
    newer = (await world.publish(channel="nightly")).found
    (image,) = [one for one in older.images if one.key == "side"]
    await world.store.tag(image.repository, newer.immutable_tag, image.index)
    before = await world.moving()
    release = await world.release(channel="nightly")
    with pytest.raises(Refused, match="demo-side"):
        await finish(
            release, await newest_record(release, world.store), target=world.store, host="registry.example",
            signing=None, timing=TIMING, transacting=Transacting(Wishes()), kind=Kind.RELEASE,
            emit=world.events.append,
        )  # fmt: skip
    assert await world.moving() == before
