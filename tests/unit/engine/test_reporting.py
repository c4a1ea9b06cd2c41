"""The page of a release that was really published: what it shows is what the registry holds."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import anyio
import pytest
from click.testing import CliRunner
from tests.unit.engine.world import IMAGES, World, make_signed_world

from shipgraph.cli.main import main
from shipgraph.embedded.serving import serve
from shipgraph.engine.opening import open_target, open_view
from shipgraph.engine.reporting import describe, gather_facts
from shipgraph.engine.workspace import Workspace
from shipgraph.errors import NotFound
from shipgraph.evidence.requirements import Kind
from shipgraph.oci.manifest import ImageIndex, ImageManifest
from shipgraph.records.document import push_document
from shipgraph.records.prune import RETENTION, Done, Outcome, PrunedVersion, PruneRecord, encode_prune
from shipgraph.remote.store import RemoteStore
from shipgraph.report.page import render
from shipgraph.store.disk import DiskStore

if TYPE_CHECKING:
    from pathlib import Path

    from shipgraph.report.facts import ReleaseFacts

PRUNE = PruneRecord(
    project="demo",
    run="prune-1",
    by="run 7",
    began_at="2026-11-24T07:00:00Z",
    ended_at="2026-11-24T07:01:00Z",
    outcome=Outcome.COMPLETE,
    versions=(PrunedVersion(repository="acme/demo-app", digest="sha256:" + "0" * 64, done=Done.DELETED),),
    kept={"release": 3},
    freed=1000,
)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Path]:
    world = make_signed_world(tmp_path_factory.mktemp("report") / "demo")
    root = world.folder / ".shipgraph" / "registry"

    async def publish() -> None:
        async with serve(DiskStore(root)) as address, RemoteStore(address) as store:
            await world.publish(target=store, rehearsal=True)
            world.edit("docker/side/hello", "hello", "hallo")
            world.commit()
            await world.publish(target=store, rehearsal=True)
            record = encode_prune(PRUNE)
            await push_document(store, "acme/demo-metadata", record)
            await store.tag("acme/demo-metadata", RETENTION, record.manifest)

    anyio.run(publish)
    return world, root


async def facts_of(world: World, root: Path, channel: str = "dev") -> ReleaseFacts:
    view = await open_view(world.folder, None, root)
    async with open_target(view.registry, view.project, root) as (store, _, _):
        return await gather_facts(view, store, Workspace.of(world.folder), channel)


async def test_what_the_registry_holds_is_what_is_shown(published: tuple[World, Path]) -> None:
    world, root = published
    facts = await facts_of(world, root)
    assert {image.key: image.parent for image in facts.images} == {
        "base": None, "app": "base", "tool": "app", "side": "base",
    }  # fmt: skip
    store = DiskStore(root)
    for image in facts.images:
        repository = image.repository.partition("/")[2]
        found = await store.resolve(repository, "dev")
        assert found is not None
        assert image.digest == str(found.digest)
        index = await store.manifest(repository, found.digest)
        assert isinstance(index, ImageIndex)
        for platform, child in zip(image.platforms, index.manifests, strict=True):
            manifest = await store.manifest(repository, child.digest)
            assert isinstance(manifest, ImageManifest)
            assert (platform.name, platform.digest) == (str(child.platform), str(child.digest))
            assert platform.size == manifest.config.size + sum(layer.size for layer in manifest.layers)
            assert [one.kind for one in platform.evidence] == [str(kind) for kind in Kind]
    assert facts.payload is not None
    assert len(facts.payload.blobs) == 2
    assert all(blob.title for blob in facts.payload.blobs)


async def test_who_signed_and_what_is_not_there(published: tuple[World, Path]) -> None:
    facts = await facts_of(*published)
    by_kind = {one.kind: one for one in facts.images[0].platforms[0].evidence}
    assert by_kind["provenance"].signer == "key release"
    assert dict(by_kind["provenance"].details)["builder"]
    assert facts.metadata.evidence[0].signer == "key release"
    assert by_kind["test"].signer == ""
    page = render(facts)
    for words in ("✓ key release", "all checks hold", *(f"demo-{key}" for key in IMAGES)):
        assert words in page, words


async def test_history_and_the_last_clean_up(published: tuple[World, Path]) -> None:
    facts = await facts_of(*published)
    assert [(past.state, past.serial) for past in facts.history] == [("now", 2), ("before", 1)]
    assert facts.clean_up is not None
    assert (facts.clean_up.outcome, facts.clean_up.counts["deleted"], facts.clean_up.kept) == (
        "complete", 1, {"release": 3},
    )  # fmt: skip


async def test_a_channel_without_a_release_has_no_page(published: tuple[World, Path]) -> None:
    with pytest.raises(NotFound, match="nothing is published"):
        await facts_of(*published, channel="nightly")


def test_the_command_writes_one_file(published: tuple[World, Path], tmp_path: Path) -> None:
    world, root = published
    words = ["report", "--project", str(world.folder), "--root", str(root)]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.stderr
    usual = world.folder / ".shipgraph" / "report-dev.html"
    assert usual.read_text().startswith("<!DOCTYPE html>")
    done = CliRunner().invoke(main, [*words, "dev", "--output", str(tmp_path / "page.html"), "--json"])
    assert json.loads(done.stdout)["broken"] == []
    assert os.listdir(tmp_path) == ["page.html"]  # noqa: PTH208
    done = CliRunner().invoke(main, [*words, "--output", str(tmp_path / "absent" / "page.html")])
    assert done.exit_code == 2
    assert "can't be written" in done.stderr
    assert CliRunner().invoke(main, [*words, "nope"]).exit_code == 2


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize(
    "predicate",
    [
        {},
        {
            "scanner": 1,
            "scanned": [],
            "findings": None,
            "exceptions": [5],
            "passedTests": "x",
            "runDetails": {"builder": 3},
        },
    ],
)
def test_a_statement_of_another_shape_is_no_error(kind: Kind, predicate: dict[str, object]) -> None:
    describe(kind, predicate)


def test_what_statements_say() -> None:
    gate = {
        "scanner": {"name": "kingfisher", "version": "1.5", "rules": "7"},
        "scanned": {"blobs": 3},
        "findings": {"critical": 0, "low": 2},
        "exceptions": [{"rule": "aws", "reason": "an example", "expires": "2027-01-01"}],
    }
    assert describe(Kind.GATE, gate) == [
        ("scanner", "kingfisher 1.5, rules 7"),
        ("scanned", "3 blobs"),
        ("findings", "2 low"),
        ("exception", "aws: an example (until 2027-01-01)"),
    ]
    assert describe(Kind.TEST, {"passedTests": ["a"], "warnedTests": ["b"], "failedTests": []}) == [
        ("passed", "a"), ("warned", "b"),
    ]  # fmt: skip
