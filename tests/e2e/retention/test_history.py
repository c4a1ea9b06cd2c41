"""A history with everything in it: versions, a rollback, shared images, half releases, hand-made tags."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.e2e.retention.world import world

from shipgraph.engine.finalizing import Transacting
from shipgraph.engine.opening import open_target
from shipgraph.engine.pruning import Wish
from shipgraph.engine.recovering import Recovery
from shipgraph.events import silent
from shipgraph.promote.recovery import Rollback
from shipgraph.promote.stage import Wishes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

APP, BASE = "acme/demo-app", "acme/demo-base"


async def test_every_root_and_what_it_reaches_stays_and_nothing_else_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ghcr_history: Path, copied: Callable[[Path], Path]
) -> None:
    async with world(tmp_path, monkeypatch, ghcr=True, root=copied(ghcr_history)) as w:
        w.days_ago(33.9)
        await w.promote(w.release_of(1), "v1.0.0")  # the oldest is a version for ever
        await w.release(7, {"base": "2"})  # with the second's base
        w.days_ago(33.8)
        async with w.store() as store:
            await w.build(store, 8)  # begun, and left for longer than unfinished releases stay
            w.days_ago(10)
            await w.build(store, 9)  # this one not
            w.days_ago(33)
            third = await store.resolve(BASE, w.release_of(3).immutable_tag(1))
            assert third is not None
            await store.tag(BASE, "by-hand", await store.manifest(BASE, third.digest))
        w.days_ago(0)
        async with open_target(w.view.registry, w.view.project) as (store, timing, _):
            recovery = Recovery(w.view, store, timing, Transacting(Wishes()), emit=silent)
            await recovery.rollback(Rollback("dev"))  # from the seventh to the sixth
        w.days_ago(-1)  # past the grace period, for what the rollback touched
        _later(monkeypatch, 86400)
        async with w.cleaning() as cleaning:
            await cleaning.pruner.prune(Wish(apply=True))
        things = await w.things()
        tags = {name: {tag for tags in things[name].values() for tag in tags} for name in things}
        shas = {number: w.release_of(number).immutable_tag(1) for number in range(1, 10)}
        assert await w.walk() == []
        for number in (1, 5, 6, 7, 9):
            assert await w.walk_release(w.release_of(number)) == []
        kept = {number for number, tag in shas.items() if tag in tags[APP]}
        assert kept == {1, 5, 6, 7, 9}
        # the third's base has a tag that somebody made; the second's is the seventh's, with both tags
        assert {number for number, tag in shas.items() if tag in tags[BASE]} == {1, 2, 3, 5, 6, 7, 9}
        assert {"by-hand", "dev", "v1.0.0"} <= tags[BASE]


def _later(patch: pytest.MonkeyPatch, seconds: float) -> None:
    """The registry's clock agrees with its calendar."""
    from shipgraph.remote.store import RemoteStore

    now = RemoteStore.now

    async def later(self: RemoteStore) -> float:
        return await now(self) + seconds

    patch.setattr(RemoteStore, "now", later)
