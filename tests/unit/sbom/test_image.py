"""The SBOM of an image: the last layer's word, whiteouts, the same bytes, valid by the schema, found as a referrer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.scan.images import AMD64, Blob, layer, push_image

from shipgraph.errors import DigestMismatch, MalformedDocument
from shipgraph.events import silent
from shipgraph.oci import media_types
from shipgraph.oci.manifest import ImageManifest
from shipgraph.sbom.stage import SbomMaker
from shipgraph.store.decorators.counted import Counted
from shipgraph.store.memory import MemoryStore

REPOSITORY = "acme/app"
OS = b'ID=debian\nVERSION_ID="12"\n'


def dpkg(**versions: str) -> bytes:
    return "".join(
        f"Package: {name}\nStatus: install ok installed\nVersion: {version}\nArchitecture: amd64\n\n"
        for name, version in versions.items()
    ).encode()


def npm(name: str, version: str = "1.0.0") -> bytes:
    return json.dumps({"name": name, "version": version}).encode()


async def made(*layers: dict[str, bytes | None]) -> dict[str, Any]:
    store = MemoryStore()
    image = await push_image(store, REPOSITORY, [layer(files) for files in layers])
    document: dict[str, Any] = json.loads(await SbomMaker().make(store, REPOSITORY, image, AMD64))
    return document


def purls(document: dict[str, Any]) -> list[str]:
    return sorted(component["purl"] for component in document.get("components", []) if "purl" in component)


BASE: dict[str, bytes | None] = {
    "usr/lib/os-release": OS,
    "var/lib/dpkg/status": dpkg(bash="5.1", libc6="2.36"),
    "srv/node_modules/a/package.json": npm("a"),
    "srv/node_modules/b/package.json": npm("b"),
    "srv/node_modules/b/node_modules/a/package.json": npm("a"),
    "opt/x/y-2.dist-info/METADATA": b"Name: y\nVersion: 2\n",
}
BASH, LIBC = (f"pkg:deb/debian/{name}?arch=amd64&distro=debian-12" for name in ("bash@5.1", "libc6@2.36"))
A2 = "pkg:npm/a@2.0.0"
A, B, C, Y = "pkg:npm/a@1.0.0", "pkg:npm/b@1.0.0", "pkg:npm/c@1.0.0", "pkg:pypi/y@2"


async def test_all_kinds() -> None:
    document = await made(BASE)
    assert purls(document) == [BASH, LIBC, A, B, Y]
    (a,) = [component for component in document["components"] if component["name"] == "a"]
    assert [place["location"] for place in a["evidence"]["occurrences"]] == [
        "srv/node_modules/a/package.json",
        "srv/node_modules/b/node_modules/a/package.json",
    ]
    (system,) = [c for c in document["components"] if c["type"] == "operating-system"]
    assert (system["name"], system["version"]) == ("debian", "12")
    root = document["metadata"]["component"]
    assert root["version"].startswith("sha256:")
    assert document["metadata"]["timestamp"] == "2024-02-03T04:05:06+00:00"


@pytest.mark.parametrize(
    ("upper", "left"),
    [
        ({"var/lib/dpkg/status": dpkg(bash="5.1")}, [BASH, A, B, Y]),
        ({"srv/node_modules/.wh.b": b""}, [BASH, LIBC, A, Y]),
        ({"srv/.wh..wh..opq": b"", "srv/node_modules/c/package.json": npm("c")}, [BASH, LIBC, C, Y]),
        ({".wh..wh..opq": b""}, []),
        ({"srv": b"a file where a folder was"}, [BASH, LIBC, "pkg:pypi/y@2"]),
        ({"./srv/node_modules/a/package.json": npm("a", "2.0.0"), "opt/.wh.x": b""}, [BASH, LIBC, A, A2, B]),
        ({"srv/node_modules/b/package.json": b"broken"}, [BASH, LIBC, A, Y]),
    ],
    ids=["rewritten", "whiteout", "opaque", "opaque root", "replaced folder", "another version", "broken"],
)  # fmt: skip
async def test_a_later_layer_has_the_last_word(upper: dict[str, bytes | None], left: list[str]) -> None:
    assert purls(await made(BASE, upper)) == left


async def test_a_deletion_does_not_reach_what_its_own_layer_adds() -> None:
    upper: dict[str, bytes | None] = {
        "srv/node_modules/a/package.json": npm("a", "3.0.0"),
        "srv/node_modules/a/.wh..wh..opq": b"",
    }
    assert "pkg:npm/a@3.0.0" in purls(await made(BASE, upper))


async def test_an_image_without_packages_has_an_empty_sbom() -> None:
    document = await made({"app": b"x"})
    assert purls(document) == []
    assert document["metadata"]["component"]["type"] == "container"


async def test_the_same_image_makes_the_same_bytes_and_they_are_valid() -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    store = MemoryStore()
    image = await push_image(store, REPOSITORY, [layer(BASE)])
    first = await SbomMaker().make(store, REPOSITORY, image, AMD64)
    assert first == await SbomMaker().make(store, REPOSITORY, image, AMD64)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(first.decode()) is None


async def test_attached_once_as_a_referrer() -> None:
    store = Counted(MemoryStore())
    image = await push_image(store, REPOSITORY, [layer(BASE)])
    maker = SbomMaker()
    first = await maker.attach(store, REPOSITORY, image, AMD64, emit=silent)
    (found,) = await store.referrers(REPOSITORY, image.digest, media_types.CYCLONEDX_JSON)
    assert found.digest == first.digest
    artifact = await store.manifest(REPOSITORY, first.digest)
    assert isinstance(artifact, ImageManifest)
    assert artifact.subject is not None
    assert artifact.subject.digest == image.digest
    assert artifact.layers[0].media_type == "application/vnd.cyclonedx+json"
    writes = len(store.writes)
    assert (await SbomMaker().attach(store, REPOSITORY, image, AMD64, emit=silent)).digest == first.digest
    assert len(store.writes) == writes


async def test_a_shared_layer_is_read_once() -> None:
    store = Counted(MemoryStore())
    base = layer(BASE)
    first = await push_image(store, REPOSITORY, [base])
    second = await push_image(store, REPOSITORY, [base, layer({"x": b"y"})])
    maker = SbomMaker()
    before = store.count("blob")
    for image in (first, second):
        await maker.make(store, REPOSITORY, image, AMD64)
    assert store.count("blob") - before == 2 + 2  # two configurations, two layers


@pytest.mark.parametrize(
    "content", [b"no archive", layer(BASE).content[:-30], b"\x1f\x8b\x08" + b"x" * 50], ids=["text", "cut", "broken"]
)
async def test_a_layer_that_cant_be_read_is_an_error(content: bytes) -> None:
    store = MemoryStore()
    image = await push_image(store, REPOSITORY, [Blob(content)])
    with pytest.raises(MalformedDocument):
        await SbomMaker().make(store, REPOSITORY, image, AMD64)


async def test_a_forged_layer_is_an_error() -> None:
    store = MemoryStore()
    blob = layer({"a": b"b"})
    image = await push_image(store, REPOSITORY, [blob])
    store._blobs[REPOSITORY, blob.descriptor.digest] = layer({"a": b"c"}).content
    with pytest.raises(DigestMismatch):
        await SbomMaker().make(store, REPOSITORY, image, AMD64)
