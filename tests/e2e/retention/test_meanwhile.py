"""Releases that are published while a clean-up runs lose nothing, though they use again what was to go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.e2e.retention.world import World, walk, world

from shipgraph.engine.pruning import Wish
from shipgraph.oci.manifest import ImageIndex
from shipgraph.records.prune import Done

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path
    from typing import Any

    import pytest

    from shipgraph.engine.shelving import Cleaning

APP = "acme/demo-app"
OLD = {"base": "1", "app": "1", "tool": "1"}
"""Every image is the same as in the first release, which is long beyond the counts."""


def between_batches(cleaning: Cleaning, patch: pytest.MonkeyPatch, act: Callable[[], Awaitable[None]]) -> None:
    """Small batches, and something happens after the second."""
    pruner: Any = cleaning.pruner
    pruner._batch = 6
    hold, count = pruner._claims.hold, 0

    async def held(*arguments: object) -> bool:
        nonlocal count
        count += 1
        if count == 3:
            await act()
        done: bool = await hold(*arguments)
        return done

    patch.setattr(pruner._claims, "hold", held)


async def test_a_release_that_reuses_old_digests_and_is_published_between_two_batches_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ghcr_history: Path, copied: Callable[[Path], Path]
) -> None:
    async with world(tmp_path, monkeypatch, ghcr=True, root=copied(ghcr_history)) as w:

        async def publish() -> None:
            await w.release(7, OLD)

        async with w.cleaning() as cleaning:
            between_batches(cleaning, monkeypatch, publish)
            done = await cleaning.pruner.prune(Wish(apply=True))
        assert done.progress.deleted > 12
        assert any(one.done is Done.CHANGED for one in done.progress.done.values())
        assert await w.walk() == []
        assert await w.walk_release(w.release_of(7)) == []
        assert await w.walk_release(w.release_of(6)) == []
        await _clean_again(w)


async def test_a_release_under_way_that_reuses_old_digests_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ghcr_history: Path, copied: Callable[[Path], Path]
) -> None:
    """Its images are tagged while a batch is claimed, and it is published when the clean-up is over."""
    async with world(tmp_path, monkeypatch, ghcr=True, root=copied(ghcr_history)) as w:
        async with w.cleaning() as cleaning:
            shelf: Any = cleaning.pruner._shelf
            newer = shelf.newer

            async def after_listing(*arguments: object) -> object:
                if not any("sha-" + f"{7:040x}" in request for request in w.hand.requests):
                    async with w.store() as store:
                        await w.build(store, 7, OLD)
                return await newer(*arguments)

            monkeypatch.setattr(shelf, "newer", after_listing)
            await cleaning.pruner.prune(Wish(apply=True))
        async with w.store() as store:
            await w.publish(store, w.release_of(7))
        assert await w.walk() == []
        assert await w.walk_release(w.release_of(7)) == []
        await _clean_again(w)


async def test_an_index_that_is_pushed_without_a_tag_meanwhile_keeps_its_old_platforms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ghcr_history: Path, copied: Callable[[Path], Path]
) -> None:
    async with world(tmp_path, monkeypatch, ghcr=True, root=copied(ghcr_history)) as w:
        async with w.store() as store:
            found = await store.resolve(APP, w.release_of(1).immutable_tag(1))
            assert found is not None
            old = await store.manifest(APP, found.digest)

        async def push() -> None:
            from shipgraph.oci.manifest import ImageIndex, build_index

            assert isinstance(old, ImageIndex)
            index = build_index(list(old.manifests), annotations={"note": "another index, the same platforms"})
            async with w.store() as store:
                await store.push_manifest(APP, index)
            pushed.append(index.digest)

        pushed: list[Any] = []
        async with w.cleaning() as cleaning:
            shelf: Any = cleaning.pruner._shelf
            newer = shelf.newer

            async def after_listing(*arguments: object) -> object:
                if not pushed:
                    await push()
                return await newer(*arguments)

            monkeypatch.setattr(shelf, "newer", after_listing)
            await cleaning.pruner.prune(Wish(apply=True))
        assert await walk(w, APP, pushed[0]) == []


async def test_an_index_that_was_deleted_and_is_pushed_again_keeps_the_platforms_that_are_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ghcr_history: Path, copied: Callable[[Path], Path]
) -> None:
    """The same bytes have the same digest: it was listed, deleted, and is new all the same."""
    async with world(tmp_path, monkeypatch, ghcr=True, root=copied(ghcr_history)) as w:
        async with w.store() as store:
            found = await store.resolve(APP, w.release_of(1).immutable_tag(1))
            assert found is not None
            old = await store.manifest(APP, found.digest)
        assert isinstance(old, ImageIndex)
        pushed = False

        async def push() -> None:
            nonlocal pushed
            async with w.store() as store:
                left = [await store.has_manifest(APP, child.digest) for child in old.manifests]
                if not pushed and all(left) and not await store.has_manifest(APP, old.digest):
                    await store.push_manifest(APP, old)
                    pushed, pruner._batch = True, 60

        async with w.cleaning() as cleaning:
            pruner: Any = cleaning.pruner
            pruner._batch = 6
            hold = pruner._claims.hold

            async def held(*arguments: object) -> bool:
                await push()
                done: bool = await hold(*arguments)
                return done

            monkeypatch.setattr(pruner._claims, "hold", held)
            await cleaning.pruner.prune(Wish(apply=True))
        assert pushed
        assert await walk(w, APP, old.digest) == []


async def _clean_again(w: World) -> None:
    async with w.cleaning() as cleaning:
        await cleaning.pruner.prune(Wish(apply=True))
    assert await w.walk() == []
    assert await w.walk_release(w.release_of(7)) == []
