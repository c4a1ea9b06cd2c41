"""References, digests, descriptors, manifests, indexes and headers: whatever comes in, a value or an error by cause."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shipgraph.embedded.headers import Condition, Unsatisfiable, parse_content_range, parse_range
from shipgraph.errors import DigestMismatch, InvalidReference, MalformedDocument
from shipgraph.oci import media_types
from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.digest import Digest
from shipgraph.oci.distribution import parse_challenge, parse_next_link
from shipgraph.oci.manifest import (
    MAX_MANIFEST,
    ImageIndex,
    ImageManifest,
    build_artifact,
    build_index,
    encode_json,
    parse_manifest,
)
from shipgraph.oci.reference import Reference, check_host, check_repository, check_tag

digests = st.one_of(
    st.binary(max_size=8).map(Digest.of),
    st.text("0123456789abcdef", min_size=128, max_size=128).map(lambda text: Digest("sha512", text)),
)
components = st.from_regex(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*", fullmatch=True).filter(lambda s: len(s) < 40)
repositories = st.lists(components, min_size=2, max_size=4).map("/".join)
tags = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", fullmatch=True)
hosts = st.sampled_from(["ghcr.io", "localhost", "127.0.0.1:5000", "[::1]:5000", "a-b.example:65535"])
notations = st.dictionaries(st.text(max_size=10), st.text(max_size=10), max_size=3)
descriptors = st.builds(
    Descriptor,
    st.sampled_from([media_types.LAYER_TAR, media_types.IMAGE_MANIFEST, "application/vnd.x+json"]),
    digests,
    st.integers(0, (1 << 63) - 1),
    notations,
    st.none() | st.just("application/vnd.t"),
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)


@given(hosts, repositories, st.none() | tags, st.none() | digests)
def test_a_reference_reads_back_as_it_was_written(
    host: str, repository: str, tag: str | None, digest: Digest | None
) -> None:
    reference = Reference(host, repository, tag, digest)
    assert Reference.parse(str(reference)) == reference


@given(st.text(max_size=300) | st.from_regex(r"[a-z0-9./:@_-]{1,60}", fullmatch=True))
def test_any_text_is_a_reference_or_refused(text: str) -> None:
    for parse in (Reference.parse, Digest.parse, check_repository, check_tag, check_host):
        try:
            value = parse(text)
        except InvalidReference:
            continue
        assert str(value) == text


@pytest.mark.parametrize("at", [0, 6, 7, 40, 70])
@given(st.characters())
def test_one_other_character_makes_no_digest(at: int, character: str) -> None:
    digest = str(Digest.of(b"x"))
    spoiled = digest[:at] + character + digest[at + 1 :]
    if spoiled != digest and character not in "0123456789abcdef":
        with pytest.raises(InvalidReference):
            Digest.parse(spoiled)


@given(descriptors)
def test_a_descriptor_reads_back_as_it_was_written(descriptor: Descriptor) -> None:
    assert Descriptor.from_json(json.loads(encode_json(descriptor.to_json())), where="x") == descriptor


@given(st.lists(descriptors, max_size=4), notations, st.none() | descriptors)
def test_an_artifact_reads_back_byte_for_byte(
    layers: list[Descriptor], notes: dict[str, str], subject: Descriptor | None
) -> None:
    manifest = build_artifact("application/vnd.x", layers, annotations=notes, subject=subject)
    again = parse_manifest(manifest.raw, media_type=manifest.media_type, digest=manifest.digest)
    assert again == manifest
    assert again.raw == manifest.raw
    assert isinstance(again, ImageManifest)
    assert (again.subject is None) == (subject is None)


@given(st.lists(descriptors, max_size=6), notations)
def test_an_index_reads_back_byte_for_byte(children: list[Descriptor], notes: dict[str, str]) -> None:
    index = build_index(children, annotations=notes)
    assert parse_manifest(index.raw) == index


@given(values)
def test_any_json_is_a_manifest_or_refused(value: Any) -> None:
    for document in (
        value,
        {"schemaVersion": 2, "config": value, "layers": value},
        {"schemaVersion": 2, "manifests": value},
    ):
        raw = json.dumps(document).encode()
        try:
            manifest = parse_manifest(raw)
        except (MalformedDocument, InvalidReference):
            continue
        assert manifest.digest == Digest.of(raw)
        assert manifest.raw == raw


@given(
    st.sampled_from(
        ["schemaVersion", "mediaType", "config", "layers", "annotations", "subject", "artifactType", "manifests"]
    ),
    values,
)
def test_a_member_of_another_kind_is_refused_or_kept_as_bytes(member: str, value: Any) -> None:
    document = json.loads(build_artifact("application/vnd.x", []).raw)
    document[member] = value
    raw = json.dumps(document).encode()
    with contextlib.suppress(MalformedDocument, InvalidReference):
        assert parse_manifest(raw).raw == raw


@given(st.binary(max_size=200))
def test_any_bytes_are_a_manifest_or_refused(raw: bytes) -> None:
    with pytest.raises(MalformedDocument):
        parse_manifest(raw)


@given(st.data())
@settings(max_examples=60)
def test_a_byte_changed_is_never_the_same_manifest(data: st.DataObject) -> None:
    manifest = build_artifact("application/vnd.x", [])
    at = data.draw(st.integers(0, manifest.size - 1))
    spoiled = manifest.raw[:at] + bytes([manifest.raw[at] ^ data.draw(st.integers(1, 255))]) + manifest.raw[at + 1 :]
    with pytest.raises(DigestMismatch):
        parse_manifest(spoiled, digest=manifest.digest)


@pytest.mark.parametrize("depth", [10, 1000, 100_000])
@pytest.mark.parametrize(("begin", "end"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_deeply_nested_json_is_refused(depth: int, begin: bytes, end: bytes) -> None:
    with pytest.raises(MalformedDocument):
        parse_manifest(begin * depth + b"1" + end * depth)


def test_huge_documents() -> None:
    child = Descriptor.of(media_types.IMAGE_MANIFEST, b"x")
    many = build_index([child] * 10_000)
    assert isinstance(many, ImageIndex)
    assert len(many.manifests) == 10_000
    with pytest.raises(MalformedDocument, match="more than"):
        parse_manifest(b'{"schemaVersion":2,' + b" " * MAX_MANIFEST + b"}")


@given(st.text(max_size=40) | st.from_regex(r"bytes=\d{0,20}-\d{0,20}", fullmatch=True), st.integers(0, 1 << 40))
def test_a_range_lies_inside_or_is_none(header: str, size: int) -> None:
    try:
        found = parse_range(header, size)
    except Unsatisfiable:
        return
    assert found is None or 0 <= found[0] < found[1] <= size


@given(st.text(max_size=40) | st.from_regex(r"\d{0,20}-\d{0,20}(/\d+)?", fullmatch=True))
def test_a_content_range_goes_forward_or_is_none(header: str) -> None:
    found = parse_content_range(header)
    assert found is None or 0 <= found[0] < found[1]


@given(st.none() | st.text(max_size=60), st.none() | digests)
def test_a_condition_never_matches_nothing(header: str | None, digest: Digest | None) -> None:
    condition = Condition.parse(header)
    if condition is not None and condition.matches(digest):
        assert digest is not None
        assert condition.any or str(digest) in (header or "")


@given(st.text(max_size=200) | st.from_regex(r'<[^<>]{0,20}>; ?rel="?[a-z ]{0,10}"?(, .{0,20})?', fullmatch=True))
def test_link_and_challenge_take_any_text(header: str) -> None:
    link = parse_next_link(header)
    assert link is None or f"<{link}>" in header
    for scheme in ("", "Bearer ", "Basic "):
        challenge = parse_challenge(scheme + header)
        assert challenge is None or challenge.scheme in {"bearer", "basic"}
