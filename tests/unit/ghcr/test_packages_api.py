"""GitHub's Packages API as the rehearsal serves it: its lists, its refusals, and its limits."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from shipgraph.oci.manifest import build_index

from .conftest import (
    ACCOUNTS,
    ADMIN,
    BAD,
    LOOKER,
    OTHER,
    PRIVATE,
    PUBLIC,
    PUSHER,
    READER,
    STRANGER,
    push,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from .conftest import Rehearsal, Ticking

    Rehearse = Callable[..., AbstractAsyncContextManager[Rehearsal]]

APP = "/orgs/acme/packages/container/app"
DAY = 86400.0


async def _versions(server: Rehearsal, query: str = "", token: str = ADMIN) -> list[dict[str, Any]]:
    status, found = await server.api("GET", f"{APP}/versions{query}", token)
    assert status == 200, found
    result: list[dict[str, Any]] = found
    return result


def _tags(version: dict[str, Any]) -> list[str]:
    tags: list[str] = version["metadata"]["container"]["tags"]
    return tags


async def _three(server: Rehearsal) -> list[dict[str, Any]]:
    """Three versions: ``one`` and ``two`` tagged so, the third untagged; the newest first."""
    store = await server.store(PUBLIC)
    await push(store, "acme/app", "1", "one")
    server.clock.now += 60
    await push(store, "acme/app", "2", "two", "shared")
    server.clock.now += 60
    await push(store, "acme/app", "3")
    return await _versions(server)


async def test_a_package_and_its_versions(server: Rehearsal) -> None:
    third, second, first = await _three(server)
    status, package = await server.api("GET", APP)
    assert status == 200
    assert package["name"] == "app"
    assert package["visibility"] == "public"
    assert package["version_count"] == 3
    assert package["owner"]["login"] == "acme"
    assert package["owner"]["type"] == "Organization"
    assert package["repository"]["full_name"] == "acme/app"
    assert package["url"] == f"http://{server.address}{APP}"
    assert package["created_at"] < package["updated_at"]
    assert re.fullmatch("sha256:[0-9a-f]{64}", first["name"])
    assert [_tags(one) for one in (first, second, third)] == [["one"], ["shared", "two"], []]
    assert first["id"] < second["id"] < third["id"]
    assert (await server.api("GET", f"{APP}/versions/{first['id']}"))[1] == first
    assert (await server.api("GET", f"{APP}/versions/999"))[0] == 404
    assert (await server.api("GET", f"{APP}/versions/x"))[0] == 404
    status, same = await server.api("GET", f"/api/v3{APP}/versions/{first['id']}")
    assert same["url"].startswith(f"http://{server.address}/api/v3/orgs/")


async def test_moving_a_tag_updates_both_versions_and_creates_none(server: Rehearsal) -> None:
    _, second, first = await _three(server)
    store = await server.store(PUBLIC)
    descriptor = await store.resolve("acme/app", "one")
    assert descriptor is not None
    server.clock.now += 60
    await store.tag("acme/app", "shared", await store.manifest("acme/app", descriptor.digest))
    _, moved_from, moved_to = await _versions(server)
    assert (_tags(moved_to), _tags(moved_from)) == (["one", "shared"], ["two"])
    assert moved_to["created_at"] == first["created_at"]
    assert moved_to["updated_at"] == moved_from["updated_at"] > second["updated_at"]


async def test_lists_come_in_pages(server: Rehearsal) -> None:
    store = await server.store(PUBLIC)
    for number in range(35):
        await push(store, "acme/app", str(number))
    assert len(await _versions(server)) == 30
    seen: list[int] = []
    path: str | None = f"{APP}/versions?per_page=10"
    while path is not None:
        answer = await server.send("GET", path, token=ADMIN)
        seen += [version["id"] for version in json.loads(answer.data)]
        links = dict(reversed(pair) for pair in re.findall(r'<([^>]*)>; rel="(\w+)"', answer.headers.get("Link", "")))
        path = links.get("next")
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == 35
    assert await _versions(server, "?per_page=10&page=9") == []
    assert len(await _versions(server, "?per_page=1000")) == 35
    assert len(await _versions(server, "?per_page=nonsense&page=-1")) == 30


async def test_packages_are_listed_for_people_only(server: Rehearsal) -> None:
    await push(await server.store(PUBLIC), "acme/app", "x")
    await push(await server.store(PRIVATE), "acme/secret/deep", "x")
    await push(await server.store(ADMIN), "alice/own", "x")
    await push(await server.store(ADMIN), "alice/shown", "x")
    await server.ghcr.set_visibility("alice/shown", "public")

    async def names(path: str, token: str = ADMIN) -> list[str]:
        status, found = await server.api("GET", path, token)
        assert status == 200, found
        return [package["name"] for package in found]

    assert await names("/orgs/Acme/packages?package_type=container") == ["app", "secret/deep"]
    assert await names("/orgs/acme/packages?package_type=container&visibility=public") == ["app"]
    assert await names("/orgs/acme/packages?package_type=container&visibility=private") == ["secret/deep"]
    assert await names("/orgs/acme/packages?package_type=container", STRANGER) == ["app"]
    assert await names("/orgs/acme/packages?package_type=npm") == []
    assert await names("/users/alice/packages?package_type=container") == ["shown"]
    assert await names("/user/packages?package_type=container") == ["own", "shown"]
    for path, status in (
        ("/orgs/acme/packages", 400),
        ("/orgs/acme/packages?package_type=floppy", 400),
        ("/orgs/acme/packages?package_type=container&per_page=100&page=101", 400),
        ("/orgs/alice/packages?package_type=container", 404),
        ("/users/acme/packages?package_type=container", 404),
        ("/orgs/nobody/packages?package_type=container", 404),
    ):
        assert (await server.api("GET", path))[0] == status, path
    assert (await server.api("GET", "/orgs/acme/packages?package_type=container", PUBLIC))[0] == 403
    assert (await server.api("GET", "/user/packages?package_type=container", PUBLIC))[0] == 403
    assert (await server.api("GET", "/user/packages/container/own", PUBLIC))[0] == 404


async def test_a_slash_in_a_name_is_escaped(server: Rehearsal) -> None:
    await push(await server.store(PUBLIC), "acme/deep/name", "x", "v1")
    assert (await server.api("GET", "/orgs/acme/packages/container/deep%2Fname"))[1]["name"] == "deep/name"
    assert (await server.api("GET", "/orgs/acme/packages/container/deep%2Fname/versions"))[0] == 200
    assert (await server.api("GET", "/orgs/acme/packages/container/deep/name"))[0] == 404


async def test_who_somebody_is(server: Rehearsal) -> None:
    assert (await server.api("GET", "/users/acme"))[1]["type"] == "Organization"
    assert (await server.api("GET", "/users/alice", PUBLIC))[1]["type"] == "User"
    assert (await server.api("GET", "/users/nobody"))[0] == 404
    assert (await server.api("GET", "/user"))[1]["login"] == "alice"
    assert (await server.api("GET", "/user", PUBLIC))[0] == 403
    assert (await server.api("GET", "/user", ""))[0] == 401


@pytest.mark.parametrize(
    ("token", "read", "delete"),
    [
        (ADMIN, 200, 204),
        (PUBLIC, 200, 204),
        (READER, 200, 404),  # a workflow without the admin role is told that nothing is there, although it reads it
        (OTHER, 200, 404),
        (PUSHER, 200, 403),
        (LOOKER, 200, 403),
        (STRANGER, 200, 404),
        (BAD, 401, 401),
        ("", 401, 401),
    ],
)
async def test_who_may_delete(server: Rehearsal, token: str, read: int, delete: int) -> None:
    third, _, _ = await _three(server)
    path = f"{APP}/versions/{third['id']}"
    assert (await server.api("GET", path, token))[0] == read
    assert (await server.api("DELETE", path, token))[0] == delete
    assert len(await _versions(server)) == (2 if delete == 204 else 3)


async def test_a_private_package_is_not_there_for_strangers(server: Rehearsal) -> None:
    await push(await server.store(PRIVATE), "acme/secret", "x", "v1")
    path = "/orgs/acme/packages/container/secret"
    for token in (PRIVATE, ADMIN, LOOKER):
        assert (await server.api("GET", path, token))[0] == 200
    for token in (PUBLIC, STRANGER):
        assert (await server.api("GET", path, token))[0] == 404


async def test_a_version_dies_with_all_its_tags(server: Rehearsal) -> None:
    _, second, _ = await _three(server)
    path = f"{APP}/versions/{second['id']}"
    assert (await server.api("DELETE", path))[0] == 204
    assert (await server.api("DELETE", path))[0] == 404
    assert (await server.api("GET", path))[0] == 404
    store = await server.store(None)
    assert await store.tags("acme/app") == ["one"]
    assert await server.disk.tags("acme/app") == ["one"]
    (deleted,) = await _versions(server, "?state=deleted")
    assert deleted["id"] == second["id"]
    assert "deleted_at" in deleted


async def test_the_last_tagged_version_stays(server: Rehearsal) -> None:
    third, second, first = await _three(server)
    assert (await server.api("DELETE", f"{APP}/versions/{second['id']}"))[0] == 204
    status, answer = await server.api("DELETE", f"{APP}/versions/{first['id']}")
    assert status == 400
    assert answer["message"] == (
        "You cannot delete the last tagged version of a package. You must delete the package instead."
    )
    assert (await server.api("DELETE", f"{APP}/versions/{third['id']}"))[0] == 204
    assert (await server.api("DELETE", f"{APP}/versions/{first['id']}"))[0] == 400


async def test_the_last_version_stays(server: Rehearsal) -> None:
    await push(await server.store(PUBLIC), "acme/app", "x")
    (only,) = await _versions(server)
    status, answer = await server.api("DELETE", f"{APP}/versions/{only['id']}")
    assert (status, "last version" in answer["message"]) == (400, True)


async def test_what_was_downloaded_too_often_stays(rehearse: Rehearse) -> None:
    async with rehearse(max_downloads=3) as server:
        third, *_ = await _three(server)
        nobody = await server.store(None)
        digest = third["name"]
        for _ in range(4):
            await server.send(
                "GET",
                f"/v2/acme/app/manifests/{digest}",
                headers={"Accept": "application/vnd.oci.image.manifest.v1+json"},
                token=PUBLIC,
            )
        assert await nobody.tags("acme/app")
        path = f"{APP}/versions/{third['id']}"
        status, answer = await server.api("DELETE", path)
        assert status == 400
        assert answer["message"].startswith("Publicly visible package versions with more than 3 downloads cannot")
        assert (await server.api("DELETE", APP))[0] == 400
        await server.ghcr.set_visibility("acme/app", "private")
        assert (await server.api("DELETE", path))[0] == 204


async def test_heads_do_not_count_as_downloads(rehearse: Rehearse) -> None:
    async with rehearse(max_downloads=0) as server:
        third, *_ = await _three(server)
        store = await server.store(PUBLIC)
        assert await store.has_manifest("acme/app", (await push(store, "acme/app", "3")).digest)
        assert (await server.api("DELETE", f"{APP}/versions/{third['id']}"))[0] == 204


async def test_a_version_comes_back_within_thirty_days(server: Rehearsal) -> None:
    _, second, _ = await _three(server)
    path = f"{APP}/versions/{second['id']}"
    assert (await server.api("POST", f"{path}/restore"))[0] == 404  # it isn't deleted
    await server.api("DELETE", path)
    server.clock.now += 29 * DAY
    assert (await server.api("POST", f"{path}/restore", LOOKER))[0] == 403
    assert (await server.api("POST", f"{path}/restore"))[0] == 204
    assert (await server.api("GET", path))[1]["id"] == second["id"]
    assert await (await server.store(None)).tags("acme/app") == ["one", "shared", "two"]
    assert await server.disk.tags("acme/app") == ["one", "shared", "two"]
    await server.api("DELETE", path)
    server.clock.now += 31 * DAY
    assert await _versions(server, "?state=deleted") == []
    assert (await server.api("POST", f"{path}/restore"))[0] == 404


async def test_a_restored_version_gets_back_only_tags_that_are_free(server: Rehearsal) -> None:
    _, second, _ = await _three(server)
    await server.api("DELETE", f"{APP}/versions/{second['id']}")
    newer = await push(await server.store(PUBLIC), "acme/app", "4", "shared")
    assert (await server.api("POST", f"{APP}/versions/{second['id']}/restore"))[0] == 204
    versions = {version["name"]: _tags(version) for version in await _versions(server)}
    assert versions[second["name"]] == ["two"]
    assert versions[str(newer.digest)] == ["shared"]


async def test_what_was_pushed_again_is_a_new_version_and_the_old_one_is_lost(server: Rehearsal) -> None:
    _, second, _ = await _three(server)
    await server.api("DELETE", f"{APP}/versions/{second['id']}")
    await push(await server.store(PUBLIC), "acme/app", "2", "two")
    again = (await _versions(server))[0]
    assert again["name"] == second["name"]
    assert again["id"] > second["id"]
    assert (await server.api("POST", f"{APP}/versions/{second['id']}/restore"))[0] == 404


async def test_an_index_loses_its_deleted_children_until_they_are_restored(server: Rehearsal) -> None:
    store = await server.store(PUBLIC)
    child = await push(store, "acme/app", "child")
    index = build_index([child.descriptor])
    await store.tag("acme/app", "multi", index)
    await push(store, "acme/app", "other", "other")
    ids = {version["name"]: version["id"] for version in await _versions(server)}
    for digest in (child.digest, index.digest):  # GitHub doesn't mind the wrong order
        assert (await server.api("DELETE", f"{APP}/versions/{ids[str(digest)]}"))[0] == 204
    assert not await store.has_manifest("acme/app", child.digest)
    assert (await server.api("POST", f"{APP}/versions/{ids[str(index.digest)]}/restore"))[0] == 204
    assert await store.resolve("acme/app", "multi") is not None
    assert not await store.has_manifest("acme/app", child.digest)
    assert (await server.api("POST", f"{APP}/versions/{ids[str(child.digest)]}/restore"))[0] == 204
    assert await store.has_manifest("acme/app", child.digest)


async def test_a_package_dies_and_comes_back_with_all_in_it(server: Rehearsal) -> None:
    await _three(server)
    assert (await server.api("POST", f"{APP}/restore"))[0] == 404
    assert (await server.api("DELETE", APP, LOOKER))[0] == 403
    assert (await server.api("DELETE", APP))[0] == 204
    assert (await server.api("GET", APP))[0] == 404
    store = await server.store(PUBLIC)
    assert await store.tags("acme/app") == []
    assert (await server.api("POST", f"{APP}/restore"))[0] == 204
    assert await store.tags("acme/app") == ["one", "shared", "two"]
    assert len(await _versions(server)) == 3
    await server.api("DELETE", APP)
    await push(store, "acme/app", "new life")
    assert await store.tags("acme/app") == []
    assert len(await _versions(server)) == 1
    assert (await server.api("POST", f"{APP}/restore"))[0] == 404


async def test_lists_may_still_show_what_was_deleted(rehearse: Rehearse, clock: Ticking) -> None:
    async with rehearse(listing_lag=60.0) as server:
        third, *_ = await _three(server)
        path = f"{APP}/versions/{third['id']}"
        assert (await server.api("DELETE", path))[0] == 204
        assert third["id"] in [version["id"] for version in await _versions(server)]
        assert (await server.api("DELETE", path))[0] == 404
        clock.now += 61
        assert third["id"] not in [version["id"] for version in await _versions(server)]


async def test_the_hours_limit(rehearse: Rehearse, clock: Ticking) -> None:
    async with rehearse(api_limit=5, api_limit_workflow=2) as server:
        await push(await server.store(PUBLIC), "acme/app", "x")
        headers = (await server.send("GET", APP, token=PUBLIC)).headers
        assert (headers["X-RateLimit-Limit"], headers["X-RateLimit-Remaining"]) == ("2", "1")
        assert headers["X-RateLimit-Reset"] == str(int(clock.now) + 3600)
        assert (await server.api("GET", APP, READER))[0] == 200  # the same repository, the same hour
        answer = await server.send("GET", APP, token=PUBLIC)
        assert answer.status == 403
        assert b"API rate limit exceeded" in answer.data
        assert answer.headers["X-RateLimit-Remaining"] == "0"
        assert (await server.api("GET", APP, OTHER))[0] == 200
        status, limits = await server.api("GET", "/rate_limit", PUBLIC)
        assert (status, limits["rate"]["remaining"]) == (200, 0)
        clock.now += 3600
        assert (await server.api("GET", APP, PUBLIC))[0] == 200
        assert (await server.api("GET", "/rate_limit"))[1]["rate"]["limit"] == 5


async def test_the_secondary_limit(rehearse: Rehearse, clock: Ticking) -> None:
    async with rehearse(api_points=12) as server:
        third, *_ = await _three(server)
        assert (await server.api("DELETE", f"{APP}/versions/999"))[0] == 404
        assert (await server.api("DELETE", f"{APP}/versions/999"))[0] == 404
        clock.now += 20
        answer = await server.send("DELETE", f"{APP}/versions/{third['id']}", token=ADMIN)
        assert answer.status == 403
        assert b"secondary rate limit" in answer.data
        assert answer.headers["Retry-After"] == "40"
        clock.now += 40
        assert (await server.api("DELETE", f"{APP}/versions/{third['id']}"))[0] == 204


def test_the_accounts_say_what_an_owner_is() -> None:
    assert ACCOUNTS.owner_type("ACME") == "organization"
    assert ACCOUNTS.owner_type("dave") == "user"
    assert ACCOUNTS.owner_type("nobody") is None
