"""The client of the Packages API against the rehearsal's, which refuses as GitHub does."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio.lowlevel
import pytest
from tests.unit.ghcr.conftest import ADMIN, BAD, LOOKER, OTHER, PRIVATE, PUBLIC, READER, Rehearsal, Ticking, push, start

from shipgraph.errors import ConfigurationError, Denied, MalformedDocument, NotFound, RegistryError, RegistryUnavailable
from shipgraph.github.api import GITHUB, GitHubApi, RateLimited, find_base, find_token
from shipgraph.github.packages import Keeping, Owner, Packages, VersionKept, find_owner
from shipgraph.remote import RetryPolicy, TransportFailure
from shipgraph.remote.transport import Headers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from shipgraph.remote.transport import Request

ACME = Owner("acme", "Organization", "/orgs/acme")


class Bench:
    """A server and clients of its API that share its clock: when they wait, its time passes."""

    def __init__(self, server: Rehearsal, stack: AsyncExitStack) -> None:
        self.server, self._stack = server, stack
        self.slept: list[float] = []

    async def api(self, token: str | None, **more: Any) -> GitHubApi:
        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)
            self.server.clock.now += seconds
            await anyio.lowlevel.checkpoint()

        retries = RetryPolicy(sleep=sleep, random=lambda: 0.5)
        base = f"http://{self.server.address}/api/v3"
        made = GitHubApi(token, **{"base": base, "retries": retries, "clock": self.server.clock, **more})
        return await self._stack.enter_async_context(made)

    async def packages(self, token: str | None, owner: Owner = ACME, **more: Any) -> Packages:
        return Packages(await self.api(token, **more), owner)


@asynccontextmanager
async def bench(root: Path, **habits: Any) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(start(root, Ticking(), **habits))
        yield Bench(server, stack)


async def test_lists_and_versions(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        await push(await at.server.store(PUBLIC), "acme/app", "x", "v1", "dev")
        await push(await at.server.store(PRIVATE), "acme/deep/secret", "x")
        packages = await at.packages(ADMIN)
        app, secret = await packages.all()
        assert (app.name, app.visibility, app.source, app.version_count) == ("app", "public", "acme/app", 1)
        assert (secret.name, secret.visibility, secret.source) == ("deep/secret", "private", "acme/secret")
        assert await packages.get("deep/secret") == secret
        assert await packages.get("absent") is None
        (version,) = await packages.versions("app")
        assert version.tags == ("dev", "v1")
        assert version.digest.startswith("sha256:")
        assert version.created_at.tzinfo is not None
        assert await packages.version("app", version.id) == version
        assert packages.owner.settings("deep/secret") == (
            "https://github.com/orgs/acme/packages/container/deep%2Fsecret/settings"
        )


async def test_one_call_for_a_hundred_versions(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        ledger = at.server.ghcr.ledger
        package = await ledger.create("acme/app", "public", "acme/app")
        for number in range(730):
            await ledger.store(package, f"sha256:{number:064x}", f"t{number}")
        packages = await at.packages(PUBLIC)
        api = packages._api
        versions = await packages.versions("app")
        assert [version.tags[0] for version in versions] == [f"t{number}" for number in reversed(range(730))]
        assert api.calls == 8
        assert api.budget is not None
        assert (api.budget.limit, api.budget.remaining) == (1000, 992)


@pytest.mark.parametrize(
    ("login", "token", "kind", "path"),
    [
        ("acme", PUBLIC, "Organization", "/orgs/acme"),
        ("alice", ADMIN, "User", "/user"),
        ("alice", LOOKER, "User", "/users/alice"),
        ("alice", PUBLIC, "User", "/users/alice"),
    ],
)
async def test_the_kind_of_owner_decides_the_path(tmp_path: Path, login: str, token: str, kind: str, path: str) -> None:
    async with bench(tmp_path) as at:
        assert await find_owner(await at.api(token), login) == Owner(login, kind, path)  # type: ignore[arg-type]


async def test_nobody_of_that_name(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        with pytest.raises(NotFound):
            await find_owner(await at.api(ADMIN), "nobody")


async def test_deleting_and_restoring(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        store = await at.server.store(PUBLIC)
        await push(store, "acme/app", "1", "one")
        await push(store, "acme/app", "2", "two")
        packages = await at.packages(ADMIN)
        second, first = await packages.versions("app")
        assert await packages.delete_version("app", second.id)
        assert not await packages.delete_version("app", second.id)
        (deleted,) = await packages.versions("app", state="deleted")
        assert (deleted.id, deleted.deleted_at is not None) == (second.id, True)
        with pytest.raises(VersionKept, match="last version") as kept:
            await packages.delete_version("app", first.id)
        assert kept.value.reason is Keeping.LAST
        await packages.restore_version("app", second.id)
        await packages.restore_version("app", second.id)  # once more does no harm
        assert await store.tags("acme/app") == ["one", "two"]
        with pytest.raises(NotFound, match="can't be restored"):
            await packages.restore_version("app", 999)
        assert await packages.delete_package("app")
        assert not await packages.delete_package("app")
        await packages.restore_package("app")
        await packages.restore_package("app")
        with pytest.raises(NotFound):
            await packages.restore_package("absent")


async def test_why_github_keeps_a_version(tmp_path: Path) -> None:
    async with bench(tmp_path, max_downloads=3) as at:
        store = await at.server.store(PUBLIC)
        tagged = await push(store, "acme/app", "1", "one")
        untagged = await push(store, "acme/app", "2")
        packages = await at.packages(PUBLIC)
        ids = {version.digest: version.id for version in await packages.versions("app")}
        with pytest.raises(VersionKept) as kept:
            await packages.delete_version("app", ids[str(tagged.digest)])
        assert kept.value.reason is Keeping.LAST_TAGGED
        for _ in range(4):
            await store.manifest("acme/app", untagged.digest)
        with pytest.raises(VersionKept) as kept:
            await packages.delete_version("app", ids[str(untagged.digest)])
        assert kept.value.reason is Keeping.DOWNLOADS
        with pytest.raises(VersionKept):
            await packages.delete_package("app")


@pytest.mark.parametrize("token", [READER, OTHER])
async def test_a_missing_right_is_told_from_a_missing_version(tmp_path: Path, token: str) -> None:
    async with bench(tmp_path) as at:
        store = await at.server.store(PUBLIC)
        await push(store, "acme/app", "1", "one")
        await push(store, "acme/app", "2", "two")
        packages = await at.packages(token)
        version = (await packages.versions("app"))[0]
        with pytest.raises(Denied, match="may read it, but not change it") as denied:
            await packages.delete_version("app", version.id)
        assert "Manage Actions access" in denied.value.hint
        with pytest.raises(Denied):
            await packages.delete_package("app")
        with pytest.raises(NotFound):  # a package that can't be seen: nobody can say what is missing
            await packages.delete_version("unseen", 1)


@pytest.mark.parametrize(("token", "hint"), [(BAD, "has not expired"), (None, "GITHUB_TOKEN"), (PUBLIC, "cannot list")])
async def test_who_may_not_list(tmp_path: Path, token: str | None, hint: str) -> None:
    async with bench(tmp_path) as at:
        with pytest.raises(Denied) as denied:
            await (await at.packages(token)).all()
        assert hint in denied.value.hint
        assert token is None or token not in str(denied.value)


async def test_a_scope_that_is_missing_is_named(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        store = await at.server.store(PUBLIC)
        await push(store, "acme/app", "1", "one")
        packages = await at.packages(LOOKER)
        (version,) = await packages.versions("app")
        with pytest.raises(Denied, match="at least delete:packages scope"):
            await packages.delete_version("app", version.id)


async def test_stale_lists_are_no_failure(tmp_path: Path) -> None:
    async with bench(tmp_path, listing_lag=600.0) as at:
        store = await at.server.store(PUBLIC)
        for number in range(3):
            await push(store, "acme/app", str(number), f"t{number}")
        packages = await at.packages(PUBLIC)
        version = (await packages.versions("app"))[0]
        assert await packages.delete_version("app", version.id)
        assert version.id in [one.id for one in await packages.versions("app")]
        assert not await packages.delete_version("app", version.id)


async def test_the_client_keeps_the_minutes_points_by_itself(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        ledger = at.server.ghcr.ledger
        package = await ledger.create("acme/app", "public", "acme/app")
        for number in range(401):
            await ledger.store(package, f"sha256:{number:064x}", None)
        packages = await at.packages(ADMIN)
        versions = await packages.versions("app")
        began = at.server.clock.now
        for version in versions[:-1]:
            assert await packages.delete_version("app", version.id)
        assert 120 <= at.server.clock.now - began <= 181  # 400 deletions, at 180 a minute
        assert all(seconds > 1 for seconds in at.slept)  # waiting once a minute, and refused never
        assert packages._api.calls == 5 + 400


async def test_a_secondary_limit_is_waited_out(tmp_path: Path) -> None:
    async with bench(tmp_path, api_points=6) as at:
        store = await at.server.store(PUBLIC)
        for number in range(4):
            await push(store, "acme/app", str(number), f"t{number}")
        packages = await at.packages(ADMIN)
        for version in (await packages.versions("app"))[:3]:
            assert await packages.delete_version("app", version.id)
        assert len(at.slept) == 2
        assert all(60 <= seconds <= 61 for seconds in at.slept)


async def test_the_end_of_the_hour_is_an_error_that_says_when_to_go_on(tmp_path: Path) -> None:
    async with bench(tmp_path, api_limit_workflow=3) as at:
        await push(await at.server.store(PUBLIC), "acme/app", "x")
        packages = await at.packages(PUBLIC)
        for _ in range(3):
            await packages.get("app")
        with pytest.raises(RateLimited) as limited:
            await packages.get("app")
        assert limited.value.resume_at == at.server.clock.now + 3600
        assert "UTC" in limited.value.hint
        assert isinstance(limited.value, RegistryUnavailable)  # trying again is safe: exit code 5
        assert at.slept == []
        at.server.clock.now += 3600
        assert await packages.get("app") is not None


async def test_some_requests_are_left_to_others(tmp_path: Path) -> None:
    async with bench(tmp_path, api_limit=10) as at:
        await push(await at.server.store(PUBLIC), "acme/app", "x")
        packages = await at.packages(ADMIN, keep=7)
        for _ in range(3):
            await packages.get("app")
        with pytest.raises(RateLimited):
            await packages.get("app")
        assert packages._api.budget is not None
        assert packages._api.budget.remaining == 7


# --- answers that no honest server gives


class Canned:
    """A transport that gives prepared answers."""

    def __init__(self, *answers: tuple[int, dict[str, str], bytes] | TransportFailure) -> None:
        self.answers = list(answers)
        self.requests: list[Request] = []

    def exchange(self, request: Request) -> Any:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, TransportFailure):
            raise answer
        return _Answer(*answer)

    def close(self) -> None:
        """Nothing is open."""


class _Answer:
    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self._body = status, Headers(headers.items()), body

    def read(self, limit: int) -> bytes:
        piece, self._body = self._body[:limit], self._body[limit:]
        return piece

    def close(self) -> None:
        """Nothing is open."""


def _canned(
    *answers: tuple[int, dict[str, str], bytes] | TransportFailure, now: float = 1000.0
) -> tuple[Canned, Packages]:
    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    slept: list[float] = []
    transport = Canned(*answers)
    transport.slept = slept  # type: ignore[attr-defined]
    retries = RetryPolicy(attempts=3, sleep=sleep, random=lambda: 0.0)
    return transport, Packages(GitHubApi("ghp_t", transport=transport, retries=retries, clock=lambda: now), ACME)


def _page(*identifiers: int) -> bytes:
    when = "2026-01-01T00:00:00Z"
    return json.dumps(
        [{"id": one, "name": f"sha256:{one:064x}", "created_at": when, "updated_at": when} for one in identifiers]
    ).encode()


async def test_an_entry_on_two_pages_is_one_and_more_pages_may_turn_up() -> None:
    base = f"{GITHUB}/orgs/acme/packages/container/app/versions?state=active&per_page=100"
    transport, packages = _canned(
        (200, {"Link": f'<{base}&page=2>; rel="next", <{base}&page=2>; rel="last"'}, _page(5, 4)),
        (200, {"Link": f'<{base}&page=3>; rel="next"'}, _page(4, 3)),
        (200, {}, _page(2)),
    )
    assert [version.id for version in await packages.versions("app")] == [5, 4, 3, 2]
    assert [request.url for request in transport.requests] == [base, f"{base}&page=2", f"{base}&page=3"]
    assert transport.requests[0].headers["Authorization"] == "Bearer ghp_t"


async def test_the_token_goes_nowhere_else() -> None:
    transport, packages = _canned((200, {"Link": '<https://evil.example/x?page=2>; rel="next"'}, _page(1)))
    with pytest.raises(RegistryError, match="lead nowhere"):
        await packages.versions("app")
    assert len(transport.requests) == 1


@pytest.mark.parametrize("body", [b"<html>", b"{}", b"[1]", b'[{"id": 1}]', b"\xff", b"[" * 100_000])
async def test_what_is_no_list_is_refused(body: bytes) -> None:
    _, packages = _canned((200, {}, body))
    with pytest.raises(MalformedDocument):
        await packages.versions("app")


async def test_pages_of_html_and_broken_connections_are_tried_again() -> None:
    transport, packages = _canned(
        (502, {"Content-Type": "text/html"}, b"<html>unicorn</html>"), TransportFailure("cut"), (200, {}, _page(1))
    )
    assert len(await packages.versions("app")) == 1
    assert len(transport.requests) == 3
    _, packages = _canned(*[(503, {}, b"<html>")] * 3)
    with pytest.raises(RegistryUnavailable, match="an HTML page"):
        await packages.versions("app")
    _, packages = _canned(TransportFailure("the certificate is not trusted", permanent=True))
    with pytest.raises(RegistryError, match="not trusted"):
        await packages.versions("app")


@pytest.mark.parametrize(
    ("status", "headers", "body", "wait"),
    [
        (429, {}, b"{}", 60.0),
        (429, {"Retry-After": "7"}, b"{}", 7.0),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1030"}, b'{"message": "API rate limit"}', 30.0),
        (403, {}, b'{"message": "You have exceeded a secondary rate limit."}', 60.0),
    ],
)
async def test_how_long_github_wants_to_be_left_alone(
    status: int, headers: dict[str, str], body: bytes, wait: float
) -> None:
    transport, packages = _canned((status, headers, body), (200, {}, _page(1)))
    await packages.versions("app")
    assert transport.slept == [wait]  # type: ignore[attr-defined]


async def test_an_error_never_holds_the_token() -> None:
    _, packages = _canned((403, {}, b'{"message": "ghp_t may not"}'))
    with pytest.raises(Denied) as denied:
        await packages.versions("app")
    assert "ghp_t" not in str(denied.value) + repr(packages._api)


@pytest.mark.parametrize("base", ["http://api.github.com", "api.github.com", "ftp://x", "https://u:p@x", "https://x?y"])
def test_addresses_that_are_refused(base: str) -> None:
    with pytest.raises(ConfigurationError):
        GitHubApi("t", base=base)


def test_token_and_address_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GHCR_PAT", "GITHUB_TOKEN", "GITHUB_API_URL"):
        monkeypatch.delenv(name, raising=False)
    assert (find_token(), find_base()) == (None, GITHUB)
    monkeypatch.setenv("GITHUB_TOKEN", "one\n")
    assert find_token() == "one"
    monkeypatch.setenv("GHCR_PAT", "two")
    monkeypatch.setenv("GITHUB_API_URL", "https://ghe.example/api/v3")
    assert (find_token(), find_base()) == ("two", "https://ghe.example/api/v3")
