"""Evidence outlives the release that it was made for; what it was measured by doesn't always."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from tests.unit.engine.world import TIMING, World, make_signed_world

from shipgraph.engine.finalizing import Transacting
from shipgraph.engine.opening import Asked
from shipgraph.engine.promoting import open_promotion, promote
from shipgraph.engine.signing import open_signing
from shipgraph.engine.workspace import Workspace
from shipgraph.errors import EvidenceMissing, Refused
from shipgraph.evidence.predicates import GATE
from shipgraph.evidence.referrers import ANNOTATION_PREDICATE
from shipgraph.promote.stage import Wishes
from shipgraph.scan.finding import fingerprint
from shipgraph.scan.kingfisher import Kingfisher

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

KEY = "ghp_" + "9fQ2mZ7xK1vL4bN8cR5tW3yH6jD0sA2eG9uP"  # split, so that this file itself is clean
EXCEPTION = f"""
[[gate.exceptions]]
rule = "RULE"
path = "side/settings.ini"
fingerprint = "{fingerprint(KEY)}"
reason = "a test"
expires = {(datetime.now(UTC) + timedelta(days=9)).date().isoformat()}
"""


@pytest.fixture
async def world(tmp_path: Path) -> World:
    """A published release with one finding that the project accepts."""
    world = make_signed_world(tmp_path / "demo")
    world.write("docker/side/settings.ini", f"token = {KEY}\n")
    world.commit()
    with pytest.raises(Refused) as caught:
        await world.publish()
    rule = str(caught.value).partition(" in side/")[0].rpartition(" ")[2]
    text = (world.folder / "shipgraph.toml").read_text()
    world.write("shipgraph.toml", text + EXCEPTION.replace("RULE", rule))
    world.commit()
    await world.publish()
    return world


def withdraw(world: World) -> None:
    text = (world.folder / "shipgraph.toml").read_text()
    world.write("shipgraph.toml", text.partition("\n[[gate.exceptions]]")[0] + "\n")
    world.commit()


async def test_a_release_of_an_unchanged_image_is_refused_once_its_exception_is_withdrawn(world: World) -> None:
    before = await world.moving()
    withdraw(world)
    with pytest.raises(Refused, match=r"the secret gate refuses side \(linux/amd64\)"):
        await world.publish()
    assert await world.moving() == before


async def test_nor_is_it_promoted_any_more(world: World) -> None:
    commit = world.git("rev-parse", "HEAD")
    withdraw(world)
    release = await open_promotion(Asked(world.folder, channel="nightly"), commit)
    workspace = Workspace.of(world.folder)
    with pytest.raises(EvidenceMissing, match=r"gate of side \(linux/amd64\), side \(linux/arm64\)"):
        await promote(
            release,
            target=world.store,
            host="registry.example",
            workspace=workspace,
            signing=open_signing(release, workspace, "registry.example"),
            timing=TIMING,
            transacting=Transacting(Wishes()),
            emit=world.events.append,
        )
    assert "side:nightly" not in await world.moving()


async def test_new_rules_look_at_what_old_ones_let_pass(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    side = (await world.publish()).found.images[-1]
    platform = side.index.manifests[0].digest

    async def verdicts() -> int:
        listed = await world.store.referrers(side.repository, platform)
        return sum(one.annotations.get(ANNOTATION_PREDICATE) == GATE for one in listed)

    assert await verdicts() == 1
    monkeypatch.setattr(Kingfisher, "version", "kingfisher of tomorrow")
    await world.publish()
    assert await verdicts() == 2
    await world.publish()
    assert await verdicts() == 2, "and once is enough"
