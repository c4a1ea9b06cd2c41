"""`shipgraph resolve` and `pull` as a user runs them, on a rehearsal's registry that is signed with the local key."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import anyio
import pytest
from click.testing import CliRunner
from tests.unit.cli.test_documents import documented, members
from tests.unit.engine.world import World, make_world

from shipgraph.channel.metadata import decode_metadata
from shipgraph.cli.main import main
from shipgraph.embedded.serving import serve
from shipgraph.engine.attesting import attest_metadata, attest_release
from shipgraph.engine.signing import open_signing
from shipgraph.engine.workspace import Workspace
from shipgraph.records.document import read_document
from shipgraph.remote.store import RemoteStore
from shipgraph.store.disk import DiskStore

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Path]:
    """A release in the registry of a folder; its metadata and payload have their provenance."""
    world = make_world(tmp_path_factory.mktemp("signed") / "demo")
    root = world.folder / ".shipgraph" / "registry"

    async def publish() -> None:
        async with serve(DiskStore(root)) as address, RemoteStore(address) as store:
            published = await world.publish(target=store, rehearsal=True)
            release, digest = published.release, published.metadata
            assert digest is not None
            signing = open_signing(release, Workspace.of(world.folder), address)
            await attest_release(
                release, published.revision, target=store, signing=signing, run="1", emit=lambda event: None
            )
            document = await read_document(
                store, release.metadata_repository, digest, release.project.metadata.artifact_type
            )
            metadata = decode_metadata(document.content, where="it")
            await attest_metadata(
                release, "dev", metadata, document.manifest, target=store, host=address, signing=signing, run="1"
            )

    anyio.run(publish)
    return world, root


def call(signed: tuple[World, Path], *words: str) -> Result:
    world, root = signed
    return CliRunner().invoke(main, [*words, "--project", str(world.folder), "--root", str(root)])


def test_resolve_prints_what_was_verified(signed: tuple[World, Path]) -> None:
    done = call(signed, "resolve", "dev", "--format", "env")
    assert done.exit_code == 0, done.stderr
    assert "IMAGE_APP=registry.example/acme/demo-app@sha256:" in done.stdout
    found = json.loads(call(signed, "resolve", "dev", "--json").stdout)
    assert found["signer"] == "key local"
    assert members(found) == documented()["resolve"]
    assert "services:" in call(signed, "resolve", "dev", "--format", "compose").stdout


def test_pull_installs(signed: tuple[World, Path], tmp_path: Path) -> None:
    done = call(signed, "pull", "dev", "--dir", str(tmp_path), "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert members(found) == documented()["pull"]
    assert (tmp_path / "current" / "run").read_text() == "#!/bin/sh\n"
    assert "was installed already" in call(signed, "pull", "dev", "--dir", str(tmp_path)).stdout


def test_what_was_never_published_or_is_no_channel_is_said(signed: tuple[World, Path]) -> None:
    done = call(signed, "resolve", "nightly")
    assert (done.exit_code, "never published" in done.stderr) == (3, True)
    assert call(signed, "pull", "beta").exit_code == 2


def test_without_the_key_nothing_is_believed(signed: tuple[World, Path], tmp_path: Path) -> None:
    key = signed[0].folder / ".shipgraph" / "keys" / "signing.key"
    hidden = key.rename(tmp_path / "key")
    try:
        done = call(signed, "resolve", "dev")
    finally:
        hidden.rename(key)
    assert (done.exit_code, "can't be believed" in done.stderr) == (3, True)
