"""`shipgraph visibility` as a user runs it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.unit.cli.test_documents import documented, members

from shipgraph.embedded.serving import serve
from shipgraph.store.disk import DiskStore

from .conftest import PACKAGES

if TYPE_CHECKING:
    from .conftest import Stage

pytestmark = pytest.mark.real

PAGE = "https://github.com/orgs/acme/packages/container/{}/settings"


async def test_private_packages_are_named_with_their_settings_pages_and_nothing_is_pretended(stage: Stage) -> None:
    made = [name for name in PACKAGES if not name.endswith("payload")]  # the payload was never pushed
    done = await stage.run("visibility", "--json", token="ghp_admin", code=1)
    assert done.json["verdict"] == "not public"
    assert members(done.json) == documented()["visibility"]
    assert {one["repository"]: one["settings"] for one in done.json["private"]} == {
        name: PAGE.format(name.partition("/")[2]) for name in made
    }
    told = (await stage.run("visibility", token="ghp_admin", code=1)).err
    assert all(PAGE.format(name.partition("/")[2]) in told for name in made)
    assert "GitHub has no API that changes a package's visibility" in told


async def test_a_set_is_public_once_a_person_made_every_package_so(stage: Stage) -> None:
    await stage.make_public(*PACKAGES[:-1])
    done = await stage.run("visibility", "--json", token="ghp_admin", code=1)
    assert [one["repository"] for one in done.json["private"]] == ["acme/demo-metadata"]
    await stage.make_public("acme/demo-metadata")
    done = await stage.run("visibility", "--json", token="ghp_admin")
    assert done.json["verdict"] == "public"
    seen = [(one["repository"], one["what"]) for one in done.json["subjects"]]
    wanted = ("index", "linux/amd64", "linux/arm64")
    assert seen == [
        *((f"acme/demo-{name}", what) for name in ("base", "app", "tool") for what in wanted),
        ("acme/demo-metadata", "set record"),
    ]
    assert all(one["blobs"] == 2 for one in done.json["subjects"] if one["what"] != "index")


async def test_a_published_channel_is_looked_at_as_a_whole(stage: Stage) -> None:
    await stage.connect()
    await stage.make_public()
    await stage.run("payload")
    await stage.run("finalize")
    done = await stage.run("visibility", "dev", "--json", token=None)
    whats = {one["what"] for one in done.json["subjects"]}
    assert whats == {"index", "linux/amd64", "linux/arm64", "payload", "metadata", "set record"}
    await stage.ghcr.set_visibility("acme/demo-payload", "private")
    done = await stage.run("visibility", "dev", "--json", code=1)
    assert [one["repository"] for one in done.json["private"]] == ["acme/demo-payload"]


async def test_a_set_that_is_not_there_is_no_proof(stage: Stage) -> None:
    done = await stage.run("visibility", "--tag", f"sha-{'0' * 40}", token="ghp_admin", code=3)
    assert "is not there" in done.err
    assert "never published" in (await stage.run("visibility", "dev", token="ghp_admin", code=3)).err
    assert "allowed: dev, prod" in (await stage.run("visibility", "nope", token="ghp_admin", code=2)).err
    assert "not both" in (await stage.run("visibility", "dev", "--tag", "x", code=2)).err


async def test_a_project_that_is_not_meant_to_be_public_says_so(stage: Stage) -> None:
    stage.edit("[evidence]", '[visibility]\nrequire = "any"\n\n[evidence]')
    done = await stage.run("visibility", "--json", token="ghp_admin")
    assert done.json["verdict"] == "not applicable"
    assert "does not ask for it" in done.json["reason"]


async def test_a_registry_without_accounts_has_no_public_unless_the_project_asks(stage: Stage) -> None:
    async with serve(DiskStore(stage.demo.root)) as address:
        stage.edit(f'registry = "{stage.address}"', f'registry = "{address}"')
        done = await stage.run("visibility", "--json", token=None)
        assert done.json["verdict"] == "not applicable"
        assert "is not GHCR" in done.json["reason"]
        stage.edit("[evidence]", '[visibility]\nrequire = "public"\n\n[evidence]')
        assert (await stage.run("visibility", "--json", token=None)).json["verdict"] == "public"


async def test_a_registry_that_does_not_answer_proves_nothing(stage: Stage) -> None:
    stage.edit(f'registry = "{stage.address}"', 'registry = "127.0.0.1:9"')
    done = await stage.run("visibility", token=None, code=5)
    assert "no answer" in done.err


async def test_a_private_package_lets_no_tag_move_and_once_it_is_public_all_do(stage: Stage) -> None:
    await stage.connect()
    await stage.make_public()
    await stage.run("payload")
    await stage.ghcr.set_visibility("acme/demo-app", "private")
    before = tags_of(stage)
    done = await stage.run("finalize", code=1)
    assert PAGE.format("demo-app") in done.err
    assert "demo-base" not in done.err
    assert tags_of(stage) == before
    assert not any(name.endswith((":dev", ":journal")) for name in before)
    await stage.make_public("acme/demo-app")
    await stage.run("finalize")
    assert "acme/demo-app:dev" in tags_of(stage)
    found = (await stage.run("verify", "dev", "--json", token="ghp_admin", code=None)).json
    assert {row["name"]: row["state"] for row in found["rows"]}["public"] == "ok"


async def test_metadata_that_turned_private_is_a_broken_row(stage: Stage) -> None:
    await stage.connect()
    await stage.make_public()
    await stage.run("payload")
    await stage.run("finalize")
    await stage.ghcr.set_visibility("acme/demo-metadata", "private")
    found = (await stage.run("verify", "dev", "--json", token="ghp_admin", code=1)).json
    row = {row["name"]: row for row in found["rows"]}["public"]
    assert row["state"] == "BROKEN"
    assert "demo-metadata is private" in row["detail"]


def tags_of(stage: Stage) -> dict[str, str]:
    """Every tag, by what the folders say."""
    found = {}
    for name in PACKAGES:
        index = stage.demo.root / name / "index.json"
        entries = json.loads(index.read_text())["manifests"] if index.exists() else []
        for entry in entries:
            tag = entry.get("annotations", {}).get("org.opencontainers.image.ref.name")
            if tag:
                found[f"{name}:{tag}"] = entry["digest"]
    return found
