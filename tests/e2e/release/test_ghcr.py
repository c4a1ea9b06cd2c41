"""A release into a registry with GHCR's habits: login, visibility, lag, no referrers API, no compare-and-swap."""

from __future__ import annotations

import base64
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import pytest
from tests.e2e.release.conftest import Demo, copy_project, digests

from shipgraph.embedded.ghcr.accounts import Accounts, Pat, Workflow
from shipgraph.embedded.ghcr.habits import Habits
from shipgraph.embedded.ghcr.state import Ghcr
from shipgraph.embedded.serving import serve
from shipgraph.errors import Denied
from shipgraph.github.api import GitHubApi
from shipgraph.github.packages import Packages, find_owner
from shipgraph.oci.digest import Digest
from shipgraph.remote import RemoteStore
from shipgraph.store.disk import DiskStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.real

LAG = 1.0
ACCOUNTS = Accounts(
    {
        "ghs_public": Workflow("acme/demo"),
        "ghs_private": Workflow("acme/hidden"),
        "ghs_reader": Workflow("acme/demo", "read"),
        "ghp_admin": Pat("alice", administers=frozenset({"acme"})),
    },
    {"acme/demo": "public"},
    {"acme": "organization"},
)
PACKAGES = {f"demo-{name}" for name in ("base", "app", "side", "tool", "payload", "metadata")}


@asynccontextmanager
async def ghcr(root: Path, **habits: Any) -> AsyncIterator[str]:
    """Such a registry; yields ``127.0.0.1:PORT``."""
    mode = Ghcr(root / ".shipgraph", ACCOUNTS, habits=Habits(lag=LAG, **habits))
    async with serve(DiskStore(root, durable=False), ghcr=mode) as address:
        yield address


def project(template: Path, folder: Path) -> Demo:
    """The project, which says nothing about the registry: that is for the registry to tell."""
    demo = copy_project(template, folder / "demo")
    demo.edit("shipgraph.toml", "[transaction]\ngap = 0.1\nsettle = 0.4\n", "")
    demo.git("remote", "add", "origin", "https://github.com/acme/demo.git")
    demo.commit()
    return demo


def login(folder: Path, address: str, token: str) -> dict[str, str]:
    """Docker's configuration with a token for that registry, as an environment."""
    auth = base64.b64encode(f"token:{token}".encode()).decode()
    config = folder / token / "config.json"
    config.parent.mkdir(exist_ok=True)
    config.write_text(json.dumps({"auths": {address: {"auth": auth}}}))
    return {"DOCKER_CONFIG": str(config.parent)}


async def run(demo: Demo, *arguments: str, **more: Any) -> Any:
    """A command, beside the server."""
    return await anyio.to_thread.run_sync(lambda: demo.run(*arguments, "--json", **more))


async def test_a_public_repositorys_workflow_publishes_for_everybody(template: Path, tmp_path: Path) -> None:
    demo = project(template, tmp_path)
    async with ghcr(tmp_path / "registry") as address:
        environment, place = login(tmp_path, address, "ghs_public"), f"{address}/acme"
        released = (
            await run(demo, "release", "--registry", place, "--channel", "dev", environment=environment)
        ).document
        assert released["moved"] is True
        found = await run(demo, "verify", "dev", "--registry", place, environment=environment)
        assert found.document["ok"] is True

        async with (
            RemoteStore(address, credentials=None) as nobody,
            GitHubApi("ghp_admin", base=f"http://{address}") as api,
        ):
            packages = Packages(api, await find_owner(api, "acme"))
            listed = await packages.all()
            assert {package.name for package in listed} == PACKAGES
            assert {(package.visibility, package.source) for package in listed} == {("public", "acme/demo")}
            for key, digest in digests(released).items():
                moved = await nobody.resolve(f"acme/demo-{key}", "dev")
                assert moved is not None
                assert str(moved.digest) == digest
                await nobody.manifest(f"acme/demo-{key}", Digest.parse(digest))
                tags = {version.digest: version.tags for version in await packages.versions(f"demo-{key}")}[digest]
                assert {"dev", f"sha-{released['commit']}"} <= set(tags)

        await anyio.sleep(LAG)
        again = (await run(demo, "release", "--registry", place, "--channel", "dev", environment=environment)).document
        assert again["unchanged"] is True


async def test_a_private_repositorys_packages_stay_private(template: Path, tmp_path: Path) -> None:
    demo = project(template, tmp_path)
    demo.git("remote", "set-url", "origin", "https://github.com/acme/hidden.git")
    demo.edit("shipgraph.toml", "[build]\n", '[visibility]\nrequire = "any"\n\n[build]\n')
    demo.commit()
    async with ghcr(tmp_path / "registry") as address:
        environment, place = login(tmp_path, address, "ghs_private"), f"{address}/acme"
        released = (
            await run(demo, "release", "--registry", place, "--channel", "dev", environment=environment)
        ).document
        assert released["moved"] is True
        async with RemoteStore(address, credentials=None) as nobody:
            for key in digests(released):
                with pytest.raises(Denied):
                    await nobody.resolve(f"acme/demo-{key}", "dev")


async def test_a_token_that_may_only_read_moves_nothing(template: Path, tmp_path: Path) -> None:
    demo = project(template, tmp_path)
    async with ghcr(tmp_path / "registry") as address:
        environment = login(tmp_path, address, "ghs_reader")
        done = await run(
            demo, "release", "--registry", f"{address}/acme", "--channel", "dev", environment=environment, code=1
        )
        assert "403" in done.err + done.out
        assert "ghs_reader" not in done.err + done.out
        assert not list((tmp_path / "registry").glob("acme/*/index.json"))
