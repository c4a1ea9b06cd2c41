"""Tokens, Basic and nobody; where credentials go, and where they never go."""

from __future__ import annotations

import json

import anyio
import pytest
from tests.unit.remote.fakes import LOGIN, SECRET, FakeResponse, Seen, error, store

from shipgraph.errors import Denied, RegistryError
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import EMPTY_DESCRIPTOR, build_artifact
from shipgraph.remote import Credentials

CHALLENGE = 'Bearer realm="https://auth.registry.example/token",service="reg",scope="repository:user/image:pull"'
MANIFEST = build_artifact("application/vnd.test", [EMPTY_DESCRIPTOR])


class TokenRegistry:
    """A registry that wants tokens, and its token server."""

    def __init__(self, *, challenge: str = CHALLENGE, expires_in: int | None = 300, good: str | None = SECRET) -> None:
        self.challenge, self.expires_in, self.good = challenge, expires_in, good
        self.issued: list[str] = []
        self.refused_anonymous = False
        self.revoked: set[str] = set()

    def __call__(self, seen: Seen) -> FakeResponse:
        if seen.path == "/token":
            return self._token(seen)
        token = (seen.authorization or "").removeprefix("Bearer ")
        if token not in self.issued or token in self.revoked:
            return error(401, "UNAUTHORIZED", WWW_Authenticate=self.challenge)
        headers = {"Docker-Content-Digest": str(MANIFEST.digest), "Content-Type": MANIFEST.media_type}
        if seen.method == "PUT":
            return FakeResponse(201, headers=headers)
        if seen.method == "HEAD":
            return FakeResponse(200, headers={**headers, "Content-Length": str(MANIFEST.size)})
        return FakeResponse(200, MANIFEST.raw, headers)

    def _token(self, seen: Seen) -> FakeResponse:
        if seen.method == "POST":
            wanted = f"refresh_token={self.good}"
            ok = wanted.encode() in seen.body
        elif seen.authorization is None:
            ok = not self.refused_anonymous
        else:
            ok = seen.authorization == Credentials("user", self.good or "").basic
        if not ok:
            return error(403, "DENIED", f"denied: {SECRET}")
        self.issued.append(f"tok{len(self.issued)}")
        answer: dict[str, object] = {"token": self.issued[-1]}
        if self.expires_in is not None:
            answer["expires_in"] = self.expires_in
        return FakeResponse(200, json.dumps(answer).encode())


async def test_the_scope_is_built_by_us_and_the_token_is_kept() -> None:
    registry = TokenRegistry()
    remote, transport = store(registry, credentials=LOGIN)
    await remote.manifest("acme/x", MANIFEST.digest)
    await remote.resolve("acme/x", "v1")
    assert transport.lines() == [
        f"GET /v2/acme/x/manifests/{MANIFEST.digest}",
        "GET /token",
        f"GET /v2/acme/x/manifests/{MANIFEST.digest}",
        "HEAD /v2/acme/x/manifests/v1",
    ]
    asked = transport.seen[1]
    assert asked.query == {"service": ["reg"], "scope": ["repository:acme/x:pull"]}
    assert asked.authorization == LOGIN.basic
    assert transport.seen[0].authorization is None


async def test_many_at_once_fetch_one_token() -> None:
    registry = TokenRegistry()
    remote, transport = store(registry)
    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(remote.manifest, "acme/x", MANIFEST.digest)
    assert transport.lines().count("GET /token") == 1


async def test_a_token_for_writing_serves_reading_and_another_repository_gets_its_own() -> None:
    registry = TokenRegistry()
    remote, transport = store(registry)
    await remote.tag("acme/x", "v1", MANIFEST)
    await remote.resolve("acme/x", "v1")
    await remote.resolve("acme/y", "v1")
    scopes = [seen.query["scope"] for seen in transport.seen if seen.path == "/token"]
    assert scopes == [["repository:acme/x:pull,push"], ["repository:acme/y:pull"]]


async def test_a_token_that_stops_working_is_replaced_once() -> None:
    registry = TokenRegistry()
    remote, _transport = store(registry)
    await remote.resolve("acme/x", "v1")
    registry.revoked.add("tok0")
    await remote.resolve("acme/x", "v1")
    assert registry.issued == ["tok0", "tok1"]
    registry.revoked |= {"tok1", "tok2"}
    with pytest.raises(Denied):
        await remote.resolve("acme/x", "v1")


async def test_a_registry_that_forgot_all_tokens_is_asked_for_one_more_not_given_the_next_dead_one() -> None:
    registry = TokenRegistry()
    remote, _ = store(registry, credentials=LOGIN)
    await remote.manifest("acme/x", MANIFEST.digest)  # a token for reading
    await remote.push_manifest("acme/x", MANIFEST)  # another for writing, which may read as well
    registry.revoked.update(registry.issued)
    await remote.manifest("acme/x", MANIFEST.digest)
    assert registry.issued == ["tok0", "tok1", "tok2"]


async def test_a_token_lives_sixty_seconds_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = TokenRegistry(expires_in=None)
    remote, _ = store(registry)
    now = 1000.0
    monkeypatch.setattr(remote._session.auth, "_clock", lambda: now)
    await remote.resolve("acme/x", "v1")
    now += 45
    await remote.resolve("acme/x", "v1")
    assert registry.issued == ["tok0"]
    now += 10
    await remote.resolve("acme/x", "v1")
    assert registry.issued == ["tok0", "tok1"]


async def test_bad_credentials_do_not_stop_anonymous_reading() -> None:
    registry = TokenRegistry(good="another")
    remote, transport = store(registry, credentials=LOGIN)
    await remote.resolve("acme/x", "v1")
    asked = [seen.authorization for seen in transport.seen if seen.path == "/token"]
    assert asked == [LOGIN.basic, None]


async def test_bad_credentials_stop_writing_and_are_not_shown() -> None:
    registry = TokenRegistry(good="another")
    remote, _ = store(registry, credentials=LOGIN)
    with pytest.raises(Denied) as caught:
        await remote.tag("acme/x", "v1", MANIFEST)
    assert SECRET not in str(caught.value)
    assert "given" in str(caught.value)
    registry.refused_anonymous = True
    with pytest.raises(Denied, match="anonymous reading too"):
        await remote.resolve("acme/x", "v1")


async def test_a_403_to_a_token_of_credentials_is_tried_anonymously() -> None:
    registry = TokenRegistry()

    def answer(seen: Seen) -> FakeResponse:
        if seen.authorization == "Bearer tok0":
            return error(403, "DENIED")
        return registry(seen)

    remote, transport = store(answer, credentials=LOGIN)
    assert await remote.resolve("acme/x", "v1") is not None
    assert [seen.authorization for seen in transport.seen][-2:] == [None, "Bearer tok1"]


async def test_an_identity_token_is_posted() -> None:
    registry = TokenRegistry()
    remote, transport = store(registry, credentials=Credentials(refresh=SECRET))
    await remote.resolve("acme/x", "v1")
    asked = next(seen for seen in transport.seen if seen.path == "/token")
    assert asked.method == "POST"
    assert asked.authorization is None
    assert b"grant_type=refresh_token" in asked.body


@pytest.mark.parametrize(
    "realm",
    [
        "https://evil.example.org/token",
        "http://auth.registry.example/token",
        "https://user@auth.registry.example/token",
        "ftp://auth.registry.example/token",
        "",
    ],
)
async def test_credentials_never_go_to_another_site_or_without_tls(realm: str) -> None:
    registry = TokenRegistry(challenge=f'Bearer realm="{realm}",service="reg"')
    remote, transport = store(registry, credentials=LOGIN)
    with pytest.raises(RegistryError):
        await remote.resolve("acme/x", "v1")
    assert [seen.authorization for seen in transport.seen] == [None]


async def test_a_foreign_token_server_can_be_allowed() -> None:
    registry = TokenRegistry(challenge='Bearer realm="https://login.example.org/token",service="reg"')
    remote, _ = store(registry, credentials=LOGIN, token_hosts=["login.example.org"])
    assert await remote.resolve("acme/x", "v1") is not None


async def test_basic() -> None:
    def answer(seen: Seen) -> FakeResponse:
        if seen.authorization != LOGIN.basic:
            return error(401, "UNAUTHORIZED", WWW_Authenticate='Basic realm="x"')
        return error(404, "MANIFEST_UNKNOWN")

    remote, transport = store(answer, credentials=LOGIN)
    assert await remote.resolve("acme/x", "v1") is None
    assert await remote.resolve("acme/x", "v2") is None
    assert [seen.authorization for seen in transport.seen] == [None, LOGIN.basic, LOGIN.basic]
    nobody, _ = store(answer)
    with pytest.raises(Denied):
        await nobody.resolve("acme/x", "v1")


async def test_a_redirect_loses_the_credentials() -> None:
    registry = TokenRegistry()

    def answer(seen: Seen) -> FakeResponse:
        if seen.host == "cdn.example":
            return FakeResponse(200, MANIFEST.raw, {"Content-Type": MANIFEST.media_type})
        reply = registry(seen)
        return (
            FakeResponse(307, headers={"Location": "https://cdn.example/b?sig=1"})
            if reply.status == 200 and seen.path != "/token"
            else reply
        )

    remote, transport = store(answer, credentials=LOGIN)
    await remote.manifest("acme/x", MANIFEST.digest)
    assert transport.seen[-1].host == "cdn.example"
    assert transport.seen[-1].authorization is None


@pytest.mark.parametrize("token", ["", "a b", "a\r\nX-Evil: 1", "ü", 5, None])
async def test_a_token_that_is_no_token(token: object) -> None:
    def answer(seen: Seen) -> FakeResponse:
        if seen.path == "/token":
            return FakeResponse(200, json.dumps({"token": token}).encode())
        return error(401, "UNAUTHORIZED", WWW_Authenticate=CHALLENGE)

    remote, _ = store(answer)
    with pytest.raises(RegistryError, match="without a token"):
        await remote.resolve("acme/x", "v1")


async def test_what_the_registry_echoes_is_not_shown() -> None:
    def answer(seen: Seen) -> FakeResponse:
        return (
            error(400, "UNSUPPORTED", f"your header was {seen.authorization} {SECRET}")
            if seen.authorization
            else error(401, "UNAUTHORIZED", WWW_Authenticate='Basic realm="x"')
        )

    remote, _ = store(answer, credentials=LOGIN)
    with pytest.raises(RegistryError) as caught:
        await remote.manifest("acme/x", Digest.of(b""))
    assert SECRET not in str(caught.value)
    assert LOGIN.basic[6:] not in str(caught.value)


def test_secrets_are_in_no_repr() -> None:
    assert SECRET not in repr(LOGIN)
    assert SECRET not in repr(Credentials(refresh=SECRET))
    remote, _transport = store(lambda seen: FakeResponse(200), credentials=LOGIN)
    assert SECRET not in repr(remote)
