"""A tag goes alone, over a registry with GHCR's habits and its Packages API."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from tests.unit.ghcr.conftest import ADMIN, OTHER, PUBLIC, PUSHER, Ticking, push, start

from shipgraph.errors import Conflict, Denied, RegistryError
from shipgraph.github.api import GitHubApi
from shipgraph.github.packages import Owner, Packages, VersionKept, find_owner
from shipgraph.github.untagging import MARKER, PROBE, PackageUntagger, is_marker
from shipgraph.remote import Credentials, RemoteStore, RetryPolicy
from shipgraph.remote.transport import PooledTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.unit.ghcr.conftest import Rehearsal

    from shipgraph.github.packages import PackageVersion
    from shipgraph.remote.transport import Request, Response

NAME = "acme/app"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Rehearsal]:
    async with start(tmp_path, Ticking()) as started:
        yield started


async def untagger(server: Rehearsal, token: str, *, lag: float = 0.0) -> PackageUntagger:
    async def sleep(seconds: float) -> None:
        server.clock.now += seconds

    packages = Packages(api(server, token), await find_owner(api(server, token), "acme"))
    return PackageUntagger(await server.store(token), packages, lag=lag, sleep=sleep)


def api(server: Rehearsal, token: str) -> GitHubApi:
    return GitHubApi(token, base=f"http://{server.address}", clock=server.clock)


async def versions(server: Rehearsal) -> list[PackageVersion]:
    return await Packages(api(server, ADMIN), await find_owner(api(server, ADMIN), "acme")).versions("app")


async def tags(server: Rehearsal) -> dict[str, str]:
    return {tag: version.digest for version in await versions(server) for tag in version.tags}


@pytest.mark.parametrize("token", [ADMIN, PUBLIC])
async def test_a_tag_goes_and_its_version_keeps_its_other_tags(server: Rehearsal, token: str) -> None:
    store = await server.store(PUBLIC)
    kept = await push(store, NAME, "one", "sha-1", "dev")
    remover = await untagger(server, token)
    await remover.check(NAME)
    await remover.remove(NAME, "dev")
    assert await tags(server) == {"sha-1": str(kept.digest)}
    assert await store.resolve(NAME, "dev") is None
    assert (await store.manifest(NAME, kept.digest)).raw == kept.raw
    assert [one.digest for one in await versions(server)] == [str(kept.digest)], "no marker is left"
    await remover.remove(NAME, "dev")


async def test_a_version_without_another_tag_stays(server: Rehearsal) -> None:
    store = await server.store(PUBLIC)
    await push(store, NAME, "one", "sha-1")
    alone = await push(store, NAME, "two", "dev")
    await (await untagger(server, ADMIN)).remove(NAME, "dev")
    assert set(await tags(server)) == {"sha-1"}
    assert (await store.manifest(NAME, alone.digest)).raw == alone.raw


async def test_the_last_tag_of_a_package_is_put_back(server: Rehearsal) -> None:
    store = await server.store(PUBLIC)
    only = await push(store, NAME, "one", "dev")
    with pytest.raises(VersionKept, match="last tagged version"):
        await (await untagger(server, ADMIN)).remove(NAME, "dev")
    assert (await tags(server)) == {"dev": str(only.digest)}


@pytest.mark.parametrize("token", [PUSHER, OTHER])
async def test_without_the_right_to_delete_nothing_is_begun(server: Rehearsal, token: str) -> None:
    store = await server.store(PUBLIC)
    there = await push(store, NAME, "one", "sha-1", "dev")
    with pytest.raises((Denied, RegistryError)):
        await (await untagger(server, token)).check(NAME)
    found = await tags(server)
    found.pop(PROBE, None)
    assert found == {"sha-1": str(there.digest), "dev": str(there.digest)}


async def test_a_right_that_is_lost_meanwhile_leaves_the_tag_as_it_was(server: Rehearsal) -> None:
    there = await push(await server.store(PUBLIC), NAME, "one", "sha-1", "dev")
    with pytest.raises(Denied):
        await (await untagger(server, PUSHER)).remove(NAME, "dev")
    assert (await tags(server))["dev"] == str(there.digest)


async def test_the_probe_is_used_again_and_goes(server: Rehearsal) -> None:
    await push(await server.store(PUBLIC), NAME, "one", "sha-1")
    with pytest.raises(Denied):
        await (await untagger(server, PUSHER)).check(NAME)
    assert PROBE in await tags(server)
    await (await untagger(server, ADMIN)).check(NAME)
    assert set(await tags(server)) == {"sha-1"}


async def test_a_removal_that_died_half_way_is_ended_by_the_next(server: Rehearsal) -> None:
    store = await server.store(PUBLIC)
    there = await push(store, NAME, "one", "sha-1", "dev")
    await (await untagger(server, ADMIN))._marked(NAME, "dev", there.digest)
    marked = await store.resolve(NAME, "dev")
    assert marked is not None
    found = await is_marker(store, NAME, marked.digest)
    assert found is not None
    assert found.artifact_type == MARKER
    await (await untagger(server, ADMIN)).remove(NAME, "dev")
    assert await tags(server) == {"sha-1": str(there.digest)}


async def test_a_half_way_removal_that_can_not_end_is_taken_back(server: Rehearsal) -> None:
    store = await server.store(PUBLIC)
    there = await push(store, NAME, "one", "sha-1", "dev")
    await (await untagger(server, ADMIN))._marked(NAME, "dev", there.digest)
    with pytest.raises(Denied):
        await (await untagger(server, PUSHER)).remove(NAME, "dev")
    assert (await tags(server))["dev"] == str(there.digest)


async def test_a_marker_that_got_a_second_tag_is_never_deleted(server: Rehearsal) -> None:
    store = await server.store(PUBLIC)
    there = await push(store, NAME, "one", "sha-1", "dev")
    marker = await (await untagger(server, ADMIN))._marked(NAME, "dev", there.digest)
    await store.tag(NAME, "somebodys", marker)
    with pytest.raises(Conflict, match="somebodys"):
        await (await untagger(server, ADMIN)).remove(NAME, "dev")
    assert (await tags(server))["somebodys"] == str(marker.digest)
    assert (await tags(server))["dev"] == str(there.digest)


async def test_registry_and_listing_may_lag(tmp_path: Path) -> None:
    async with start(tmp_path, Ticking(), lag=5.0, listing_lag=5.0) as server:
        store = await server.store(PUBLIC)
        await push(store, NAME, "one", "sha-1", "dev")
        server.clock.now += 10
        remover = await untagger(server, ADMIN, lag=5.0)
        await remover.check(NAME)
        await remover.remove(NAME, "dev")
        assert await store.resolve(NAME, "dev") is None
        server.clock.now += 10
        assert set(await tags(server)) == {"sha-1"}


async def test_another_owners_package_is_left_alone(server: Rehearsal) -> None:
    with pytest.raises(RegistryError, match="no package of acme"):
        await (await untagger(server, ADMIN)).check("bobs/app")


class Died(Exception):
    """The process is gone."""


class Mortal:
    """The real transport until the n-th request: the process dies before it is sent, or before its answer is read."""

    def __init__(self, number: int, *, sent: bool) -> None:
        self._inner, self._left, self._sent = PooledTransport(), number, sent
        self.died = False

    def exchange(self, request: Request) -> Response:
        self._left -= 1
        if self._left == 0:
            self.died = True
            if self._sent:
                self._inner.exchange(request).close()
        if self._left <= 0:
            raise Died
        return self._inner.exchange(request)

    def close(self) -> None:
        self._inner.close()


@pytest.mark.parametrize("sent", [False, True], ids=["before", "after"])
async def test_a_death_at_any_request_is_mended_by_the_next_removal(server: Rehearsal, *, sent: bool) -> None:
    store = await server.store(PUBLIC)
    number = deaths = 0
    while True:
        number += 1
        name = f"acme/package-{number}"
        there = await push(store, name, "one", "sha-1", "dev")
        other = await push(store, name, "two", "sha-2")
        mortal = Mortal(number, sent=sent)
        retries = RetryPolicy(attempts=1)
        asked = GitHubApi(ADMIN, base=f"http://{server.address}", clock=server.clock, transport=mortal, retries=retries)
        dying = RemoteStore(server.address, credentials=Credentials("x", ADMIN), transport=mortal, retries=retries)
        packages = Packages(asked, Owner("acme", "Organization", "/orgs/acme"))
        with suppress(Died):
            await PackageUntagger(dying, packages, lag=0).remove(name, "dev")
        mortal.close()
        deaths += mortal.died
        await (await untagger(server, ADMIN)).remove(name, "dev")
        listed = await Packages(api(server, ADMIN), Owner("acme", "Organization", "/orgs/acme")).versions(name[5:])
        assert {tag: one.digest for one in listed for tag in one.tags} == {
            "sha-1": str(there.digest),
            "sha-2": str(other.digest),
        }, f"died at request {number}"
        assert (await store.manifest(name, there.digest)).raw == there.raw
        if not mortal.died:
            break
    assert deaths >= 8
