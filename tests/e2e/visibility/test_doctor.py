"""`shipgraph doctor` as a user runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.cli.test_documents import documented, members

from .conftest import PACKAGES, staged

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Stage

pytestmark = pytest.mark.real

PAGE = "https://github.com/orgs/acme/packages/container/{}/settings"


def rows(document: dict[str, Any]) -> dict[str, dict[str, str]]:
    return {row["name"]: row for row in document["rows"]}


def states(document: dict[str, Any]) -> dict[str, str]:
    return {name: row["state"] for name, row in rows(document).items()}


async def test_all_is_told_at_once_and_nothing_is_changed(stage: Stage) -> None:
    done = await stage.run("doctor", "--json", token="ghp_admin", code=1)
    assert members(done.json) == documented()["doctor"]
    found = rows(done.json)
    assert {"builder", "platforms", "disk", "git history", "signing", "login", "clock", "token"} <= set(found)
    private = found["package acme/demo-base"]
    assert private["state"] == "FAILED"
    assert PAGE.format("demo-base") in private["next"]
    assert found["package acme/demo-payload"]["state"] == "warning"
    assert found["login"]["detail"].endswith("config.json")
    assert found["clock"]["state"] == "ok"
    assert await stage.ghcr.ledger.package("acme/demo-payload") is None
    told = await stage.run("doctor", token="ghp_admin", code=1)
    assert PAGE.format("demo-base") in told.out


async def test_a_project_in_order_has_no_failed_row(stage: Stage) -> None:
    await stage.connect()
    await stage.make_public()
    await stage.run("payload")
    done = await stage.run("doctor", "--json", more={"SHIPGRAPH_SIGNING_KEY": ""})
    assert done.json["ok"] is True
    found = states(done.json)
    assert all(found[f"package {name}"] == "ok" for name in PACKAGES)


async def test_what_may_not_be_written_is_told(stage: Stage) -> None:
    done = await stage.run("doctor", "--json", token="ghs_other", code=1)
    found = rows(done.json)
    assert found["package acme/demo-base"]["state"] == "FAILED"
    assert "Manage Actions access" in found["package acme/demo-base"]["next"]


async def test_nobody_is_told_to_log_in(stage: Stage) -> None:
    done = await stage.run("doctor", "--json", token=None, code=1)
    found = rows(done.json)
    assert found["login"]["state"] == "FAILED"
    assert f"docker login {stage.address}" in found["login"]["next"]
    assert found["token"]["state"] == "not applicable"


async def test_a_registry_that_does_not_answer_is_a_row_and_no_end(stage: Stage) -> None:
    done = await stage.run("doctor", "--json", "--registry", "127.0.0.1:9/acme", code=1)
    found = rows(done.json)
    assert found["registry"]["state"] == "FAILED"
    assert "disk" in found


async def test_a_credential_helper_that_is_missing_is_a_row(stage: Stage) -> None:
    config = stage.folder / "helper"
    config.mkdir()
    (config / "config.json").write_text('{"credsStore": "nowhere"}')
    done = await stage.run("doctor", "--json", token=None, code=1, more={"DOCKER_CONFIG": str(config)})
    assert "docker-credential-nowhere" in rows(done.json)["login"]["detail"]


async def test_bootstrap_makes_what_is_missing_and_a_first_release_goes_through(tmp_path: Path) -> None:
    async with staged(tmp_path, commits=0) as stage:
        (stage.demo.folder / "files").mkdir()
        (stage.demo.folder / "files" / "content").write_text("x")
        stage.demo.git("add", "--all")
        stage.demo.git("commit", "--quiet", "-m", "first")
        wanted = await stage.run("doctor", "--bootstrap", "--dry-run", "--json")
        assert {row["detail"] for row in wanted.json["rows"]} == {"would be made"}
        assert [await stage.ghcr.ledger.package(name) for name in PACKAGES] == [None] * len(PACKAGES)
        made = await stage.run("doctor", "--bootstrap", "--json")
        assert members(made.json) == documented()["doctor"]
        assert {row["detail"] for row in made.json["rows"]} == {"made"}
        again = await stage.run("doctor", "--bootstrap", "--json")
        assert {row["detail"] for row in again.json["rows"]} == {"was there"}
        for name in PACKAGES:
            package = await stage.ghcr.ledger.package(name)
            assert package is not None
            assert (package.visibility, package.repository) == ("public", "acme/demo")
            assert await stage.ghcr.ledger.count(package) == 1


async def test_bootstrap_by_a_person_says_what_has_to_be_made_public(tmp_path: Path) -> None:
    async with staged(tmp_path, commits=0) as stage:
        stage.demo.git("commit", "--quiet", "--allow-empty", "-m", "first")
        done = await stage.run("doctor", "--bootstrap", "--json", token="ghp_pusher", code=1)
        assert {row["state"] for row in done.json["rows"]} == {"FAILED"}
        assert PAGE.format("demo-metadata") in rows(done.json)["package acme/demo-metadata"]["next"]
        await stage.make_public()
        again = await stage.run("doctor", "--bootstrap", "--json", token="ghp_pusher")
        assert states(again.json) == {f"package {name}": "ok" for name in PACKAGES}


async def test_bootstrap_says_of_packages_with_releases_whether_they_are_private(stage: Stage) -> None:
    done = await stage.run("doctor", "--bootstrap", "--json", token="ghp_admin", code=1)
    found = rows(done.json)
    assert found["package acme/demo-base"]["detail"] == "was there; is private"
    assert PAGE.format("demo-base") in found["package acme/demo-base"]["next"]
    usage = await stage.run("doctor", "--dry-run", code=2)
    assert "--bootstrap" in usage.err
