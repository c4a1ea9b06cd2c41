"""`shipgraph prune` as people use it: what it prints, writes and refuses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.e2e.retention.world import RETENTION, walk, world
from tests.unit.cli.test_documents import documented, members

from shipgraph.retain.plan import decode_plan

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest


async def test_a_plan_is_written_looked_at_and_carried_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ghcr_history: Path, copied: Callable[[Path], Path]
) -> None:
    plan, page = tmp_path / "plan.json", tmp_path / "page.html"
    async with world(tmp_path, monkeypatch, ghcr=True, root=copied(ghcr_history)) as w:
        before = await w.things(all_of_it=True)
        shown = await w.run("prune", "--dry-run", "--out", str(plan), "--report", str(page), "--json")
        assert await w.things(all_of_it=True) == before
        assert decode_plan(plan.read_bytes(), where="plan").digest == json.loads(shown.stdout)["planDigest"]
        assert "<script" not in page.read_text()
        assert "demo-app" in page.read_text()
        carried = await w.run("prune", "--plan", str(plan), "--json")
        document = json.loads(carried.stdout)
        assert document["outcomes"]["deleted"] == json.loads(shown.stdout)["going"]
        assert document["left"] == 0
        undone = await w.run("prune", "--undo", "--json")
        assert len(json.loads(undone.stdout)["versions"]) == document["outcomes"]["deleted"]
        printed = members(json.loads(shown.stdout)) | members(document)
        listed = documented()
        assert printed - listed["prune"] == set()
        assert listed["prune"] - printed == {"done[].detail"}
        assert members(json.loads(undone.stdout)) == listed["prune --undo"] - {"versions[].detail"}


async def test_people_are_told_what_goes_and_what_to_do_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ghcr_history: Path, copied: Callable[[Path], Path]
) -> None:
    async with world(tmp_path, monkeypatch, ghcr=True, root=copied(ghcr_history)) as w:
        first = await w.run("prune")
        assert "this is the first plan of this policy" in first.stdout
        assert "run the same command again to carry it out" in first.stdout
        second = await w.run("prune", "--limit", "5")
        assert "5 versions are deleted" in second.stdout
        assert "are left for the next clean-up: the limit is reached" in second.stdout
        undone = await w.run("prune", "--undo")
        assert "5 versions of clean-up" in undone.stdout
        assert "nothing that a clean-up deleted is missing" in (await w.run("prune", "--undo")).stdout


async def test_a_plan_made_under_other_rules_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ghcr_history: Path, copied: Callable[[Path], Path]
) -> None:
    plan = tmp_path / "plan.json"
    async with world(tmp_path, monkeypatch, ghcr=True, root=copied(ghcr_history)) as w:
        before = await w.things(all_of_it=True)
        await w.run("prune", "--dry-run", "--out", str(plan))
        w.configure(RETENTION.replace("app = 3", "app = 5"))
        refused = await w.run("prune", "--plan", str(plan), code=2)
        assert "under the policy" in refused.stderr
        plan.write_text("{}")
        assert "plan.json" in (await w.run("prune", "--plan", str(plan), code=1)).stderr
        assert await w.things(all_of_it=True) == before


async def test_contradictions_and_missing_files_are_usage_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ghcr_history: Path, copied: Callable[[Path], Path]
) -> None:
    async with world(tmp_path, monkeypatch, ghcr=True, root=copied(ghcr_history)) as w:
        for words in (
            ["--undo", "--dry-run"],
            ["--run", "x"],
            ["--dry-run", "--apply"],
            ["--limit", "0"],
            ["--plan", "nowhere.json"],
        ):
            await w.run("prune", *words, code=2)
        w.configure(RETENTION + 'outside = "deployed.txt"\n')
        missing = await w.run("prune", "--dry-run", code=2)
        assert "deployed.txt can't be read" in missing.stderr
        (w.folder / "deployed.txt").write_text("acme/demo-app:dev\n")
        unclear = await w.run("prune", "--dry-run", code=2)
        assert "deployed.txt:1" in unclear.stderr
        unknown = await w.run("prune", "--undo", "--run", "nobody-s", code=4)
        assert "no clean-up 'nobody-s'" in unknown.stderr


async def test_what_is_used_outside_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ghcr_history: Path, copied: Callable[[Path], Path]
) -> None:
    async with world(tmp_path, monkeypatch, ghcr=True, root=copied(ghcr_history)) as w:
        async with w.store() as store:
            found = await store.resolve("acme/demo-tool", w.release_of(1).immutable_tag(1))
            assert found is not None
        w.configure(RETENTION + 'outside = "deployed.txt"\n')
        (w.folder / "deployed.txt").write_text(f"{w.host}/acme/demo-tool@{found.digest}  # deployed\n")
        await w.run("prune", "--apply")
        assert await walk(w, "acme/demo-tool", found.digest) == []


async def test_a_rehearsal_with_ghcrs_habits_is_cleaned_up_and_taken_back_over_its_own_api(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ghcr_history: Path, copied: Callable[[Path], Path]
) -> None:
    async with world(tmp_path, monkeypatch, ghcr=True, root=copied(ghcr_history)) as w:
        before = await w.things()
        done = await w.run("prune", "--root", str(w.root), "--apply", "--json")
        document = json.loads(done.stdout)
        assert document["outcomes"]["deleted"] == document["going"] > 50
        assert {one["id"] for one in document["done"]} != {None}
        undone = await w.run("prune", "--root", str(w.root), "--undo")
        assert f"{document['going']} versions of clean-up" in undone.stdout
        assert await w.things() == before
        assert [request for request in w.hand.requests if request.startswith(("DELETE", "POST"))] == []
