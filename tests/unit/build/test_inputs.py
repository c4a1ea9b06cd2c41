"""The inputs hash: every component counts, and only these."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shipgraph.build.inputs import Inputs, index_inputs, platform_inputs
from shipgraph.oci.platform import Platform

AMD64 = Platform("linux", "amd64")
BASIS: dict[str, Any] = {
    "image": "base",
    "platform": AMD64,
    "dockerfile": b"FROM scratch\n",
    "context": "1" * 64,
    "arguments": {"A": "1", "B": "2"},
    "parent": "",
    "base": "sha256:" + "2" * 64,
    "labels": {"k": "v"},
    "annotations": {"k": "v"},
    "secrets": ("ca",),
    "epoch": 3,
}
CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"image": "other"}, "the image's key"),
    ({"platform": Platform("linux", "arm64")}, "the platform"),
    ({"dockerfile": b"FROM scratch"}, "the Dockerfile"),
    ({"context": "0" * 64}, "files of the context"),
    ({"arguments": {"A": "1"}}, "build arguments"),
    ({"base": "sha256:" + "3" * 64}, "the base image"),
    ({"labels": {}}, "labels"),
    ({"annotations": {}}, "annotations"),
    ({"secrets": ()}, "the declared build secrets"),
    ({"epoch": 4}, "its maximum age"),
]


def test_every_component_counts_and_is_named() -> None:
    basis = platform_inputs(**BASIS)
    assert basis.changes(basis.components) == ()
    hashes = {basis.hash}
    for change, word in CHANGES:
        changed = platform_inputs(**{**BASIS, **change})
        assert changed.changes(basis.components) == (word,)
        hashes.add(changed.hash)
    assert len(hashes) == len(CHANGES) + 1


def test_a_parent_is_not_a_base() -> None:
    parent = platform_inputs(**{**BASIS, "base": "", "parent": BASIS["base"]})
    assert parent.hash != platform_inputs(**BASIS).hash
    assert set(parent.changes(platform_inputs(**BASIS).components)) == {"the base image", "the parent image"}


def test_the_hash_stays() -> None:
    """A changed value here means that no image of any release is reused: raise FORMAT, and say so in the changelog."""
    assert platform_inputs(**BASIS).hash == "90b19a6c013b0c99f643a73c110f9a7af7cba5f38c44cd2d34f450e2b2580888"
    index = index_inputs(image="base", platforms={AMD64: "4" * 64}, annotations={"k": "v"})
    assert index.hash == "8152ecb2c9422dda1161b66dbffcac511053d43c73fd09322d3ce77b08500985"


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=5))
def test_order_does_not_count(arguments: dict[str, str]) -> None:
    reordered = dict(reversed(arguments.items()))
    one = platform_inputs(**{**BASIS, "arguments": arguments})
    assert one.hash == platform_inputs(**{**BASIS, "arguments": reordered}).hash


@given(
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
)
def test_no_two_argument_lists_collide(one: dict[str, str], other: dict[str, str]) -> None:
    same = platform_inputs(**{**BASIS, "arguments": one}).hash == platform_inputs(**{**BASIS, "arguments": other}).hash
    assert same == (one == other)


def test_components_are_the_hash() -> None:
    basis = platform_inputs(**BASIS)
    assert Inputs(dict(reversed(list(basis.components.items())))).hash == basis.hash
