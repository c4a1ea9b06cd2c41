"""The registry over HTTP, request by request: distribution specification 1.1."""

from __future__ import annotations

import json
import os
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from shipgraph.oci.digest import Digest
from shipgraph.oci.distribution import parse_next_link
from shipgraph.oci.manifest import EMPTY_CONFIG, EMPTY_DESCRIPTOR, MAX_MANIFEST, build_artifact, build_index
from shipgraph.remote import RemoteStore

from .conftest import Client, codes

if TYPE_CHECKING:
    from pathlib import Path

    from shipgraph.oci.manifest import ImageManifest
    from shipgraph.store.disk import DiskStore

TYPE = "application/vnd.example.test.v1+json"
UPLOADS = "/v2/acme/one/blobs/uploads/"


def names_in(directory: Path) -> set[str]:
    return {entry.name for entry in directory.iterdir()}


def artifact(number: int = 0) -> ImageManifest:
    return build_artifact(TYPE, [], annotations={"number": str(number)})


async def put(registry: Client, manifest: ImageManifest, reference: str, **headers: str) -> int:
    answer = await registry.send(
        "PUT",
        f"/v2/acme/one/manifests/{reference}",
        manifest.raw,
        {"Content-Type": manifest.media_type, **{key.replace("_", "-"): value for key, value in headers.items()}},
    )
    return answer.status


@pytest.fixture
async def ready(registry: Client) -> Client:
    """A registry in which artifacts can be pushed to acme/one."""
    await registry.push("acme/one", EMPTY_CONFIG, str(EMPTY_DESCRIPTOR.digest))
    return registry


async def test_version_check(registry: Client) -> None:
    answer = await registry.send("GET", "/v2/")
    assert answer.status == 200
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    assert answer.headers["Shipgraph-Conditional-Put"] == "1"
    assert parsedate_to_datetime(answer.headers["Date"]).year > 2000


async def test_monolithic_upload_and_download(registry: Client) -> None:
    content = os.urandom(3_000_001)
    digest = Digest.of(content)
    answer = await registry.send("POST", UPLOADS)
    assert answer.status == 202
    assert answer.headers["Location"].startswith(UPLOADS)
    answer = await registry.send("PUT", f"{answer.headers['Location']}?digest={digest}", content)
    assert (answer.status, answer.headers["Docker-Content-Digest"]) == (201, str(digest))
    path = answer.headers["Location"]
    assert path == f"/v2/acme/one/blobs/{digest}"
    whole = await registry.send("GET", path)
    assert whole.data == content
    head = await registry.send("HEAD", path)
    assert (head.status, head.headers["Content-Length"], head.data) == (200, str(len(content)), b"")
    part = await registry.send("GET", path, headers={"Range": "bytes=1048570-1048590"})
    assert (part.status, part.data) == (206, content[1048570:1048591])
    assert part.headers["Content-Range"] == f"bytes 1048570-1048590/{len(content)}"
    beyond = await registry.send("GET", path, headers={"Range": f"bytes={len(content)}-"})
    assert beyond.status == 416
    assert beyond.headers["Content-Range"] == f"bytes */{len(content)}"


async def test_upload_in_pieces(registry: Client) -> None:
    content = os.urandom(2_500_000)
    location = (await registry.send("POST", UPLOADS)).headers["Location"]
    first, second, third = content[:1_000_000], content[1_000_000:2_000_000], content[2_000_000:]
    answer = await registry.send("PATCH", location, first, {"Content-Range": "0-999999"})
    assert (answer.status, answer.headers["Range"]) == (202, "0-999999")
    for wrong in ("0-999999", "1000001-2000000", "999999-1999998", "x", "1000000-1000005"):
        refused = await registry.send("PATCH", location, second, {"Content-Range": wrong})
        assert refused.status == 416
        assert refused.headers["Range"] == "0-999999"
        assert refused.headers["Location"] == location
    answer = await registry.send("PATCH", location, second, {"Content-Range": "1000000-1999999"})
    assert answer.status == 202
    status = await registry.send("GET", location)
    assert (status.status, status.headers["Range"]) == (204, "0-1999999")
    digest = Digest.of(content)
    headers = {"Content-Range": "2000000-2499999"}
    answer = await registry.send("PUT", f"{location}?digest={digest}", third, headers)
    assert answer.status == 201
    assert (await registry.send("GET", f"/v2/acme/one/blobs/{digest}")).data == content
    assert (await registry.send("GET", location)).status == 404


async def test_upload_as_a_stream(registry: Client) -> None:
    """As docker does it: one PATCH of unknown length, then an empty PUT."""
    pieces = [os.urandom(100_000) for _ in range(30)]
    digest = Digest.of(b"".join(pieces))
    location = (await registry.send("POST", UPLOADS)).headers["Location"]
    answer = await registry.send("PATCH", location, iter(pieces))
    assert answer.headers["Range"] == "0-2999999"
    assert (await registry.send("PUT", f"{answer.headers['Location']}?digest={digest}")).status == 201


async def test_sha512(registry: Client) -> None:
    import hashlib

    content = os.urandom(100)
    digest = f"sha512:{hashlib.sha512(content).hexdigest()}"
    await registry.push("acme/one", content, digest)
    assert (await registry.send("GET", f"/v2/acme/one/blobs/{digest}")).data == content


async def test_wrong_uploads(registry: Client, tmp_path: Path) -> None:
    right = Digest.of(b"right")
    location = (await registry.send("POST", UPLOADS)).headers["Location"]
    assert codes(await registry.send("PUT", location, b"right")) == ["DIGEST_INVALID"]
    assert codes(await registry.send("PUT", f"{location}?digest=sha256:1", b"right")) == ["DIGEST_INVALID"]
    answer = await registry.send("PUT", f"{location}?digest={right}", b"wrong")
    assert (answer.status, codes(answer)) == (400, ["DIGEST_INVALID"])
    assert codes(await registry.send("PUT", f"{location}?digest={right}", b"right")) == ["BLOB_UPLOAD_UNKNOWN"]
    assert codes(await registry.send("POST", f"{UPLOADS}?digest={right}", b"wrong")) == ["DIGEST_INVALID"]
    assert (await registry.send("HEAD", f"/v2/acme/one/blobs/{right}")).status == 404
    assert list((tmp_path / ".shipgraph" / "uploads" / "acme+one").iterdir()) == []


async def test_cancelled_upload(registry: Client) -> None:
    location = (await registry.send("POST", UPLOADS)).headers["Location"]
    assert (await registry.send("DELETE", location)).status == 204
    assert (await registry.send("DELETE", location)).status == 404
    other = location.replace("acme/one", "acme/two")
    assert codes(await registry.send("PATCH", other, b"x")) == ["BLOB_UPLOAD_UNKNOWN"]


async def test_mount(registry: Client) -> None:
    digest = Digest.of(b"layer")
    await registry.push("acme/one", b"layer", str(digest))
    mount = f"/v2/acme/two/blobs/uploads/?mount={digest}"
    answer = await registry.send("POST", f"{mount}&from=acme/one")
    assert (answer.status, answer.headers["Location"]) == (201, f"/v2/acme/two/blobs/{digest}")
    assert (await registry.send("GET", f"/v2/acme/two/blobs/{digest}")).data == b"layer"
    for source in ("&from=acme/nothing", "&from=../etc", ""):
        answer = await registry.send("POST", f"/v2/acme/three/blobs/uploads/?mount={digest}{source}")
        assert answer.status == 202


async def test_manifests(ready: Client) -> None:
    manifest = artifact()
    answer = await ready.send(
        "PUT", "/v2/acme/one/manifests/v1", manifest.raw, {"Content-Type": f"{manifest.media_type}; charset=utf-8"}
    )
    assert answer.status == 201
    assert answer.headers["Location"] == f"/v2/acme/one/manifests/{manifest.digest}"
    for reference in ("v1", str(manifest.digest)):
        for method in ("GET", "HEAD"):
            answer = await ready.send(method, f"/v2/acme/one/manifests/{reference}", headers={"Accept": "text/html"})
            assert answer.status == 200
            assert answer.headers["Content-Type"] == manifest.media_type
            assert answer.headers["Content-Length"] == str(manifest.size)
            assert answer.headers["Docker-Content-Digest"] == str(manifest.digest)
            assert answer.headers["ETag"] == f'"{manifest.digest}"'
            assert answer.data == (manifest.raw if method == "GET" else b"")
    answer = await ready.send("GET", "/v2/acme/one/manifests/v1", headers={"If-None-Match": f'"{manifest.digest}"'})
    assert (answer.status, answer.data) == (304, b"")


async def test_several_tags_at_once(ready: Client) -> None:
    manifest = artifact(7)
    path, kind = f"/v2/acme/one/manifests/{manifest.digest}", {"Content-Type": manifest.media_type}
    answer = await ready.send("PUT", f"{path}?tag=a&tag=b&tag=a", manifest.raw, kind)
    assert (answer.status, answer.headers.getlist("OCI-Tag")) == (201, ["a", "b"])
    listed = await ready.send("GET", "/v2/acme/one/tags/list")
    assert {"a", "b"} <= set(json.loads(listed.data)["tags"])
    assert (await ready.send("PUT", f"{path}?tag=.wrong", manifest.raw, kind)).status == 400
    many = "&".join(f"tag=t{number}" for number in range(11))
    assert (await ready.send("PUT", f"{path}?{many}", manifest.raw, kind)).status == 414


async def test_wrong_manifests(ready: Client) -> None:
    manifest = artifact()
    path = "/v2/acme/one/manifests/"
    json_type = {"Content-Type": manifest.media_type}
    index_type = {"Content-Type": "application/vnd.oci.image.index.v1+json"}
    missing = build_artifact(TYPE, [EMPTY_DESCRIPTOR, artifact(7).descriptor])
    for reference, body, headers, status, code in (
        ("v1", b"", json_type, 400, "MANIFEST_INVALID"),
        ("v1", b"{}", json_type, 400, "MANIFEST_INVALID"),
        ("v1", manifest.raw, index_type, 400, "MANIFEST_INVALID"),
        ("-bad", manifest.raw, json_type, 400, "MANIFEST_INVALID"),
        (str(artifact(1).digest), manifest.raw, json_type, 400, "DIGEST_INVALID"),
        ("sha256:1", manifest.raw, json_type, 400, "DIGEST_INVALID"),
        ("v1", missing.raw, json_type, 400, "MANIFEST_BLOB_UNKNOWN"),
        ("v1", b" " * (MAX_MANIFEST + 1), json_type, 413, "SIZE_INVALID"),
    ):
        answer = await ready.send("PUT", path + reference, body, headers)
        assert (answer.status, codes(answer)) == (status, [code])
    for reference in ("v1", "-bad", str(manifest.digest)):
        answer = await ready.send("GET", path + reference)
        assert (answer.status, codes(answer)) == (404, ["MANIFEST_UNKNOWN"])
    assert codes(await ready.send("GET", path + "sha256:1")) == ["DIGEST_INVALID"]
    assert (
        await ready.send("GET", "/v2/acme/one/tags/list")
    ).data.split() == b'{ "name": "acme/one", "tags": [] }'.split()


async def test_a_tag_moves_only_if_it_is_what_was_expected(ready: Client) -> None:
    one, two = artifact(1), artifact(2)
    assert await put(ready, one, "t", If_Match="*") == 412
    assert await put(ready, one, "t", If_Match=f'"{two.digest}"') == 412
    assert await put(ready, one, "t", If_None_Match="*") == 201
    assert await put(ready, two, "t", If_None_Match="*") == 412
    assert await put(ready, two, "t", If_Match=f'"{two.digest}"') == 412
    assert await put(ready, two, "t", If_Match=f'"{one.digest}"') == 201
    assert await put(ready, one, "t", If_Match="*") == 201
    assert await put(ready, two, "t") == 201
    answer = await ready.send("PUT", "/v2/acme/one/manifests/t", one.raw, {"If-None-Match": "*"})
    assert codes(answer) == ["PRECONDITION_FAILED"]
    assert (await ready.send("GET", "/v2/acme/one/manifests/t")).data == two.raw


async def test_tags_in_pages(ready: Client) -> None:
    tags = sorted(["b", "a", "B", "_", "v1.0", "10", "9"])
    for tag in tags:
        assert await put(ready, artifact(), tag) == 201
    path: str | None = "/v2/acme/one/tags/list?n=3"
    found: list[list[str]] = []
    while path is not None:
        answer = await ready.send("GET", path)
        found.append(json.loads(answer.data)["tags"])
        path = parse_next_link(answer.headers.get("Link", ""))
    assert found == [tags[:3], tags[3:6], tags[6:]]
    for query, want in (("", tags), ("?n=0", []), ("?last=9&n=1", tags[tags.index("9") + 1 :][:1]), ("?last=zz", [])):
        assert json.loads((await ready.send("GET", f"/v2/acme/one/tags/list{query}")).data)["tags"] == want
    assert (await ready.send("GET", "/v2/acme/one/tags/list?n=x")).status == 400
    assert codes(await ready.send("GET", "/v2/acme/none/tags/list")) == ["NAME_UNKNOWN"]
    assert json.loads((await ready.send("GET", "/v2/_catalog")).data) == {"repositories": ["acme/one"]}


async def test_referrers(ready: Client) -> None:
    subject = artifact()
    referrers = [
        build_artifact(kind, [], subject=subject.descriptor, annotations={"a": "b"}) for kind in (TYPE, TYPE + ".x")
    ]
    path = f"/v2/acme/one/referrers/{subject.digest}"
    empty = await ready.send("GET", path)
    assert (empty.status, json.loads(empty.data)["manifests"]) == (200, [])
    for referrer in referrers:  # before the subject
        answer = await ready.send("PUT", f"/v2/acme/one/manifests/{referrer.digest}", referrer.raw)
        assert (answer.status, answer.headers["OCI-Subject"]) == (201, str(subject.digest))
    answer = await ready.send("GET", path)
    assert answer.headers["Content-Type"] == "application/vnd.oci.image.index.v1+json"
    assert "OCI-Filters-Applied" not in answer.headers
    assert {entry["digest"] for entry in json.loads(answer.data)["manifests"]} == {str(r.digest) for r in referrers}
    answer = await ready.send("GET", f"{path}?artifactType={TYPE.replace('+', '%2B')}")
    assert answer.headers["OCI-Filters-Applied"] == "artifactType"
    assert json.loads(answer.data)["manifests"] == [
        {
            "mediaType": referrers[0].media_type,
            "digest": str(referrers[0].digest),
            "size": referrers[0].size,
            "annotations": {"a": "b"},
            "artifactType": TYPE,
        }
    ]
    assert codes(await ready.send("GET", "/v2/acme/one/referrers/sha256:1")) == ["DIGEST_INVALID"]


async def test_referrers_that_are_too_much_for_one_answer_come_in_pages(ready: Client) -> None:
    subject = artifact()
    large = {"large": "x" * (700 << 10)}
    referrers = [
        build_artifact(kind, [], subject=subject.descriptor, annotations={"number": str(number), **large})
        for number in range(4)
        for kind in (TYPE, TYPE + ".x")
    ]
    for referrer in referrers:
        assert await put(ready, referrer, str(referrer.digest)) == 201
    for query, wanted in (("", referrers), (f"?artifactType={quote(TYPE)}", referrers[::2])):
        path: str | None = f"/v2/acme/one/referrers/{subject.digest}{query}"
        pages: list[list[str]] = []
        while path is not None:
            answer = await ready.send("GET", path)
            assert (answer.status, len(answer.data) <= MAX_MANIFEST) == (200, True)
            pages.append([entry["digest"] for entry in json.loads(answer.data)["manifests"]])
            path = parse_next_link(answer.headers.get("Link", ""))
        assert len(pages) > 1
        assert all(pages)
        assert sorted(digest for page in pages for digest in page) == sorted(str(one.digest) for one in wanted)
    async with RemoteStore(ready.address, credentials=None) as store:
        found = await store.referrers("acme/one", subject.digest)
    assert {one.digest for one in found} == {one.digest for one in referrers}


async def test_deletion(ready: Client) -> None:
    manifest, index = artifact(), build_index([artifact().descriptor])
    for reference in ("a", "b"):
        await put(ready, manifest, reference)
    assert (await ready.send("PUT", "/v2/acme/one/manifests/i", index.raw)).status == 201
    assert (await ready.send("DELETE", "/v2/acme/one/manifests/a")).status == 202
    assert (await ready.send("DELETE", "/v2/acme/one/manifests/a")).status == 404
    assert (await ready.send("GET", f"/v2/acme/one/manifests/{manifest.digest}")).status == 200
    assert (await ready.send("DELETE", f"/v2/acme/one/manifests/{manifest.digest}")).status == 202
    assert (await ready.send("DELETE", f"/v2/acme/one/manifests/{manifest.digest}")).status == 404
    assert (await ready.send("GET", "/v2/acme/one/manifests/b")).status == 404
    blob = f"/v2/acme/one/blobs/{EMPTY_DESCRIPTOR.digest}"
    assert (await ready.send("DELETE", blob)).status == 202
    assert codes(await ready.send("DELETE", blob)) == ["BLOB_UNKNOWN"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v2/UPPER/manifests/x", 400, "NAME_INVALID"),
        ("POST", "/v2/a/blobs/b/blobs/uploads/", 400, "NAME_INVALID"),
        ("POST", "/v2/../blobs/uploads/", 404, "NAME_UNKNOWN"),
        ("POST", "/v2/a/%2e%2e/b/blobs/uploads/", 400, "NAME_INVALID"),
        ("PUT", "/v2/.shipgraph/manifests/x", 400, "NAME_INVALID"),
        ("GET", "/v2/a/blobs/sha256:x", 400, "DIGEST_INVALID"),
        ("GET", "/", 404, "NAME_UNKNOWN"),
        ("PATCH", "/v2/a/manifests/x", 405, "UNSUPPORTED"),
    ],
)
async def test_wrong_paths(registry: Client, method: str, path: str, status: int, code: str, tmp_path: Path) -> None:
    answer = await registry.send(method, path, b"{}")
    assert (answer.status, codes(answer)) == (status, [code])
    assert names_in(tmp_path) <= {".shipgraph"}


async def test_what_is_pushed_is_in_the_store(ready: Client, store: DiskStore) -> None:
    await put(ready, artifact(), "v1")
    assert await store.resolve("acme/one", "v1") == artifact().descriptor
