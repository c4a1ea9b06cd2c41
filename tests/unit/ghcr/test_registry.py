"""GHCR's habits, one by one, as its users met them."""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from shipgraph.embedded.ghcr.blob import other_name
from shipgraph.errors import Denied, InvalidReference, NotFound, RegistryUnavailable, Rejected
from shipgraph.oci import media_types
from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import ImageManifest, build_index, encode_json, parse_manifest
from shipgraph.store.content import from_bytes, read_blob

from .conftest import ADMIN, BAD, LOOKER, OTHER, PRIVATE, PUBLIC, READER, STRANGER, client, code, message, push

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from shipgraph.remote import RemoteStore

    from .conftest import Rehearsal, Ticking

    Rehearse = Callable[..., AbstractAsyncContextManager[Rehearsal]]

ACCEPT = {"Accept": media_types.ACCEPT}
SOURCE = media_types.ANNOTATION_SOURCE


async def test_the_client_pushes_pulls_and_tags(server: Rehearsal) -> None:
    store = await server.store(PUBLIC)
    manifest = await push(store, "acme/app", "hello", "v1")
    assert await store.tags("acme/app") == ["v1"]
    found = await store.resolve("acme/app", "v1")
    assert found is not None
    assert found.digest == manifest.digest
    assert (await store.manifest("acme/app", manifest.digest)).raw == manifest.raw
    assert await read_blob(store, "acme/app", manifest.layers[0]) == b"hello"
    assert await server.disk.tags("acme/app") == ["v1"]
    assert not await store.conditional()


async def test_nothing_is_there_before_the_first_push(server: Rehearsal) -> None:
    store = await server.store(PUBLIC)
    digest = Digest.of(b"nothing")
    assert not await store.has_manifest("acme/new", digest)
    assert not await store.has_blob("acme/new", digest)
    assert await store.resolve("acme/new", "dev") is None
    assert await store.tags("acme/new") == []
    assert await store.referrers("acme/new", digest) == ()
    with pytest.raises(NotFound):
        await store.manifest("acme/new", digest)


# --- the handshake


async def test_the_challenge_of_the_ping_is_a_placeholder(server: Rehearsal) -> None:
    answer = await server.send("GET", "/v2/")
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == (
        f'Bearer realm="http://{server.address}/token",service="ghcr.io",scope="repository:user/image:pull"'
    )


@pytest.mark.parametrize("user", ["token", "unset", "alice"])
async def test_any_user_name_will_do(server: Rehearsal, user: str) -> None:
    await push(await server.store(PUBLIC), "acme/app", "x", "v1")
    basic = {"Authorization": "Basic " + base64.b64encode(f"{user}:{PUBLIC}".encode()).decode()}
    answer = await server.send("GET", "/token?service=ghcr.io&scope=repository:acme/app:pull", headers=basic)
    token = json.loads(answer.data)
    assert "expires_in" not in token
    bearer = {"Authorization": f"Bearer {token['token']}", **ACCEPT}
    assert (await server.send("GET", "/v2/acme/app/manifests/v1", headers=bearer)).status == 200
    assert (await server.send("GET", "/v2/", headers=bearer)).status == 200


async def test_a_pat_in_base64_needs_no_handshake(server: Rehearsal) -> None:
    await push(await server.store(PRIVATE), "acme/app", "x", "v1")
    assert (await server.send("GET", "/v2/acme/app/manifests/v1", headers=ACCEPT, token=ADMIN)).status == 200


async def test_bad_credentials_are_denied_even_where_anybody_may_read(server: Rehearsal) -> None:
    await push(await server.store(PUBLIC), "acme/app", "x", "v1")
    basic = {"Authorization": "Basic " + base64.b64encode(f"x:{BAD}".encode()).decode()}
    answer = await server.send("GET", "/token?scope=repository:acme/app:pull", headers=basic)
    assert (answer.status, code(answer)) == (403, "DENIED")
    answer = await server.send("GET", "/v2/acme/app/manifests/v1", headers=ACCEPT, token=BAD)
    assert (answer.status, code(answer)) == (403, "DENIED")
    # the client helps itself: it reads as nobody
    assert await (await server.store(BAD)).tags("acme/app") == ["v1"]
    with pytest.raises(Denied):
        await push(await server.store(BAD), "acme/app", "y")


async def test_registry_tokens_are_short_lived(rehearse: Rehearse, clock: Ticking) -> None:
    async with rehearse(token_life=30.0) as server:
        await push(await server.store(PUBLIC), "acme/app", "x", "v1")
        answer = await server.send("GET", "/token?scope=repository:acme/app:pull")
        token = json.loads(answer.data)
        assert token["expires_in"] == 30
        bearer = {"Authorization": f"Bearer {token['token']}", **ACCEPT}
        assert (await server.send("GET", "/v2/acme/app/manifests/v1", headers=bearer)).status == 200
        clock.now += 31
        answer = await server.send("GET", "/v2/acme/app/manifests/v1", headers=bearer)
        assert answer.status == 401
        assert 'scope="repository:acme/app:pull"' in answer.headers["WWW-Authenticate"]
        async with client(server.address, PUBLIC) as store:
            assert await store.tags("acme/app") == ["v1"]
            clock.now += 31
            assert await store.tags("acme/app") == ["v1"]  # with a new token


async def test_a_token_is_good_for_its_scope_only(server: Rehearsal) -> None:
    await push(await server.store(PUBLIC), "acme/app", "x", "v1")
    await push(await server.store(PUBLIC), "acme/two", "x", "v1")
    token = json.loads((await server.send("GET", "/token?scope=repository:acme/app:pull")).data)["token"]
    bearer = {"Authorization": f"Bearer {token}", **ACCEPT}
    assert (await server.send("GET", "/v2/acme/two/manifests/v1", headers=bearer)).status == 401
    answer = await server.send("POST", "/v2/acme/app/blobs/uploads/", headers=bearer)
    assert answer.status == 401
    assert message(answer).startswith("unauthenticated: User cannot be authenticated")


@pytest.mark.parametrize("value", ["Bearer forged.0123", "Bearer %%%", "Basic ???", "Digest x", "Bearer"])
async def test_nonsense_is_no_credential(server: Rehearsal, value: str) -> None:
    answer = await server.send("GET", "/v2/", headers={"Authorization": value})
    assert answer.status == 403


# --- visibility and access


@pytest.mark.parametrize(("token", "visibility"), [(PUBLIC, "public"), (PRIVATE, "private"), (ADMIN, "private")])
async def test_who_creates_a_package_decides_who_sees_it(server: Rehearsal, token: str, visibility: str) -> None:
    manifest = await push(await server.store(token), "acme/new", "x", "v1")
    assert (await server.api("GET", "/orgs/acme/packages/container/new"))[1]["visibility"] == visibility
    nobody = await server.store(None)
    if visibility == "public":
        assert await nobody.has_manifest("acme/new", manifest.digest)
        return
    assert (await server.send("GET", "/token?scope=repository:acme/new:pull")).status == 401
    with pytest.raises(Denied):
        await nobody.manifest("acme/new", manifest.digest)
    await server.ghcr.set_visibility("acme/new", "public")
    assert await nobody.has_manifest("acme/new", manifest.digest)


async def test_nobody_learns_whether_a_package_exists(server: Rehearsal) -> None:
    answer = await server.send("GET", "/token?scope=repository:acme/absent:pull")
    assert (answer.status, code(answer)) == (403, "DENIED")


async def test_another_repositorys_workflow_may_not_write(server: Rehearsal) -> None:
    await push(await server.store(PUBLIC), "acme/app", "x", "v1")
    other = await server.store(OTHER)
    with pytest.raises(Denied, match="permission_denied: write_package"):
        await push(other, "acme/app", "y")
    await server.ghcr.grant("acme/app", "acme/other")
    await push(other, "acme/app", "y", "v2")


async def test_a_package_pushed_by_a_person_is_closed_to_workflows_until_it_is_linked(server: Rehearsal) -> None:
    await push(await server.store(ADMIN), "acme/manual", "x", "v1")
    with pytest.raises(Denied):
        await (await server.store(PUBLIC)).tags("acme/manual")
    await server.ghcr.set_visibility("acme/manual", "public")  # which changes who reads, not who writes
    with pytest.raises(Denied, match="write_package"):
        await push(await server.store(PUBLIC), "acme/manual", "y")
    await server.ghcr.link("acme/manual", "acme/app")
    await push(await server.store(PUBLIC), "acme/manual", "y")


async def test_the_source_annotation_links_when_a_package_is_made_and_never_later(server: Rehearsal) -> None:
    person, workflow = await server.store(ADMIN), await server.store(PUBLIC)
    await push(person, "acme/linked", "x", "v1", annotations={SOURCE: "https://github.com/acme/app"})
    await push(workflow, "acme/linked", "y", "v2")
    document = (await server.api("GET", "/orgs/acme/packages/container/linked"))[1]
    assert document["repository"]["full_name"] == "acme/app"
    await push(person, "acme/orphan", "x", "v1")
    await push(person, "acme/orphan", "y", "v2", annotations={SOURCE: "https://github.com/acme/app"})
    assert (await server.api("GET", "/orgs/acme/packages/container/orphan"))[1]["repository"] is None


async def test_a_wrong_source_shuts_out_the_workflow_itself(server: Rehearsal) -> None:
    workflow = await server.store(PUBLIC)
    await push(workflow, "acme/forked", "x", annotations={SOURCE: "https://github.com/acme/upstream"})
    with pytest.raises(Denied, match="write_package"):
        await push(workflow, "acme/forked", "y")


async def test_the_label_of_an_images_configuration_links_too(server: Rehearsal) -> None:
    store = await server.store(ADMIN)
    labels = {"config": {"Labels": {SOURCE: "https://github.com/acme/app"}}}
    config = Descriptor.of(media_types.IMAGE_CONFIG, encode_json(labels))
    await store.push_blob("acme/image", config, from_bytes(encode_json(labels)))
    document = {"schemaVersion": 2, "mediaType": media_types.IMAGE_MANIFEST, "config": config.to_json(), "layers": []}
    await store.push_manifest("acme/image", parse_manifest(encode_json(document)))
    package = await server.ghcr.ledger.package("acme/image")
    assert package is not None
    assert package.repository == "acme/app"


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (READER, "does not match expected scopes"),
        (LOOKER, "does not match expected scopes"),
        (STRANGER, "permission_denied"),
        (None, "unauthenticated"),
    ],
)
async def test_who_may_not_push(server: Rehearsal, token: str | None, reason: str) -> None:
    await push(await server.store(PUBLIC), "acme/app", "x", "v1")
    with pytest.raises(Denied, match=reason):
        await push(await server.store(token), "acme/app", "y")
    if token is not None:
        with pytest.raises(Denied):
            await push(await server.store(token), "acme/new", "y")


async def test_private_packages_are_read_by_who_was_given_access(server: Rehearsal) -> None:
    await push(await server.store(PRIVATE), "acme/secret", "x", "v1")
    for token in (PRIVATE, ADMIN, LOOKER):
        assert await (await server.store(token)).tags("acme/secret") == ["v1"]
    for token in (PUBLIC, STRANGER):
        with pytest.raises(Denied):
            await (await server.store(token)).tags("acme/secret")


async def test_names_are_lower_case_and_have_an_owner(server: Rehearsal) -> None:
    answer = await server.send("GET", "/v2/Acme/App/manifests/v1", token=ADMIN)
    assert (answer.status, code(answer)) == (400, "NAME_INVALID")
    answer = await server.send("GET", "/v2/app/manifests/v1", token=ADMIN)
    assert (answer.status, code(answer)) == (404, "NAME_UNKNOWN")
    with pytest.raises(InvalidReference):
        await push(await server.store(ADMIN), "Acme/app", "x")


# --- what the registry lacks


async def test_there_is_no_referrers_api(server: Rehearsal) -> None:
    store = await server.store(PUBLIC)
    image = await push(store, "acme/app", "image", "v1")
    answer = await server.send("GET", f"/v2/acme/app/referrers/{image.digest}", token=PUBLIC)
    assert (answer.status, code(answer)) == (404, "MANIFEST_UNKNOWN")
    referrer = await push(store, "acme/app", "evidence", subject=image.descriptor)
    answer = await server.send(
        "PUT",
        f"/v2/acme/app/manifests/{referrer.digest}",
        referrer.raw,
        {"Content-Type": referrer.media_type},
        token=PUBLIC,
    )
    assert answer.status == 201
    assert "OCI-Subject" not in answer.headers
    # the client keeps the fallback tag instead
    assert [one.digest for one in await store.referrers("acme/app", image.digest)] == [referrer.digest]
    assert image.digest.fallback_tag in await store.tags("acme/app")


async def test_nothing_can_be_deleted(server: Rehearsal) -> None:
    store = await server.store(PUBLIC)
    manifest = await push(store, "acme/app", "x", "v1")
    for path in (f"manifests/{manifest.digest}", "manifests/v1", f"blobs/{manifest.layers[0].digest}"):
        answer = await server.send("DELETE", f"/v2/acme/app/{path}", token=ADMIN)
        assert (answer.status, code(answer)) == (405, "UNSUPPORTED")
    with pytest.raises(Rejected):
        await store.delete_manifest("acme/app", manifest.digest)
    assert await store.tags("acme/app") == ["v1"]


async def test_there_is_no_compare_and_swap(server: Rehearsal) -> None:
    store = await server.store(PUBLIC)
    await push(store, "acme/app", "x", "dev")
    other = await push(store, "acme/app", "y")
    headers = {"Content-Type": other.media_type, "If-Match": '"sha256:0"', "If-None-Match": "*"}
    answer = await server.send("PUT", "/v2/acme/app/manifests/dev", other.raw, headers, token=PUBLIC)
    assert answer.status == 201
    assert "Shipgraph-Conditional-Put" not in (await server.send("GET", "/v2/", token=PUBLIC)).headers


async def test_there_is_no_catalogue(server: Rehearsal) -> None:
    assert (await server.send("GET", "/v2/_catalog", token=ADMIN)).status == 404


# --- reading


async def test_accept_must_name_the_type(server: Rehearsal) -> None:
    store = await server.store(PUBLIC)
    manifest = await push(store, "acme/app", "x", "v1")
    index = build_index([manifest.descriptor])
    await store.tag("acme/app", "multi", index)
    for accept in ({}, {"Accept": "*/*"}, {"Accept": media_types.IMAGE_MANIFEST}):
        answer = await server.send("GET", "/v2/acme/app/manifests/multi", headers=accept, token=PUBLIC)
        assert (answer.status, code(answer)) == (404, "MANIFEST_UNKNOWN")
        assert message(answer).startswith("OCI index found, but Accept header does not support")
    assert (await server.send("GET", "/v2/acme/app/manifests/multi", headers=ACCEPT, token=PUBLIC)).data == index.raw


async def test_blobs_come_from_elsewhere_and_credentials_do_not_go_there(server: Rehearsal) -> None:
    store = await server.store(PUBLIC)
    manifest = await push(store, "acme/app", "hello", "v1")
    path = f"/v2/acme/app/blobs/{manifest.layers[0].digest}"
    answer = await server.send("GET", path, token=PUBLIC)
    assert answer.status == 307
    location = answer.headers["Location"]
    assert urlsplit(location).hostname == "localhost"  # Go's clients see no difference between two ports
    assert urlsplit(location).port != urlsplit(f"//{server.address}").port
    there = await server.send("GET", location, headers={"Range": "bytes=1-2"})
    assert (there.status, there.data) == (206, b"el")
    refused = await server.send("GET", location, headers={"Authorization": "Bearer anything"})
    assert refused.status == 400
    assert b"InvalidAuthenticationInfo" in refused.data
    forged = location.replace("sig=", "sig=0")
    assert (await server.send("GET", forged)).status == 403
    assert (await server.send("GET", location.replace(urlsplit(location).netloc, server.address))).status == 404
    assert (await server.send("GET", f"http://{urlsplit(location).netloc}/v2/")).status == 404
    head = await server.send("HEAD", path, token=PUBLIC)
    assert (head.status, head.headers["Content-Length"]) == (200, "5")
    server.clock.now += 3600
    assert (await server.send("GET", location)).status == 403


async def test_tags_come_in_pages_of_a_hundred_and_in_no_order(server: Rehearsal) -> None:
    store = await server.store(PUBLIC)
    manifest = await push(store, "acme/app", "x")
    names = [f"t{number}" for number in range(103)]
    for name in names:
        await store.tag("acme/app", name, manifest)
    answer = await server.send("GET", "/v2/acme/app/tags/list", token=PUBLIC)
    assert len(json.loads(answer.data)["tags"]) == 100
    assert 'rel="next"' in answer.headers["Link"]
    assert await store.tags("acme/app") == sorted(names)


# --- writing


async def test_a_patch_may_bring_four_mebibytes(server: Rehearsal) -> None:
    await push(await server.store(PUBLIC), "acme/app", "x")
    location = (await server.send("POST", "/v2/acme/app/blobs/uploads/", token=PUBLIC)).headers["Location"]
    too_much = bytes((4 << 20) + 1)
    for body in (too_much, iter([too_much[: 3 << 20], too_much[3 << 20 :]])):
        answer = await server.send("PATCH", location, body, token=PUBLIC)
        assert (answer.status, code(answer)) == (416, "REQUESTED_RANGE_NOT_SATISFIABLE")
        assert "exceeds 4.00MiB" in message(answer)
    location = (await server.send("POST", "/v2/acme/app/blobs/uploads/", token=PUBLIC)).headers["Location"]
    answer = await server.send("PATCH", location, too_much[1:], token=PUBLIC)
    assert (answer.status, answer.headers["Range"]) == (202, f"0-{(4 << 20) - 1}")
    digest = Digest.of(too_much[1:])
    assert (await server.send("PUT", f"{location}?digest={digest}", token=PUBLIC)).status == 201
    # one monolithic PUT of any size is fine, which is what the client does
    big = Descriptor.of("text/plain", too_much)
    assert await (await server.store(PUBLIC)).push_blob("acme/app", big, from_bytes(too_much))


async def test_a_tag_reads_as_it_was_for_a_while(rehearse: Rehearse, clock: Ticking) -> None:
    async with rehearse(lag=5.0) as server:
        store = await server.store(PUBLIC)
        old, new, newest = [await push(store, "acme/app", text) for text in ("old", "new", "newest")]
        await store.tag("acme/app", "dev", old)
        assert await store.resolve("acme/app", "dev") is None
        assert await store.tags("acme/app") == []
        clock.now += 5
        assert await _digest(store) == old.digest
        await store.tag("acme/app", "dev", new)
        clock.now += 3
        assert await _digest(store) == old.digest
        await store.tag("acme/app", "dev", newest)
        clock.now += 2
        assert await _digest(store) == new.digest
        assert await store.tags("acme/app") == ["dev"]
        clock.now += 3
        assert await _digest(store) == newest.digest
        assert await store.has_manifest("acme/app", newest.digest)


async def test_some_servers_know_earlier(rehearse: Rehearse, clock: Ticking) -> None:
    async with rehearse(lag=5.0, flapping=0.5) as server:
        store = await server.store(PUBLIC)
        old, new = await push(store, "acme/app", "old"), await push(store, "acme/app", "new")
        await store.tag("acme/app", "dev", old)
        clock.now += 5
        await store.tag("acme/app", "dev", new)
        assert {await _digest(store) for _ in range(30)} == {old.digest, new.digest}


async def test_blobs_may_be_unseen_by_those_who_take_manifests(rehearse: Rehearse, clock: Ticking) -> None:
    async with rehearse(blob_lag=2.0) as server:
        with pytest.raises(Rejected, match="MANIFEST_BLOB_UNKNOWN"):
            await push(await server.store(PUBLIC), "acme/app", "x")
        clock.now += 2
        await push(await server.store(PUBLIC), "acme/app", "x")


async def test_an_index_needs_its_children_in_the_same_package(server: Rehearsal) -> None:
    store = await server.store(PUBLIC)
    child = await push(store, "acme/app", "x")
    with pytest.raises(Rejected, match="MANIFEST_BLOB_UNKNOWN"):
        await store.push_manifest("acme/elsewhere", build_index([child.descriptor]))


async def test_too_many_writes_are_told_in_the_body(rehearse: Rehearse, clock: Ticking) -> None:
    async with rehearse(write_rate=2000, burst=0.03) as server:
        first = await server.send("POST", "/v2/acme/app/blobs/uploads/", token=PUBLIC)
        assert first.status == 202
        clock.now += 0.0175
        answer = await server.send("POST", "/v2/acme/app/blobs/uploads/", token=PUBLIC)
        assert (answer.status, code(answer)) == (429, "TOOMANYREQUESTS")
        assert message(answer) == "retry-after: 12.5ms, allowed: 2000/minute"
        assert "Retry-After" not in answer.headers


async def test_the_client_gets_through_the_rate_limit(rehearse: Rehearse) -> None:
    async with rehearse() as server:
        manifests = [await push(await server.store(PUBLIC), "acme/app", f"x{number}") for number in range(3)]
    async with (
        rehearse(clock=time.time, write_rate=1200, burst=0.1) as server,
        client(server.address, PUBLIC, attempts=12) as store,
    ):
        started = time.monotonic()
        for manifest in manifests * 4:
            await store.tag("acme/app", "dev", manifest)
        assert time.monotonic() - started > 9 * 60 / 1200
        assert await _digest(store) == manifests[-1].digest


async def test_the_client_gets_through_bad_luck(rehearse: Rehearse) -> None:
    async with rehearse(faults=0.2, seed=7) as server, client(server.address, PUBLIC, attempts=12) as store:
        pushed = [await push(store, "acme/app", f"x{number}", "dev") for number in range(5)]
        assert await _digest(store) == pushed[-1].digest


async def test_bad_luck_is_an_html_page(rehearse: Rehearse) -> None:
    async with rehearse(faults=1.0) as server:
        answer = await server.send("GET", "/v2/", token=PUBLIC)
        assert answer.status == 502
        assert answer.headers["Content-Type"].startswith("text/html")
        with pytest.raises(RegistryUnavailable):
            await (await server.store(PUBLIC)).tags("acme/app")


async def test_mounting_needs_the_right_to_read(server: Rehearsal) -> None:
    secret = await push(await server.store(PRIVATE), "acme/secret", "a layer", "v1")
    layer = secret.layers[0]
    await push(await server.store(PUBLIC), "acme/app", "other")
    assert await (await server.store(PUBLIC)).push_blob(
        "acme/app", layer, from_bytes(b"a layer"), mount_from="acme/secret"
    )
    shared = await push(await server.store(PUBLIC), "acme/shared", "shared")
    assert not await (await server.store(PUBLIC)).push_blob(
        "acme/app", shared.layers[0], from_bytes(b""), mount_from="acme/shared"
    )


# --- state


async def test_state_outlives_the_server_and_is_shared_by_several(rehearse: Rehearse) -> None:
    async with rehearse() as one, rehearse() as two:
        manifest = await push(await one.store(PUBLIC), "acme/app", "x", "v1")
        assert await (await two.store(None)).tags("acme/app") == ["v1"]
        token = json.loads((await one.send("GET", "/token?scope=repository:acme/app:pull")).data)["token"]
        bearer = {"Authorization": f"Bearer {token}", **ACCEPT}
        assert (await two.send("GET", "/v2/acme/app/manifests/v1", headers=bearer)).status == 200
    async with rehearse() as three:
        assert await (await three.store(None)).has_manifest("acme/app", manifest.digest)


async def test_two_servers_make_one_package(rehearse: Rehearse) -> None:
    import anyio

    async with rehearse() as one, rehearse() as two:

        async def write(server: Rehearsal, start: int) -> None:
            store = await server.store(PUBLIC)
            for number in range(start, start + 20):
                await push(store, "acme/app", f"x{number}", "dev", f"t{number}")

        async with anyio.create_task_group() as group:
            group.start_soon(write, one, 0)
            group.start_soon(write, two, 20)
        versions = (await one.api("GET", "/orgs/acme/packages/container/app/versions?per_page=100"))[1]
        assert len(versions) == 40
        assert len({version["id"] for version in versions}) == 40
        for tag in ("dev", *(f"t{number}" for number in range(40))):
            seen = await (await one.store(None)).resolve("acme/app", tag)
            on_disk = await one.disk.resolve("acme/app", tag)
            assert seen is not None
            assert on_disk is not None
            assert seen.digest == on_disk.digest


async def test_what_the_folder_held_before_becomes_private(rehearse: Rehearse) -> None:
    async with rehearse() as server:
        child = await push(server.disk, "acme/old", "child")
        index = build_index([child.descriptor])
        await server.disk.tag("acme/old", "v1", index)
        store = await server.store(ADMIN)
        assert await store.tags("acme/old") == ["v1"]
        assert isinstance(await store.manifest("acme/old", child.digest), ImageManifest)
        assert (await server.api("GET", "/orgs/acme/packages/container/old"))[1]["visibility"] == "private"


async def _digest(store: RemoteStore) -> Digest | None:
    found = await store.resolve("acme/app", "dev")
    return None if found is None else found.digest


@pytest.mark.parametrize(
    ("host", "listening", "name"),
    [
        ("127.0.0.1", "127.0.0.1", "localhost"),
        ("::1", "::1", "localhost"),
        ("localhost", "127.0.0.1", "127.0.0.1"),
        ("localhost", "::1", "[::1]"),
        ("localhost", "0.0.0.0", "127.0.0.1"),
        ("registry.example", "0.0.0.0", "registry.example"),
    ],
)
def test_the_other_name_of_a_host(host: str, listening: str, name: str) -> None:
    assert other_name(host, listening) == name
