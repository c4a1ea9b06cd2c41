"""index.json as a value."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipgraph.errors import MalformedDocument
from shipgraph.oci.manifest import build_artifact
from shipgraph.oci.media_types import ANNOTATION_REF_NAME, IMAGE_MANIFEST
from shipgraph.store.disk.layout import LayoutIndex

MANIFESTS = [build_artifact("application/x", [], annotations={"n": str(number)}) for number in range(4)]
names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True)


@given(
    st.lists(st.tuples(st.sampled_from(MANIFESTS), st.none() | names)),
    st.lists(st.sampled_from(MANIFESTS)),
    st.lists(names),
)
def test_what_is_written_is_read(
    puts: list[tuple[object, str | None]], deletions: list[object], untagged: list[str]
) -> None:
    index = LayoutIndex()
    for manifest, tag in puts:
        index = index.with_manifest(manifest, tag)  # type: ignore[arg-type]
        assert index.with_manifest(manifest, tag) is index  # type: ignore[arg-type]
    for manifest in deletions:
        index = index.without_manifest(str(manifest.digest))  # type: ignore[attr-defined]
    for tag in untagged:
        index = index.without_tag(tag)
    again = LayoutIndex.parse(index.encode(), where="index.json")
    assert dict(again.manifests) == dict(index.manifests)
    assert dict(again.tags) == dict(index.tags)
    assert again.encode() == LayoutIndex.parse(again.encode(), where="again").encode()


@given(
    st.binary() | st.recursive(st.none() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
)
def test_anything_else_is_refused_or_empty(thing: object) -> None:
    raw = thing if isinstance(thing, bytes) else json.dumps(thing).encode()
    try:
        index = LayoutIndex.parse(raw, where="index.json")
    except MalformedDocument:
        return
    assert not index.manifests


def test_an_empty_index_is_a_valid_one() -> None:
    document = json.loads(LayoutIndex().encode())
    assert document == {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [],
    }


def test_what_others_wrote_is_kept() -> None:
    digest = f"sha256:{'a' * 64}"
    entry = {
        "mediaType": IMAGE_MANIFEST,
        "digest": digest,
        "size": 7,
        "platform": {"os": "linux", "architecture": "amd64", "os.features": ["x"]},
        "annotations": {ANNOTATION_REF_NAME: "docker.io/library/debian:stable", "other": "kept"},
    }
    raw = json.dumps({"schemaVersion": 2, "manifests": [entry], "annotations": {"a": "b"}}).encode()
    index = LayoutIndex.parse(raw, where="index.json")
    assert index.tags == {}
    changed = index.with_manifest(MANIFESTS[0], "mine")
    document = json.loads(changed.encode())
    assert entry in document["manifests"]
    assert document["annotations"] == {"a": "b"}
    assert json.loads(index.without_manifest(digest).encode())["manifests"] == []


@pytest.mark.parametrize("digest", ["sha256:x", "../../etc", f"md5:{'0' * 32}"])
def test_wrong_digests_are_refused(digest: str) -> None:
    raw = json.dumps({"manifests": [{"mediaType": "m", "digest": digest, "size": 1}]}).encode()
    with pytest.raises(MalformedDocument):
        LayoutIndex.parse(raw, where="index.json")
