"""Left-over tags and owners of open transactions where the registry is GHCR and the runs are GitHub's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.e2e.transaction.project import META

from shipgraph.channel.journal import (
    JOURNAL,
    JOURNAL_TYPE,
    JournalEntry,
    Kind,
    Owner,
    State,
    decode_entry,
    encode_entry,
)
from shipgraph.records.document import push_document, read_document
from shipgraph.remote import Credentials, RemoteStore

from .conftest import PACKAGES

if TYPE_CHECKING:
    from .conftest import Stage

pytestmark = pytest.mark.real

CONFLICT, FAILED, REFUSED = 4, 1, 3
RUN = 4711


def admin(stage: Stage) -> RemoteStore:
    return RemoteStore(stage.address, credentials=Credentials("x", "ghp_admin"))


async def tags(stage: Stage) -> dict[str, list[str]]:
    async with admin(stage) as store:
        return {name: await store.tags(name) for name in PACKAGES}


async def left_over(stage: Stage) -> None:
    """A first release that was refused at one package, so that its tags elsewhere had to be left."""
    await stage.make_public()
    await stage.connect()
    await stage.run("payload")
    await stage.ghcr.link("acme/demo-tool", "")  # nobody connected this one
    done = await stage.run("finalize", code=REFUSED)
    assert "demo-tool:dev" in done.err
    assert "repair --untag" in done.err


async def test_left_over_tags_go_through_the_packages_api_and_nothing_else_goes(stage: Stage) -> None:
    await left_over(stage)
    before = await tags(stage)
    assert "dev" in before["acme/demo-base"]
    await stage.connect()
    done = await stage.run("repair", "--untag")
    assert "removed acme/demo-base:dev" in done.out
    after = await tags(stage)
    gone = {name: set(before[name]) - set(after[name]) for name in PACKAGES}
    assert {name for name, those in gone.items() if those == {"dev"}} >= {"acme/demo-base", "acme/demo-app"}
    assert all(those <= {"dev"} for those in gone.values())
    assert not any("shipgraph-untag" in names for names in after.values())
    assert "no tag is left over" in (await stage.run("repair", "--untag")).out
    await stage.run("finalize")
    assert (await stage.run("visibility", "dev", "--json", token=None)).json["verdict"] == "public"


async def test_without_the_right_to_delete_no_tag_goes(stage: Stage) -> None:
    await left_over(stage)
    before = await tags(stage)
    done = await stage.run("repair", "--untag", token="ghp_pusher", code=FAILED)
    assert "delete" in done.err
    after = await tags(stage)
    assert {name: set(found) - {"shipgraph-untag"} for name, found in after.items()} == {
        name: set(found) for name, found in before.items()
    }


async def test_an_owner_whose_run_is_in_progress_is_not_taken_for_dead(stage: Stage) -> None:
    await stage.make_public()
    await stage.connect()
    await stage.run("payload")
    await stage.run("finalize")
    github = {"GITHUB_API_URL": f"http://{stage.address}/api/v3"}
    async with admin(stage) as store:
        there = await store.resolve(META, JOURNAL)
        assert there is not None
        entry = decode_entry((await read_document(store, META, there.digest, JOURNAL_TYPE)).content, where="journal")
        dead = JournalEntry(
            number=entry.number + 1,
            id="dev-2-somebody",
            project="demo",
            owner=Owner(run=str(RUN), attempt=1, nonce="0" * 32),
            opened_at=entry.opened_at - 10_000,
            lease_s=60.0,
            state=State.OPEN,
            kind=Kind.REFRESH,
            channel="dev",
            serial=2,
            release=None,
            moves=(),
            heads=entry.heads,
            previous=str(there.digest),
        )
        document = encode_entry(dead)
        await push_document(store, META, document)
        await store.tag(META, JOURNAL, document.manifest)
    await stage.ghcr.runs.set("acme/demo", RUN, "in_progress")
    done = await stage.run("refresh", "dev", code=CONFLICT, more=github)
    assert f"of {RUN}" in done.err
    await stage.ghcr.runs.set("acme/demo", RUN, "completed", conclusion="failure")
    assert (await stage.run("resume", "--json", more=github)).json["state"] == "aborted"
    await stage.run("refresh", "dev", more=github)
