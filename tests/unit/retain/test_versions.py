"""What a manifest says to retention, read out of what the rest of the program really writes."""

from __future__ import annotations

import json

import pytest

from shipgraph.channel.journal import JOURNAL_TYPE
from shipgraph.channel.metadata import ChannelMetadata, ImageEntry, PayloadEntry, encode_metadata
from shipgraph.consume.archive import Bounds
from shipgraph.errors import MalformedDocument
from shipgraph.evidence.bundle import BUNDLE_TYPE
from shipgraph.evidence.predicates import GATE
from shipgraph.evidence.referrers import ANNOTATION_PREDICATE
from shipgraph.oci import media_types
from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import build_artifact, build_index
from shipgraph.payload.files import Member, PayloadImage
from shipgraph.payload.sbom import build_sbom
from shipgraph.records.builds import BuildRecord, encode_build
from shipgraph.records.document import build_document
from shipgraph.retain.versions import ArtifactTypes, Name, describe, document_layer

TYPES = ArtifactTypes(metadata="application/vnd.demo.metadata.v1+json", payload="application/vnd.demo.payload.v1")
ONE, TWO = (str(Digest.of(content)) for content in (b"one", b"two"))


def metadata(repository: str = "ghcr.io/acme/app", payload: bool = True) -> ChannelMetadata:
    return ChannelMetadata(
        channel="dev",
        version="dev",
        immutable_tag=f"sha-{'a' * 40}",
        moving_tags=("dev",),
        images=(ImageEntry(image="app", repository=repository, digest=ONE),),
        payload=PayloadEntry(ref=f"ghcr.io/acme/demo-payload:dev@{TWO}", digest=TWO) if payload else None,
        generated_at="2026-01-01T00:00:00Z",
        serial=1,
        commit="a" * 40,
        expires_at="2026-02-01T00:00:00Z",
    )


@pytest.mark.parametrize("repository", ["ghcr.io/acme/app", "localhost:5000/acme/app", "acme/app"])
def test_metadata_names_its_images_and_payload_wherever_it_was_copied_from(repository: str) -> None:
    document = encode_metadata(metadata(repository), TYPES.metadata)
    assert document_layer(document.manifest, TYPES) == document.manifest.layers[0]
    node = describe(document.manifest, TYPES, document.content)
    assert node.names == (Name("acme/app", ONE), Name("acme/demo-payload", TWO))
    assert node.release == f"sha-{'a' * 40}"


def test_metadata_of_a_project_without_a_payload_names_its_images() -> None:
    document = encode_metadata(metadata(payload=False), TYPES.metadata)
    assert describe(document.manifest, TYPES, document.content).names == (Name("acme/app", ONE),)


def test_a_build_record_names_what_was_built_and_nothing_that_it_was_built_from() -> None:
    record = BuildRecord(
        inputs="0" * 64,
        image="app",
        repository="acme/app",
        platform="linux/amd64",
        digest=ONE,
        media_type=media_types.IMAGE_MANIFEST,
        size=1,
        builder="buildx",
        parent=TWO,
    )
    document = encode_build(record)
    assert describe(document.manifest, TYPES, document.content).names == (Name("acme/app", ONE),)


def test_a_payload_names_the_images_in_its_bill_of_materials() -> None:
    images = [PayloadImage("app", "app", Digest.parse(ONE)), PayloadImage("base", "demo-base", Digest.parse(TWO))]
    sbom = build_sbom("demo", [Member("a.txt", 1, "0" * 64, False)], images, archive=ONE, timestamp=0)
    layers = [
        Descriptor("application/vnd.demo.payload.layer.v1+gzip", Digest.parse(ONE), 10),
        Descriptor.of(media_types.CYCLONEDX_JSON, sbom),
    ]
    manifest = build_artifact(TYPES.payload, layers)
    assert document_layer(manifest, TYPES) == layers[1]
    assert describe(manifest, TYPES, sbom).names == (Name("*/app", ONE), Name("*/demo-base", TWO))


def test_evidence_tells_its_subject_and_its_label() -> None:
    subject = Descriptor(media_types.IMAGE_MANIFEST, Digest.parse(ONE), 5)
    manifest = build_artifact(
        BUNDLE_TYPE, [Descriptor.of(BUNDLE_TYPE, b"bundle")], annotations={ANNOTATION_PREDICATE: GATE}, subject=subject
    )
    node = describe(manifest, TYPES)
    assert (node.subject, node.predicate, node.artifact_type) == (ONE, GATE, BUNDLE_TYPE)
    assert [blob.size for blob in node.blobs] == [2, 6]


def test_an_index_tells_its_children() -> None:
    index = build_index([Descriptor(media_types.IMAGE_MANIFEST, Digest.parse(one), 5) for one in (ONE, TWO)])
    node = describe(index, TYPES)
    assert (node.media_type, node.children, node.blobs) == (media_types.IMAGE_INDEX, (ONE, TWO), ())


def test_the_sbom_of_as_many_files_as_a_consumer_unpacks_is_opened() -> None:
    layers = (Descriptor("application/vnd.demo", Digest.parse(ONE), 5),
              Descriptor(media_types.CYCLONEDX_JSON, Digest.parse(TWO), 470 * Bounds().most_entries))  # fmt: skip
    assert document_layer(build_artifact(TYPES.payload, layers), TYPES) == layers[1]


def test_a_document_is_opened_only_if_it_names_something() -> None:
    journal = build_document(JOURNAL_TYPE, {"big": "x" * 1000}, title="journal.json")
    assert document_layer(journal.manifest, TYPES) is None
    assert describe(journal.manifest, TYPES).names == ()


def test_metadata_that_cant_be_understood_is_an_error_and_not_empty() -> None:
    document = build_document(TYPES.metadata, {"channel": "dev"}, title="channels.json")
    with pytest.raises(MalformedDocument, match="acme/demo@x"):
        describe(document.manifest, TYPES, document.content, where="acme/demo@x")
    with pytest.raises(MalformedDocument, match="was not read"):
        describe(document.manifest, TYPES)
    two = build_artifact(TYPES.metadata, [Descriptor.of(media_types.JSON, content) for content in (b"1", b"2")])
    with pytest.raises(MalformedDocument, match="2 documents instead of one"):
        describe(two, TYPES, b"1")


def test_metadata_from_before_there_were_serials_names_its_images_too() -> None:
    old = {
        "channel": "dev",
        "version": "dev",
        "immutable_tag": f"sha-{'a' * 40}",
        "moving_tags": ["dev"],
        "images": [{"image": "app", "repository": "ghcr.io/acme/app", "digest": ONE}],
        "payload": {"ref": f"ghcr.io/acme/demo-payload:dev@{TWO}", "digest": TWO},
        "generated_at": "2025-11-22T12:41:00Z",
    }
    document = build_document(TYPES.metadata, old, title="channels.json", layer_type=media_types.JSON)
    node = describe(document.manifest, TYPES, document.content)
    assert node.names == (Name("acme/app", ONE), Name("acme/demo-payload", TWO))


def test_a_payload_that_somebody_else_made_may_name_no_image() -> None:
    bare = build_artifact(TYPES.payload, [Descriptor.of("application/x", b"1")])
    assert document_layer(bare, TYPES) is None
    assert describe(bare, TYPES).names == ()
    components = [{"type": "container", "name": "app", "version": "sha-1234"}, {"type": "library", "name": "x"}]
    sbom = json.dumps({"components": components}).encode()
    manifest = build_artifact(TYPES.payload, [Descriptor.of(media_types.CYCLONEDX_JSON, sbom)])
    assert describe(manifest, TYPES, sbom).names == ()


@pytest.mark.parametrize(
    ("repository", "digest"), [("acme/../app", ONE), ("acme/app", "sha256:x"), ("acme/app?n=1", ONE), ("", ONE)]
)
def test_a_name_that_cant_be_one_is_an_error(repository: str, digest: str) -> None:
    document = build_document(
        TYPES.metadata, {"images": [{"repository": repository, "digest": digest}]}, title="channels.json"
    )
    with pytest.raises(MalformedDocument, match="here: "):
        describe(document.manifest, TYPES, document.content, where="here")


@pytest.mark.parametrize("content", [b"", b"[]", json.dumps({"components": [{"type": 1}]}).encode()])
def test_a_payloads_bill_of_materials_that_cant_be_understood_is_an_error(content: bytes) -> None:
    manifest = build_artifact(TYPES.payload, [Descriptor.of(media_types.CYCLONEDX_JSON, content)])
    with pytest.raises(MalformedDocument):
        describe(manifest, TYPES, content)


def test_an_absurdly_large_document_is_not_opened() -> None:
    layer = Descriptor(media_types.JSON, Digest.parse(ONE), 1 << 40)
    with pytest.raises(MalformedDocument, match="has 1099511627776 bytes"):
        document_layer(build_artifact(TYPES.metadata, [layer]), TYPES)
