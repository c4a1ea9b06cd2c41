"""What the doctor says of a project's history and of who signs here."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import anyio
import pytest
from tests.unit.engine.world import make_world

from shipgraph.attest.key import KEY_PLACE, make_key
from shipgraph.engine.doctoring import _history, _signing
from shipgraph.engine.opening import open_view
from shipgraph.engine.workspace import Workspace
from shipgraph.setup.doctor import Finding, State

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.engine.world import World

HOST = "registry.example"
FILE = """\
[project]
name = "demo"
platforms = ["linux/amd64"]
namespace = "acme"
registry = "registry.example"
source = "https://github.com/acme/app"

[images.base]
context = "docker/base"
base = "scratch"
"""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    for name in ("SHIPGRAPH_SIGNING_KEY", "SIGSTORE_ID_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return make_world(tmp_path / "project", FILE)


async def signing(world: World, host: str = HOST) -> Finding:
    view = await open_view(world.folder, None, None)
    return await _signing(view, Workspace.of(world.folder), host)


async def test_nothing_to_sign_with_is_told_before_a_release_finds_out(world: World) -> None:
    found = await signing(world)
    assert found.state is State.FAILED
    assert "attest --print-key" in found.next
    world.write("shipgraph.toml", FILE + "\n[evidence]\nrequire = []\n")
    assert (await signing(world)).state is State.WARNING


async def test_on_a_laptop_a_workflow_may_be_who_signs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.write(".github/workflows/build-runtime-images.yml", "on: push\n")
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    assert (await signing(world)).state is State.WARNING
    make_key(Workspace.of(world.folder).root / KEY_PLACE)
    rehearsing = await signing(world)
    assert rehearsing.state is State.WARNING
    assert "for rehearsals alone" in rehearsing.detail
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert (await signing(world)).state is State.FAILED


async def test_looking_makes_no_key(world: World) -> None:
    found = await signing(world, "127.0.0.1:5000")
    assert found == Finding("signing", State.OK, "the first rehearsal makes a key")
    assert not (Workspace.of(world.folder).root / KEY_PLACE).exists()


async def test_a_key_that_the_project_does_not_trust_is_told(world: World) -> None:
    key = make_key(Workspace.of(world.folder).root / KEY_PLACE)
    found = await signing(world)
    assert found.state is State.FAILED
    assert "none that [signing] trusts" in found.detail
    public = base64.b64encode(key.public.der).decode()
    world.write("shipgraph.toml", f'{FILE}\n[[signing.keys]]\nname = "ops"\npublic = "{public}"\n')
    trusted = await signing(world)
    assert trusted.state is State.OK
    assert "the key ops from" in trusted.detail
    assert (await signing(world, "127.0.0.1:5000")).state is State.OK


async def test_keyless_needs_an_identity(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.write("shipgraph.toml", FILE + '\n[signing]\nby = "keyless"\n')
    found = await signing(world)
    assert found.state is State.WARNING
    assert "id-token: write" in found.next
    monkeypatch.setenv("SIGSTORE_ID_TOKEN", "a.job's.token")
    there = await signing(world)
    assert there.state is State.OK
    assert "a.job's.token" not in there.detail


async def test_a_shallow_clone_can_not_tell_whether_a_channel_is_ahead(world: World, tmp_path: Path) -> None:
    world.write("more", "more")
    world.commit()
    shallow = tmp_path / "shallow"
    await anyio.run_process(["git", "clone", "--quiet", "--depth", "1", f"file://{world.folder}", str(shallow)])
    found = await _history(await open_view(shallow, None, None))
    assert found.state is State.FAILED
    assert "fetch-depth: 0" in found.next


async def test_a_dirty_tree_and_a_whole_history(world: World) -> None:
    assert (await _history(await open_view(world.folder, None, None))).state is State.OK
    world.write("docker/base/hello", "changed")
    assert (await _history(await open_view(world.folder, None, None))).state is State.WARNING
