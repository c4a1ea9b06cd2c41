"""One layout as a store: written by shipgraph, or by others, who list an index and not its children."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from shipgraph.errors import NotFound
from shipgraph.oci import media_types
from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import EMPTY_CONFIG, EMPTY_DESCRIPTOR, ImageIndex, build_artifact, build_index
from shipgraph.store.content import from_bytes, read_blob
from shipgraph.store.disk.layout_store import LayoutStore

if TYPE_CHECKING:
    from pathlib import Path

CHILDREN = [build_artifact(f"application/vnd.child{n}", [EMPTY_DESCRIPTOR]) for n in range(2)]
INDEX = build_index([child.descriptor for child in CHILDREN])


def foreign(path: Path, *, tag: str | None) -> LayoutStore:
    """As skopeo writes it."""
    blobs = path / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for content in (EMPTY_CONFIG, INDEX.raw, *(child.raw for child in CHILDREN)):
        (blobs / Digest.of(content).hex).write_bytes(content)
    entry = INDEX.descriptor.to_json()
    if tag is not None:
        entry["annotations"] = {media_types.ANNOTATION_REF_NAME: tag}
    (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return LayoutStore(path)


async def test_one_of_others(tmp_path: Path) -> None:
    store = foreign(tmp_path / "Some Folder", tag="v1")
    found = await store.resolve("any", "v1")
    assert found is not None
    index = await store.manifest("any", found.digest)
    assert isinstance(index, ImageIndex)
    for child in index.manifests:
        assert (await store.manifest("any", child.digest)).digest == child.digest
    assert await read_blob(store, "any", EMPTY_DESCRIPTOR) == EMPTY_CONFIG
    assert await store.roots() == []
    with pytest.raises(NotFound):
        await store.manifest("any", Digest.of(b"absent"))


async def test_without_a_tag_the_root_is_found(tmp_path: Path) -> None:
    assert await foreign(tmp_path / "x", tag=None).roots() == [str(INDEX.digest)]


async def test_a_layout_that_can_only_be_read(tmp_path: Path) -> None:
    store = foreign(tmp_path / "x", tag="v1")
    (tmp_path / "x" / ".shipgraph").write_text("in the way")
    assert await store.referrers("any", INDEX.digest) == ()


async def test_writing(tmp_path: Path) -> None:
    store = LayoutStore(tmp_path / "new" / "layout")
    blob = Descriptor.of(media_types.LAYER_TAR, b"layer")
    await store.push_blob("any", EMPTY_DESCRIPTOR, from_bytes(EMPTY_CONFIG))
    await store.push_blob("any", blob, from_bytes(b"layer"))
    manifest = build_artifact("application/vnd.x", [blob])
    await store.tag("any", "v1", manifest)
    again = LayoutStore(tmp_path / "new" / "layout")
    assert await again.tags("any") == ["v1"]
    assert await again.roots() == []
