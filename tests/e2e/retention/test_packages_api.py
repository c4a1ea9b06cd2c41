"""A clean-up over GitHub's Packages API, with its habits and refusals."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest
from tests.e2e.retention.world import RETENTION, WRITER, World, login, walk, world
from tests.e2e.transaction.project import META, PROGRAM, environment

from shipgraph.channel.journal import Batch, State
from shipgraph.embedded.fault import Fault
from shipgraph.embedded.ghcr.habits import DAY
from shipgraph.engine.pruning import Pruned, Wish
from shipgraph.errors import ChannelBusy, ContentUnknown, Denied, KeptLost
from shipgraph.records.prune import Done, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

APP, BASE = "acme/demo-app", "acme/demo-base"


async def prune(w: World, *, limit: int | None = None, apply: bool = True) -> Pruned:
    async with w.cleaning() as cleaning:
        return await cleaning.pruner.prune(Wish(apply=apply, limit=limit))


async def tags(w: World, repository: str) -> set[str]:
    return {tag for tags in (await w.things())[repository].values() for tag in tags}


def shas(w: World, *numbers: int) -> set[str]:
    return {w.release_of(number).immutable_tag(1) for number in numbers}


async def test_what_is_beyond_the_counts_goes_and_the_rest_can_be_pulled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ghcr_history: Path, copied: Callable[[Path], Path]
) -> None:
    async with world(tmp_path, monkeypatch, ghcr=True, root=copied(ghcr_history)) as w:
        done = await prune(w)
        assert done.record is not None
        assert done.record.outcome is Outcome.COMPLETE
        found = {tag for tag in await tags(w, APP) if tag.startswith("sha-")}
        assert found == shas(w, 4, 5, 6)
        assert {tag for tag in await tags(w, BASE) if tag.startswith("sha-")} == shas(w, 5, 6)
        assert await w.walk() == []
        for number in (5, 6):
            assert await w.walk_release(w.release_of(number)) == []
        things = await w.things()
        # three indexes of two platforms, what refers to the indexes and the lists of that; "dev" is one of them
        assert len(things[APP]) == 3 * 5
        assert len(things[BASE]) == 2 * 5


async def test_a_clean_up_with_nothing_to_do_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ghcr_history: Path, copied: Callable[[Path], Path]
) -> None:
    async with world(tmp_path, monkeypatch, ghcr=True, root=copied(ghcr_history)) as w:
        w.days_ago(2)
        await prune(w)
        before = await w.things(all_of_it=True)
        w.days_ago(0)  # past the grace period
        again = await prune(w, apply=False)
        assert again.record is None
        assert await w.things(all_of_it=True) == before


async def test_a_new_policy_is_shown_first_and_carried_out_the_second_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ghcr_history: Path, copied: Callable[[Path], Path]
) -> None:
    async with world(tmp_path, monkeypatch, ghcr=True, root=copied(ghcr_history)) as w:
        before = await w.things()
        shown = await prune(w, apply=False)
        assert shown.shown
        assert await w.things() == before
        done = await prune(w, apply=False)
        assert done.progress.deleted == shown.left
        w.configure(RETENTION.replace("app = 3", "app = 1"))
        assert (await prune(w, apply=False)).shown


async def test_what_github_keeps_for_its_downloads_is_no_failure_and_keeps_its_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ghcr_history: Path, copied: Callable[[Path], Path]
) -> None:
    async with world(tmp_path, monkeypatch, ghcr=True, root=copied(ghcr_history)) as w:
        async with w.store() as store:
            old = await store.resolve(APP, w.release_of(1).immutable_tag(1))
        assert old is not None
        assert w.ghcr is not None
        package = await w.ghcr.ledger.package(APP)
        assert package is not None
        await w.ghcr.ledger.downloaded(package, str(old.digest), 5001)
        done = await prune(w)
        assert done.progress.done[APP, str(old.digest)].done is Done.REFUSED
        assert "5000 downloads" in done.progress.done[APP, str(old.digest)].detail
        held = [one for one in done.progress.done.values() if one.done is Done.HELD]
        assert held
        async with w.store() as store:
            assert (await store.manifest(APP, old.digest)) is not None
        assert await walk(w, APP, old.digest) == []
        again = await prune(w)
        assert again.progress.done[APP, str(old.digest)].done is Done.REFUSED
        assert again.progress.deleted == 0


async def test_a_package_that_was_retired_keeps_its_last_tagged_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ghcr_history: Path, copied: Callable[[Path], Path]
) -> None:
    retired = '[retired]\npackages = ["demo-old"]\n'
    async with world(tmp_path, monkeypatch, ghcr=True, root=copied(ghcr_history), retention=RETENTION + retired) as w:
        w.days_ago(60)
        async with w.store() as store:
            for number in (1, 2):
                index = await w.image(store, "old", str(number), None)
                await store.tag("acme/demo-old", w.release_of(number + 100).immutable_tag(1), index)
        w.days_ago(0)
        await prune(w)
        left = (await w.things())["acme/demo-old"]
        assert len([tags for tags in left.values() if tags]) == 1
        assert len(left) == 3


async def test_versions_that_are_listed_though_they_are_deleted_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ghcr_history: Path, copied: Callable[[Path], Path]
) -> None:
    async with world(tmp_path, monkeypatch, ghcr=True, root=copied(ghcr_history), listing_lag=2 * DAY) as w:
        w.days_ago(1)
        first = await prune(w)
        things = await w.things()
        w.days_ago(0)  # past the grace period
        again = await prune(w)
        gone = {place for place, one in again.progress.done.items() if one.done is Done.GONE}
        assert gone == set(first.progress.done)
        # what the first clean-up itself left may go by now
        assert {place[0] for place in again.progress.done if place not in gone} <= {META}
        assert await w.things() == things


async def test_a_token_without_the_right_to_delete_stops_at_the_first_deletion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ghcr_history: Path, copied: Callable[[Path], Path]
) -> None:
    async with world(tmp_path, monkeypatch, ghcr=True, root=copied(ghcr_history)) as w:
        before = await w.things()
        monkeypatch.setenv("DOCKER_CONFIG", login(w.folder.parent, w.host, WRITER)["DOCKER_CONFIG"])
        with pytest.raises(Denied, match="delete:packages"):
            await prune(w)
        assert len(w.hand.deletes) == 1
        assert await w.things() == before


async def test_a_version_that_is_there_and_not_found_when_deleted_is_a_missing_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ghcr_history: Path, copied: Callable[[Path], Path]
) -> None:
    async with world(tmp_path, monkeypatch, ghcr=True, root=copied(ghcr_history)) as w:
        before = await w.things()
        refused = Fault(status=404, body=b'{"message":"Package not found."}')
        w.hand.rules.append(lambda method, _: refused if method == "DELETE" else None)
        with pytest.raises(Denied, match="the token may read it, but not change it") as denied:
            await prune(w)
        assert "Admin role" in denied.value.hint
        assert len(w.hand.deletes) == 1
        assert await w.things() == before


async def test_a_page_that_cannot_be_read_ends_it_before_the_first_deletion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ghcr_history: Path, copied: Callable[[Path], Path]
) -> None:
    async with world(tmp_path, monkeypatch, ghcr=True, root=copied(ghcr_history)) as w:
        w.days_ago(33)
        await w.fill(APP, 101)
        w.days_ago(0)
        w.hand.rules.append(
            lambda _, path: Fault(status=401) if "demo-app/versions" in path and "page=2" in path else None
        )
        with pytest.raises(Denied, match="demo-app"):
            await prune(w)
        assert w.hand.deletes == []


async def test_a_manifest_that_is_listed_and_cannot_be_read_ends_it_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ghcr_history: Path, copied: Callable[[Path], Path]
) -> None:
    async with world(tmp_path, monkeypatch, ghcr=True, root=copied(ghcr_history)) as w:
        digest = min((await w.things())[BASE])
        body = b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}'
        w.hand.rules.append(lambda _, path: Fault(status=404, body=body) if path.endswith(digest) else None)
        with pytest.raises(ContentUnknown, match=digest):
            await prune(w)
        assert w.hand.deletes == []


async def test_what_had_to_stay_and_is_gone_is_an_alarm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ghcr_history: Path, copied: Callable[[Path], Path]
) -> None:
    async with world(tmp_path, monkeypatch, ghcr=True, root=copied(ghcr_history)) as w:
        async with w.store() as store:
            current = await store.resolve(APP, "dev")
        assert current is not None
        kept = str(current.digest)
        gone = Fault(status=404, body=b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')
        w.hand.rules.append(lambda _, path: gone if w.hand.deletes and path.endswith(kept) else None)
        with pytest.raises(KeptLost, match=kept) as lost:
            await prune(w)
        assert "--undo" in lost.value.hint
        w.hand.rules.clear()
        verified = await w.run("verify", "dev", "--json", code=None)
        row = next(row for row in json.loads(verified.stdout)["rows"] if row["name"] == "retention")
        assert row["state"] == "BROKEN"
        assert kept in row["detail"]


async def test_a_signal_ends_it_after_a_deletion_and_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ghcr_history: Path, copied: Callable[[Path], Path]
) -> None:
    async with world(tmp_path, monkeypatch, ghcr=True, root=copied(ghcr_history)) as w:
        slow = Fault(delay=0.3)
        w.hand.rules.append(lambda method, _: slow if method == "DELETE" else None)
        running = subprocess.Popen(  # noqa: ASYNC220 (it is only started here)
            [*PROGRAM, "prune", "--apply", "--json"],
            cwd=w.folder,
            env={**environment(), **w.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while len(w.hand.deletes) < 5:
            assert running.poll() is None
            await anyio.sleep(0.02)
        running.send_signal(signal.SIGTERM)
        out, err = await anyio.to_thread.run_sync(running.communicate)
        w.hand.rules.clear()
        assert running.returncode == 130, err
        assert json.loads(out)["error"]["kind"] == "Stopped"
        assert len(w.hand.deletes) < 30
        assert (await w.journal()).state is State.SETTLED
        assert await w.walk() == []
        done = await prune(w, apply=False)  # the policy has been seen, and the rest goes
        assert done.left == 0
        assert done.progress.deleted > 30


async def test_tags_that_read_as_they_were_for_a_while_confuse_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ghcr_history: Path, copied: Callable[[Path], Path]
) -> None:
    root = copied(ghcr_history)
    async with world(tmp_path, monkeypatch, ghcr=True, root=root, lag=0.7, flapping=0.5) as w:
        async with w.cleaning() as cleaning:
            cleaning.pruner._batch = 30
            done = await cleaning.pruner.prune(Wish(apply=True))
        assert done.record is not None
        assert done.record.outcome is Outcome.COMPLETE
        assert await w.walk() == []
        async with w.cleaning() as cleaning:
            assert await cleaning.undoer.undo() is not None
        for number in range(1, 7):
            assert await w.walk_release(w.release_of(number)) == []


async def test_github_asking_to_wait_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ghcr_history: Path, copied: Callable[[Path], Path]
) -> None:
    async with world(tmp_path, monkeypatch, ghcr=True, root=copied(ghcr_history)) as w:
        limited = Fault(
            status=403, headers={"retry-after": "1"}, body=b'{"message":"You have exceeded a secondary rate limit"}'
        )
        faults = [limited, Fault(status=502, body=b"<html>"), Fault(cut_response_after=0)]
        w.hand.rules.append(lambda method, _: faults.pop() if method == "DELETE" and faults else None)
        done = await prune(w)
        assert faults == []
        assert done.record is not None
        assert done.record.outcome is Outcome.COMPLETE
        assert await w.walk() == []


async def test_the_hours_limit_ends_it_cleanly_and_the_next_hour_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ghcr_history: Path, copied: Callable[[Path], Path]
) -> None:
    root = copied(ghcr_history)
    async with world(tmp_path / "a", monkeypatch, ghcr=True, root=root, api_limit_workflow=110) as w:
        counts = []
        for hour in range(10):
            w.days_ago(-hour / 24 - 0.001 * hour)
            done = await prune(w, apply=False) if hour else await prune(w)
            counts.append(done.progress.deleted)
            assert await w.walk() == []
            if not done.left:
                break
            assert done.why_left == "GitHub's limit for this hour is nearly reached"
            assert done.record is not None
            assert done.record.outcome is Outcome.PARTIAL
        assert len(counts) > 2
        limited = await w.things()
        total = sum(counts)
    async with world(tmp_path / "b", monkeypatch, ghcr=True, root=_again(ghcr_history, tmp_path)) as w:
        done = await prune(w)
        assert done.progress.deleted == total
        assert await w.things() == limited


async def test_an_hour_that_others_have_used_up_ends_it_with_try_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ghcr_history: Path, copied: Callable[[Path], Path]
) -> None:
    async with world(tmp_path, monkeypatch, ghcr=True, root=copied(ghcr_history)) as w:
        reset = str(int(time.time()) + 3000)
        headers = {"x-ratelimit-limit": "1000", "x-ratelimit-remaining": "0", "x-ratelimit-reset": reset}
        over = Fault(status=403, headers=headers, body=b'{"message":"API rate limit exceeded for installation."}')
        w.hand.rules.append(lambda method, _: over if method == "DELETE" and len(w.hand.deletes) > 10 else None)
        ended = await w.run("prune", "--apply", code=5)
        assert "it goes on where it stopped" in ended.stderr
        assert (await w.journal()).state is State.SETTLED
        assert await w.walk() == []
        w.hand.rules.clear()
        verified = json.loads((await w.run("verify", "dev", "--json", code=None)).stdout)
        row = next(row for row in verified["rows"] if row["name"] == "retention")
        assert row["state"] == "MISSING"
        assert "10 versions deleted" in row["detail"]
        done = await prune(w, apply=False)
        assert done.record is not None
        assert done.record.outcome is Outcome.COMPLETE


async def test_no_more_is_deleted_than_the_user_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ghcr_history: Path, copied: Callable[[Path], Path]
) -> None:
    async with world(tmp_path, monkeypatch, ghcr=True, root=copied(ghcr_history)) as w:
        done = await prune(w, limit=7)
        assert done.progress.deleted == 7
        assert len(w.hand.deletes) == 7
        assert done.left > 0
        assert await w.walk() == []


async def test_a_version_that_got_a_tag_since_it_was_listed_stays_with_its_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ghcr_history: Path, copied: Callable[[Path], Path]
) -> None:
    async with world(tmp_path, monkeypatch, ghcr=True, root=copied(ghcr_history)) as w:
        async with w.store() as store:
            old = await store.resolve(APP, w.release_of(1).immutable_tag(1))
            assert old is not None
            manifest = await store.manifest(APP, old.digest)
        async with w.cleaning() as cleaning:
            look = cleaning.pruner._shelf.look  # the seam between the plan and the deletion

            async def tagged(version: object) -> object:
                if not w.hand.deletes:
                    async with w.store() as store:
                        await store.tag(APP, "somebody-s-own", manifest)
                return await look(version)  # type: ignore[arg-type]

            monkeypatch.setattr(cleaning.pruner._shelf, "look", tagged)
            done = await cleaning.pruner.prune(Wish(apply=True))
        assert done.progress.done[APP, str(old.digest)].done is Done.CHANGED
        assert await walk(w, APP, old.digest) == []


async def test_another_transaction_that_is_open_is_not_disturbed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ghcr_history: Path, copied: Callable[[Path], Path]
) -> None:
    async with world(tmp_path, monkeypatch, ghcr=True, root=copied(ghcr_history)) as w:
        before = await w.things()
        async with w.cleaning() as first, w.cleaning() as second:
            listing, _ = await first.pruner.plan()
            results = []

            async def meanwhile(deadline: float) -> bool:
                with pytest.raises(ChannelBusy):
                    await second.pruner.prune(Wish(apply=True))
                results.append(deadline)
                return False

            held = await first.pruner._claims.hold(Batch(run="one", removals=()), listing.journal, 30, meanwhile)
            assert held
            assert results
        assert await w.things() == before


def _again(history: Path, folder: Path) -> Path:
    return shutil.copytree(history, folder / "again")
