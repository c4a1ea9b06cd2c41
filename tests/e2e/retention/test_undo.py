"""A wrong policy is taken back: what the clean-up deleted comes back, each version with its tags."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest
from tests.e2e.retention.world import RETENTION, World, world
from tests.e2e.transaction.project import META

from shipgraph.engine.pruning import Wish
from shipgraph.errors import NotFound
from shipgraph.records.prune import Done

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEEP_NOTHING = """
[retention]
keep = { default = 0 }
grace = "1s"
"""


async def prune(w: World, *, apply: bool = True) -> int:
    async with w.cleaning() as cleaning:
        return (await cleaning.pruner.prune(Wish(apply=apply))).progress.deleted


async def test_undo_brings_back_the_exact_set_after_a_wrong_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ghcr_history: Path, copied: Callable[[Path], Path]
) -> None:
    async with world(tmp_path, monkeypatch, ghcr=True, root=copied(ghcr_history), retention=KEEP_NOTHING) as w:
        before = await w.things(all_of_it=True)
        deleted = await prune(w)
        assert deleted > 60
        assert await w.walk() == []  # even so: what a channel points at stays
        async with w.cleaning() as cleaning:
            undone = await cleaning.undoer.undo()
        assert undone is not None
        assert sum(one.done is Done.RESTORED for one in undone.record.versions) == deleted
        after = await w.things(all_of_it=True)
        for repository, versions in before.items():
            for digest, tags in versions.items():
                assert set(tags) - {"journal"} <= set(after[repository][digest])
        assert {name: versions for name, versions in after.items() if name != META} == {
            name: versions for name, versions in before.items() if name != META
        }
        for number in range(1, 7):
            assert await w.walk_release(w.release_of(number)) == []


async def test_after_an_undo_the_next_clean_up_only_shows_its_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ghcr_history: Path, copied: Callable[[Path], Path]
) -> None:
    async with world(tmp_path, monkeypatch, ghcr=True, root=copied(ghcr_history)) as w:
        w.days_ago(1)
        await prune(w)
        async with w.cleaning() as cleaning:
            await cleaning.undoer.undo()
        w.days_ago(0)
        before = await w.things()
        assert await prune(w, apply=False) == 0
        assert await w.things() == before


async def test_an_undo_that_was_cut_off_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ghcr_history: Path, copied: Callable[[Path], Path]
) -> None:
    async with world(tmp_path, monkeypatch, ghcr=True, root=copied(ghcr_history)) as w:
        before = await w.things()
        await prune(w)
        restored = 0

        def stopping() -> bool:
            return sum("/restore" in request for request in w.hand.requests) >= 9

        async with w.cleaning(stop=stopping) as cleaning:
            from shipgraph.errors import Stopped

            with pytest.raises(Stopped):
                await cleaning.undoer.undo()
        restored = sum("/restore" in request for request in w.hand.requests)
        assert restored == 9
        w.hand.requests.clear()
        async with w.cleaning() as cleaning:
            assert await cleaning.undoer.undo() is not None
        assert await w.things() == before


async def test_a_tag_that_belongs_to_something_else_by_now_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ghcr_history: Path, copied: Callable[[Path], Path]
) -> None:
    async with world(tmp_path, monkeypatch, ghcr=True, root=copied(ghcr_history)) as w:
        repository, tag = "acme/demo-app", w.release_of(1).immutable_tag(1)
        await prune(w)
        async with w.store() as store:
            other = await w.image(store, "app", "somebody else's", None)
            await store.tag(repository, tag, other)
        async with w.cleaning() as cleaning:
            undone = await cleaning.undoer.undo()
        assert undone is not None
        told = [one.detail for one in undone.record.versions if tag in one.tags and one.repository == repository]
        assert told == [f"{tag} belongs to something else now"]
        async with w.store() as store:
            there = await store.resolve(repository, tag)
        assert there is not None
        assert there.digest == other.digest


async def test_after_thirty_days_nothing_can_be_brought_back_and_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ghcr_history: Path, copied: Callable[[Path], Path]
) -> None:
    async with world(tmp_path, monkeypatch, ghcr=True, root=copied(ghcr_history)) as w:
        await prune(w)
        w.days_ago(-31)
        async with w.cleaning() as cleaning:
            with pytest.raises(NotFound, match="can be brought back") as lost:
                await cleaning.undoer.undo()
        assert "30 days" in lost.value.hint


async def test_two_clean_ups_are_undone_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ghcr_history: Path, copied: Callable[[Path], Path]
) -> None:
    async with world(tmp_path, monkeypatch, ghcr=True, root=copied(ghcr_history)) as w:
        w.days_ago(1)
        before = await w.things()
        await prune(w)
        between = await w.things()
        w.days_ago(0)
        w.configure(RETENTION.replace("app = 3", "app = 2"))
        assert await prune(w) > 0
        async with w.cleaning() as cleaning:
            undone = await cleaning.undoer.undo()
            assert undone is not None
            assert undone.earlier == 1
        assert await w.things() == between
        async with w.cleaning() as cleaning:
            assert await cleaning.undoer.undo() is not None
        assert await w.things() == before
        async with w.cleaning() as cleaning:
            assert await cleaning.undoer.undo() is None


async def test_a_plain_registry_gets_back_what_this_machine_remembers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain_history: Path, copied: Callable[[Path], Path]
) -> None:
    async with world(tmp_path, monkeypatch, ghcr=False, root=copied(plain_history), retention=KEEP_NOTHING) as w:
        before = await w.things()
        await prune(w)
        await anyio.sleep(2.1)  # past its grace period, which counts from when a version was first seen
        assert await prune(w) > 60
        assert await w.walk() == []
        async with w.cleaning() as cleaning:
            assert await cleaning.undoer.undo() is not None
        assert await w.things() == before
