"""Where nothing here may sign for a channel, the project's workflow is started to do it."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest
from tests.unit.cli.test_documents import documented, members
from tests.unit.engine.world import make_world
from tests.unit.ghcr.conftest import ACCOUNTS, STARTER

from shipgraph.attest.key import make_key
from shipgraph.embedded.ghcr.state import Ghcr
from shipgraph.embedded.serving import serve
from shipgraph.engine.dispatching import Operation, may_sign_here, start_instead
from shipgraph.engine.opening import open_view
from shipgraph.store.disk import DiskStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.unit.engine.world import World

    from shipgraph.embedded.ghcr.runs import Run

USAGE = 2
FILE = """\
[project]
name = "demo"
platforms = ["linux/amd64"]
source = "https://github.com/acme/app"

[images.base]
context = "docker/base"
base = "scratch"

[images.app]
context = "docker/app"
parent = "base"

[channels.dev]
on = "push:main"
[channels.prod]
on = "tag:v*"
"""


class Laptop:
    """A project on somebody's machine, and GitHub."""

    def __init__(self, world: World, ghcr: Ghcr, environment: dict[str, str | None]) -> None:
        self.world, self.ghcr, self.environment = world, ghcr, environment

    async def run(self, *words: str, **more: str | None) -> subprocess.CompletedProcess[str]:
        """A command, beside GitHub."""
        wanted = {**self.environment, **more}
        kept = {name: value for name, value in os.environ.items() if name not in wanted}
        environment = {**kept, **{name: value for name, value in wanted.items() if value is not None}}
        program = [sys.executable, "-c", "from shipgraph.cli.main import main; main()"]
        return await anyio.to_thread.run_sync(
            lambda: subprocess.run(
                [*program, *words, "--project", str(self.world.folder), "--json"],
                env=environment,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
        )

    def enter(self, monkeypatch: pytest.MonkeyPatch, **more: str) -> None:
        """Make the machine's environment this process's own."""
        for name, value in {**self.environment, **more}.items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)

    async def started(self) -> list[Run]:
        return await self.ghcr.runs.dispatched()


@pytest.fixture
async def laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Laptop]:
    world = make_world(tmp_path / "project", FILE)
    world.write(".github/workflows/build-runtime-images.yml", "on: workflow_dispatch\n")
    world.commit()
    ghcr = Ghcr(tmp_path / "registry" / ".shipgraph", ACCOUNTS)
    none = (
        "SHIPGRAPH_SIGNING_KEY", "SIGSTORE_ID_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "GITHUB_ACTIONS", "GH_TOKEN",
        "GHCR_PAT", "GITHUB_SERVER_URL",
    )  # fmt: skip
    async with serve(DiskStore(tmp_path / "registry"), ghcr=ghcr) as address:
        environment: dict[str, str | None] = dict.fromkeys(none)
        environment |= {"GITHUB_API_URL": f"http://{address}/api/v3", "GITHUB_TOKEN": STARTER}
        yield Laptop(world, ghcr, environment)


def document(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


async def test_a_rollback_is_started_once_and_its_page_is_printed(laptop: Laptop) -> None:
    done = await laptop.run("rollback", "dev", "--to", "sha-1234567")
    printed = document(done)
    assert members(printed) == documented()["dispatched"]
    (run,) = await laptop.started()
    assert (run.repository, run.workflow, run.ref) == ("acme/app", "build-runtime-images.yml", "main")
    assert run.inputs == {"operation": "rollback", "channel": "dev", "version": "sha-1234567"}
    assert printed["dispatched"]["page"] == f"https://github.com/acme/app/actions/runs/{run.id}"
    assert STARTER not in done.stdout + done.stderr


async def test_refresh_and_promote_are_started_too(laptop: Laptop) -> None:
    document(await laptop.run("refresh", "prod"))
    document(await laptop.run("promote", "--version", "v1.2.0"))
    refreshed, promoted = await laptop.started()
    assert refreshed.inputs == {"operation": "refresh", "channel": "prod", "version": ""}
    assert promoted.inputs == {"operation": "auto", "channel": "prod", "version": "v1.2.0"}


async def test_what_the_workflow_can_not_be_asked_for_is_refused(laptop: Laptop) -> None:
    held = await laptop.run("rollback", "dev", "--hold", "customers see errors")
    assert held.returncode == USAGE
    assert "takes no --hold" in held.stderr
    other = await laptop.run("promote", "--channel", "dev")
    assert other.returncode == USAGE
    assert "promotion without --version" in other.stderr
    assert await laptop.started() == []


async def test_without_a_token_it_is_said_how_to_start_it(laptop: Laptop) -> None:
    done = await laptop.run("rollback", "dev", GITHUB_TOKEN=None)
    assert done.returncode == USAGE
    assert "https://github.com/acme/app/actions/workflows/build-runtime-images.yml" in done.stderr


async def test_a_token_without_the_right_starts_nothing(laptop: Laptop) -> None:
    done = await laptop.run("rollback", "dev", GITHUB_TOKEN="ghs_public")
    assert done.returncode == 1
    assert "Actions: write" in done.stderr
    assert "ghs_public" not in done.stdout + done.stderr
    assert await laptop.started() == []


async def test_a_channel_that_accepts_no_branch_is_started_at_the_versions_tag(laptop: Laptop) -> None:
    laptop.world.edit("shipgraph.toml", 'on = "tag:v*"', 'on = "tag:v*"\nsigner = { refs = ["refs/tags/v*"] }')
    document(await laptop.run("promote", "--version", "v1.2.0"))
    (run,) = await laptop.started()
    assert run.ref == "v1.2.0"
    done = await laptop.run("refresh", "prod")
    assert done.returncode == USAGE
    assert "refs/tags/v*" in done.stderr


@pytest.mark.parametrize(
    ("channel", "registry", "more"),
    [
        ("dev", None, {"GITHUB_ACTIONS": "true"}),
        ("dev", None, {"SIGSTORE_ID_TOKEN": "a.job's.token"}),
        ("dev", "registry.example/acme", {}),
        ("nowhere", None, {}),
    ],
    ids=["in a job", "with an identity", "another registry", "no such channel"],
)
async def test_the_workflow_is_not_started(
    laptop: Laptop,
    monkeypatch: pytest.MonkeyPatch,
    channel: str,
    registry: str | None,
    more: dict[str, str],
) -> None:
    laptop.enter(monkeypatch, **more)
    view = await open_view(laptop.world.folder, registry, None)
    assert await start_instead(view, Operation("rollback", channel), registry=registry) is None
    assert await laptop.started() == []


async def test_without_a_workflow_there_is_nobody_to_start(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    laptop.enter(monkeypatch)
    laptop.world.edit("shipgraph.toml", "[channels.dev]", '[workflow]\nfile = "other.yml"\n\n[channels.dev]')
    view = await open_view(laptop.world.folder, None, None)
    assert await start_instead(view, Operation("rollback", "dev"), registry=None) is None


async def test_a_key_signs_here_if_the_channel_trusts_it(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ours, other = make_key(tmp_path / "ours"), make_key(tmp_path / "other")
    assert ours.public.hint != other.public.hint
    public = base64.b64encode(ours.public.der).decode()
    laptop.world.edit(
        "shipgraph.toml",
        "[channels.dev]",
        f'[[signing.keys]]\nname = "ops"\npublic = "{public}"\n\n[channels.dev]',
    )
    laptop.world.edit("shipgraph.toml", 'on = "tag:v*"', 'on = "tag:v*"\nsigner = { keys = [] }')
    view = await open_view(laptop.world.folder, None, None)
    signs = {}
    for name in ("ours", "other"):
        laptop.enter(monkeypatch, SHIPGRAPH_SIGNING_KEY=(await anyio.Path(tmp_path / name).read_text()))
        signs[name] = (may_sign_here(view, "dev"), may_sign_here(view, "prod"))
    assert signs == {"ours": (True, False), "other": (False, False)}
