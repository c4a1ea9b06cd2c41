"""`shipgraph copy`: locations, and copies between registries and layouts with all that refers to them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from shipgraph.embedded.serving import serve
from shipgraph.engine.copying import Copied, Location, copy, opened
from shipgraph.errors import ConfigurationError, InvalidReference, NotFound
from shipgraph.oci import media_types
from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import EMPTY_CONFIG, ImageIndex, ImageManifest, build_artifact, build_index
from shipgraph.store.content import from_bytes
from shipgraph.store.disk import DiskStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shipgraph.store.protocols import Store

LAYERS = [bytes([65 + n]) * (1000 * (n + 1)) for n in range(3)]
BLOBS = [Descriptor.of(media_types.LAYER_TAR, layer) for layer in LAYERS]
PLATFORMS = [build_artifact(f"application/vnd.platform{n}", BLOBS[: n + 1]) for n in range(2)]
INNER = build_index([PLATFORMS[1].descriptor])
INDEX = build_index([PLATFORMS[0].descriptor, INNER.descriptor])
SIGNATURE = build_artifact("application/vnd.signature", [], subject=INDEX.descriptor)
SBOM = build_artifact("application/vnd.sbom", [BLOBS[2]], subject=PLATFORMS[1].descriptor)
ABOUT = build_artifact("application/vnd.about", [], subject=SBOM.descriptor)
MANIFESTS: tuple[ImageManifest | ImageIndex, ...] = (*PLATFORMS, INNER, INDEX, SIGNATURE, SBOM, ABOUT)


async def fill(store: Store, repository: str) -> None:
    for content in (EMPTY_CONFIG, *LAYERS):
        descriptor = Descriptor.of(media_types.LAYER_TAR, content)
        await store.push_blob(repository, descriptor, from_bytes(content))
    for manifest in MANIFESTS:
        await store.push_manifest(repository, manifest)
    await store.tag(repository, "v1", INDEX)


async def run(source: str, target: str, *, referrers: bool = True, dry_run: bool = False) -> Copied:
    where, to = Location.parse(source), Location.parse(target)
    async with opened(where, to) as (origin, destination):
        return await copy(origin, where, destination, to, referrers=referrers, dry_run=dry_run)


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[str]:
    store = DiskStore(tmp_path / "registry", durable=False)
    await fill(store, "acme/x")
    async with serve(store) as address:
        yield address


@pytest.mark.parametrize(
    ("text", "repository", "folder", "tag"),
    [
        ("ghcr.io/acme/x", "acme/x", None, None),
        ("127.0.0.1:5000/acme/x:v1", "acme/x", None, "v1"),
        ("oci:some/Folder", "layout", "some/Folder", None),
        ("oci:some/Folder:v1", "layout", "some/Folder", "v1"),
        ("oci:C:/x", "layout", "C:/x", None),
    ],
)
def test_locations(text: str, repository: str, folder: str | None, tag: str | None) -> None:
    location = Location.parse(text)
    assert location.repository == repository
    assert location.folder == (None if folder is None else Path(folder))
    assert location.tag == tag
    digest = Digest.of(b"")
    assert Location.parse(f"{text}@{digest}").digest == digest


@pytest.mark.parametrize(
    "text", ["", "x", "acme/x", "oci:", "oci::v1", "oci:x@", "oci:x@sha256:1", "ghcr.io/Acme/x", "ghcr.io/"]
)
def test_no_locations(text: str) -> None:
    with pytest.raises(InvalidReference):
        Location.parse(text)


async def test_registry_to_registry_with_all_that_refers(registry: str, tmp_path: Path) -> None:
    async with serve(DiskStore(tmp_path / "other", durable=False)) as other:
        copied = await run(f"{registry}/acme/x:v1", f"{other}/copy/y")
        assert copied.root.digest == INDEX.digest
        assert (copied.tag, copied.referrers, copied.sent.manifests) == ("v1", 3, 7)
        target = DiskStore(tmp_path / "other")
        assert await target.tags("copy/y") == ["v1"]
        for manifest in MANIFESTS:
            assert (await target.manifest("copy/y", manifest.digest)).raw == manifest.raw
        assert [one.digest for one in await target.referrers("copy/y", SBOM.digest)] == [ABOUT.digest]
        again = await run(f"{registry}/acme/x:v1", f"{other}/copy/y")
        assert (again.sent.manifests, again.sent.blobs, again.sent.bytes) == (0, 0, 0)


async def test_a_dry_run_says_what_a_copy_does(registry: str, tmp_path: Path) -> None:
    async with serve(DiskStore(tmp_path / "other", durable=False)) as other:
        source, target = f"{registry}/acme/x:v1", f"{other}/copy/y:new"
        planned = await run(source, target, dry_run=True)
        assert not (tmp_path / "other").exists()
        done = await run(source, target)
        assert planned.sent.manifests == done.sent.manifests == 7
        assert planned.sent == done.sent
        assert done.sent.blobs == 4
        assert done.tag == "new"


async def test_within_a_registry_blobs_are_mounted(registry: str) -> None:
    copied = await run(f"{registry}/acme/x:v1", f"{registry}/acme/y:v2", referrers=False)
    assert (copied.sent.manifests, copied.sent.blobs, copied.referrers) == (4, 0, 0)


async def test_through_a_layout_and_back(registry: str, tmp_path: Path) -> None:
    layout = f"oci:{tmp_path / 'A Layout'}"
    await run(f"{registry}/acme/x@{INDEX.digest}", f"{layout}:v1")
    async with serve(DiskStore(tmp_path / "other", durable=False)) as other:
        copied = await run(layout, f"{other}/z:v9")
        assert copied.root.digest == INDEX.digest
        assert copied.referrers == 3
        assert await DiskStore(tmp_path / "other").tags("z") == ["v9"]


async def test_one_manifest_by_digest_without_a_tag(registry: str, tmp_path: Path) -> None:
    layout = f"oci:{tmp_path / 'layout'}"
    copied = await run(f"{registry}/acme/x@{PLATFORMS[0].digest}", layout, referrers=False)
    assert copied.tag is None
    assert (await run(layout, f"{registry}/acme/z", referrers=False)).root.digest == PLATFORMS[0].digest
    with pytest.raises(ConfigurationError, match="no copy makes it"):
        await run(layout, f"{registry}/acme/z@{INDEX.digest}")


async def test_what_is_not_there(registry: str, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        await run(f"{registry}/acme/x:nope", f"{registry}/acme/y")
    with pytest.raises(ConfigurationError, match="no OCI image layout"):
        await run(f"oci:{tmp_path}", f"{registry}/acme/y")
    await run(f"{registry}/acme/x:v1", f"oci:{tmp_path / 'l'}:a")
    await run(f"{registry}/acme/x:v1", f"oci:{tmp_path / 'l'}:b")
    with pytest.raises(ConfigurationError, match="say which"):
        await run(f"oci:{tmp_path / 'l'}", f"{registry}/acme/y")


async def test_the_command(registry: str, tmp_path: Path) -> None:
    async def invoke(*arguments: str) -> dict[str, object]:
        program = "from shipgraph.cli.main import main; main()"
        result = await anyio.run_process([sys.executable, "-c", program, "copy", "--json", *arguments])
        document: dict[str, object] = json.loads(result.stdout)
        return document

    layout = f"oci:{tmp_path / 'layout'}"
    planned = await invoke("--dry-run", f"{registry}/acme/x:v1", layout)
    done = await invoke(f"{registry}/acme/x:v1", layout)
    assert {**planned, "dryRun": False, "sent": None} == {**done, "sent": None}
    assert done["digest"] == str(INDEX.digest)
