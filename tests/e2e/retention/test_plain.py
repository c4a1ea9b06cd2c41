"""A clean-up of a plain registry, which tells no time and lists only tags; and of a rehearsal's folder."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from typing import TYPE_CHECKING

import anyio.to_thread
import pytest
from tests.e2e.retention.world import World, walk, world
from tests.real.clients import crane

from shipgraph.embedded.fault import Fault
from shipgraph.engine.pruning import Pruned, Wish
from shipgraph.errors import ContentError, RegistryError
from shipgraph.records.prune import Done, Outcome
from shipgraph.remote.store import RemoteStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

APP, BASE = "acme/demo-app", "acme/demo-base"


async def prune(w: World, *, apply: bool = True) -> Pruned:
    async with w.cleaning() as cleaning:
        return await cleaning.pruner.prune(Wish(apply=apply))


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets so many seconds pass on the registry's clock."""
    now, late = RemoteStore.now, [0.0]

    async def shifted(self: RemoteStore) -> float:
        return await now(self) + late[0]

    monkeypatch.setattr(RemoteStore, "now", shifted)

    def pass_(seconds: float) -> None:
        late[0] += seconds

    return pass_


@pytest.mark.real
async def test_what_is_kept_can_be_pulled_by_crane(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    plain_history: Path,
    copied: Callable[[Path], Path],
    later: Callable[[float], None],
) -> None:
    async with world(tmp_path, monkeypatch, ghcr=False, root=copied(plain_history)) as w:
        await prune(w)
        later(7200)
        assert (await prune(w)).progress.deleted > 50
        for name in ("base", "app", "tool"):
            for number in (5, 6):
                reference = f"{w.host}/acme/demo-{name}:{w.release_of(number).immutable_tag(1)}"
                await anyio.to_thread.run_sync(
                    crane, "pull", "--format=oci", reference, str(tmp_path / f"{name}{number}")
                )
        gone = f"{w.host}/{BASE}:{w.release_of(1).immutable_tag(1)}"
        with pytest.raises(Exception, match="MANIFEST_UNKNOWN"):
            await anyio.to_thread.run_sync(crane, "manifest", gone)


async def test_nothing_goes_before_it_is_known_for_as_long_as_the_grace_period(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    plain_history: Path,
    copied: Callable[[Path], Path],
    later: Callable[[float], None],
) -> None:
    async with world(tmp_path, monkeypatch, ghcr=False, root=copied(plain_history)) as w:
        before = await w.things()
        assert (await prune(w)).progress.deleted == 0
        later(3000)  # the grace period is an hour
        assert (await prune(w)).progress.deleted == 0
        assert await w.things() == before
        later(1000)
        done = await prune(w)
        assert done.progress.deleted > 50
        assert done.record is not None
        assert done.record.outcome is Outcome.COMPLETE
        assert await w.walk() == []
        things = await w.things()
        assert len(things[APP]) == 3 * 4  # an index, two platforms, what refers to it
        assert len(things[BASE]) == 2 * 4
        later(3700)
        again = await prune(w)
        assert again.progress.deleted == 0
        later(3700)
        again = await prune(w)
        assert again.progress.deleted == 0
        assert again.record is None


async def test_what_metadata_names_is_found_though_no_tag_leads_there(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    plain_history: Path,
    copied: Callable[[Path], Path],
    later: Callable[[float], None],
) -> None:
    """Somebody deleted the tags of the predecessor's images: they are what a channel would be rolled back to."""
    async with world(tmp_path, monkeypatch, ghcr=False, root=copied(plain_history)) as w:
        tag = w.release_of(5).immutable_tag(1)
        async with w.store() as store:
            found = await store.resolve(APP, tag)
            assert found is not None
            await store.delete_tag(APP, tag)
        await prune(w)
        later(7200)
        await prune(w)
        assert await walk(w, APP, found.digest) == []


async def test_an_unreadable_list_of_tags_ends_it_before_the_first_deletion(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    plain_history: Path,
    copied: Callable[[Path], Path],
    later: Callable[[float], None],
) -> None:
    async with world(tmp_path, monkeypatch, ghcr=False, root=copied(plain_history)) as w:
        await prune(w)
        later(7200)
        w.hand.rules.append(lambda _, path: Fault(status=403) if "demo-tool/tags/list" in path else None)
        with pytest.raises(RegistryError, match="demo-tool"):
            await prune(w)
        assert w.hand.deletes == []


async def test_a_forged_manifest_ends_it_before_the_first_deletion(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    plain_history: Path,
    copied: Callable[[Path], Path],
    later: Callable[[float], None],
) -> None:
    async with world(tmp_path, monkeypatch, ghcr=False, root=copied(plain_history)) as w:
        victim = min((await w.things())[APP])
        forged = Fault(
            status=200,
            headers={"content-type": "application/vnd.oci.image.index.v1+json"},
            body=b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}',
        )
        w.hand.rules.append(lambda method, path: forged if method == "GET" and path.endswith(victim) else None)
        with pytest.raises(ContentError, match=victim):
            await prune(w)
        assert w.hand.deletes == []


async def test_a_registry_that_deletes_nothing_is_no_failure(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    plain_history: Path,
    copied: Callable[[Path], Path],
    later: Callable[[float], None],
) -> None:
    async with world(tmp_path, monkeypatch, ghcr=False, root=copied(plain_history)) as w:
        await prune(w)
        later(7200)
        refused = Fault(status=405, body=b'{"errors":[{"code":"UNSUPPORTED","message":"deletion is off"}]}')
        w.hand.rules.append(lambda method, _: refused if method == "DELETE" else None)
        done = await prune(w)
        assert {one.done for one in done.progress.done.values()} == {Done.REFUSED, Done.HELD}
        assert await w.walk() == []


async def test_manifests_are_read_a_single_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ghcr_history: Path, copied: Callable[[Path], Path]
) -> None:
    async with world(tmp_path, monkeypatch, ghcr=True, root=copied(ghcr_history)) as w:
        for wanted in (True, False):
            w.hand.requests.clear()
            async with w.cleaning() as cleaning:
                await cleaning.pruner.prune(Wish(dry_run=True))
            reads = [one for one in w.hand.requests if one.startswith("GET /v2/") and "/manifests/sha256:" in one]
            assert bool(reads) is wanted


async def test_what_is_remembered_wrongly_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ghcr_history: Path, copied: Callable[[Path], Path]
) -> None:
    async with world(tmp_path, monkeypatch, ghcr=True, root=copied(ghcr_history)) as w:
        async with w.cleaning() as cleaning:
            _, first = await cleaning.pruner.plan()
        with sqlite3.connect(w.folder / ".shipgraph" / "retention" / "manifests.sqlite") as database:
            database.execute("UPDATE content SET body = '{}'")
        async with w.cleaning() as cleaning:
            _, second = await cleaning.pruner.plan()
        assert second.packages == first.packages
        (w.folder / ".shipgraph" / "retention" / "manifests.sqlite").write_bytes(b"no database at all" * 100)
        async with w.cleaning() as cleaning:
            _, third = await cleaning.pruner.plan()
        assert third.packages == first.packages


async def test_a_rehearsals_folder_is_listed_with_what_no_tag_reaches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain_history: Path, copied: Callable[[Path], Path]
) -> None:
    root = copied(plain_history)
    async with world(tmp_path, monkeypatch, ghcr=False, root=root) as w:
        await w.fill(APP, 3)
    for path in root.glob("acme/*/blobs/sha256/*"):
        os.utime(path, (time.time() - 86400, time.time() - 86400))
    done = await w.run("prune", "--root", str(root), "--apply", "--json")
    document = json.loads(done.stdout)
    going = [one for one in document["done"] if one["repository"] == APP and one["reason"] == "unreached"]
    assert len([one for one in going if one["done"] == "deleted"]) >= 3
    again = await w.run("prune", "--root", str(root), "--undo", "--json")
    assert len(json.loads(again.stdout)["versions"]) == document["outcomes"]["deleted"]
