"""Every channel that expires soon is refreshed, and no other."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import anyio
import pytest
from click.testing import CliRunner, Result
from tests.unit.engine.world import World, make_world

from shipgraph.cli.main import main
from shipgraph.embedded.serving import serve
from shipgraph.engine.opening import open_view
from shipgraph.engine.refreshing import find_expiring
from shipgraph.remote.store import RemoteStore
from shipgraph.store.disk import DiskStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

META = "acme/demo-metadata"
DAY = 86400.0


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two channels, published."""
    world = make_world(tmp_path / "demo")

    async def publish(store: RemoteStore) -> None:
        for channel in ("dev", "nightly"):
            await world.publish(target=store, rehearsal=True, channel=channel)

    on_registry(world, publish)
    return world


def root(world: World) -> Path:
    return world.folder / ".shipgraph" / "registry"


def on_registry(world: World, work: Callable[[RemoteStore], Awaitable[None]]) -> None:
    async def served() -> None:
        async with serve(DiskStore(root(world))) as address, RemoteStore(address) as store:
            await work(store)

    anyio.run(served)


def call(world: World, *words: str) -> Result:
    place = ["--project", str(world.folder), "--root", str(root(world))]
    return CliRunner().invoke(main, ["refresh", *words, *place])


def live_longer(world: World) -> None:
    """Thirty days are less than a third of a life from now on."""
    world.edit("shipgraph.toml", "[evidence]", '[metadata]\nexpires-after = "100d"\n\n[evidence]')
    world.commit()


def test_ten_days_before_the_end_of_thirty_a_channel_expires_soon(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = RemoteStore.now
    found: dict[float, list[str]] = {}

    async def look(store: RemoteStore) -> None:
        view = await open_view(world.folder, None, root(world))
        for days in (0.0, 19.9, 20.1, 40.0):

            async def later(self: RemoteStore, days: float = days) -> float:
                return await original(self) + days * DAY

            monkeypatch.setattr(RemoteStore, "now", later)
            found[days] = [one.channel for one in await find_expiring(view, store)]

    on_registry(world, look)
    assert found == {0.0: [], 19.9: [], 20.1: ["dev", "nightly"], 40.0: ["dev", "nightly"]}


def test_nothing_that_lives_long_is_refreshed(world: World) -> None:
    done = call(world, "--expiring")
    assert (done.exit_code, done.stdout) == (0, "no channel's metadata expires soon\n")


def test_all_that_expire_soon_are_refreshed_and_then_none_does(world: World) -> None:
    live_longer(world)
    done = json.loads(call(world, "--expiring", "--json").stdout)
    assert [(one["channel"], one["serial"], one["changed"]) for one in done["refreshed"]] == [
        ("dev", 2, True), ("nightly", 2, True),
    ]  # fmt: skip
    assert json.loads(call(world, "--expiring", "--json").stdout) == {"refreshed": []}


def test_one_that_can_not_be_refreshed_keeps_no_other_from_it_and_is_told(world: World) -> None:
    live_longer(world)
    serials: list[int] = []

    async def move_by_hand(store: RemoteStore) -> None:
        there = await store.resolve(META, "nightly")
        assert there is not None
        await store.tag(META, "dev", await store.manifest(META, there.digest))

    async def look(store: RemoteStore) -> None:
        serials.extend(int(tag.removeprefix("nightly-")) for tag in await store.tags(META) if "nightly-" in tag)

    on_registry(world, move_by_hand)
    done = call(world, "--expiring")
    assert done.exit_code == 4
    assert "dev was not refreshed" in done.stderr
    assert "shipgraph repair" in done.stderr
    on_registry(world, look)
    assert sorted(serials) == [1, 2]


def test_a_channel_or_all_that_expire_but_not_both(world: World) -> None:
    assert call(world).exit_code == 2
    assert call(world, "dev", "--expiring").exit_code == 2
