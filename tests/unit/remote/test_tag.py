"""Tags: resolving, writing once or on a condition, listing to the end."""

from __future__ import annotations

import json

import pytest
from tests.unit.remote.fakes import LOGIN, FakeResponse, Seen, error, script, store

from shipgraph.errors import (
    Denied,
    DigestMismatch,
    MalformedDocument,
    RegistryError,
    RegistryUnavailable,
    Rejected,
    TagMoved,
)
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import EMPTY_DESCRIPTOR, build_artifact
from shipgraph.remote import TransportFailure

MANIFEST = build_artifact("application/vnd.test", [EMPTY_DESCRIPTOR])
OTHER = Digest.of(b"other")
HEAD = {
    "Docker-Content-Digest": str(MANIFEST.digest),
    "Content-Type": f"{MANIFEST.media_type}; charset=utf-8",
    "Content-Length": str(MANIFEST.size),
}


async def test_head_tells_it_all() -> None:
    remote, transport = store(script(FakeResponse(200, headers=HEAD)))
    assert await remote.resolve("acme/x", "v1") == MANIFEST.descriptor
    assert transport.lines() == ["HEAD /v2/acme/x/manifests/v1"]


@pytest.mark.parametrize("lacking", list(HEAD))
async def test_what_head_lacks_get_tells(lacking: str) -> None:
    headers = {key: value for key, value in HEAD.items() if key != lacking}
    remote, _ = store(script(FakeResponse(200, headers=headers), FakeResponse(200, MANIFEST.raw, headers)))
    assert await remote.resolve("acme/x", "v1") == MANIFEST.descriptor


async def test_head_may_be_refused() -> None:
    remote, _ = store(script(FakeResponse(405), FakeResponse(200, MANIFEST.raw)))
    assert await remote.resolve("acme/x", "v1") == MANIFEST.descriptor
    remote, _ = store(script(FakeResponse(405), error(404, "MANIFEST_UNKNOWN")))
    assert await remote.resolve("acme/x", "v1") is None


async def test_a_digest_that_is_none_or_does_not_fit() -> None:
    remote, _ = store(lambda seen: FakeResponse(200, headers={**HEAD, "Docker-Content-Digest": "sha256:1"}))
    with pytest.raises(RegistryError, match="not a digest"):
        await remote.resolve("acme/x", "v1")
    lie = {"Docker-Content-Digest": str(OTHER)}
    remote, _ = store(lambda seen: FakeResponse(200, MANIFEST.raw, lie))
    with pytest.raises(DigestMismatch):
        await remote.resolve("acme/x", "v1")


@pytest.mark.parametrize(
    ("status", "kind"), [(500, RegistryUnavailable), (429, RegistryUnavailable), (401, Denied), (403, Denied)]
)
async def test_once_is_one_put(status: int, kind: type[RegistryError]) -> None:
    challenge = {"WWW-Authenticate": 'Basic realm="x"'}

    def answer(seen: Seen) -> FakeResponse:
        return FakeResponse(401, headers=challenge) if seen.path == "/v2/" else FakeResponse(status, headers=challenge)

    remote, transport = store(answer, credentials=LOGIN)
    with pytest.raises(kind):
        await remote.tag("acme/x", "v1", MANIFEST, once=True)
    assert transport.lines() == ["GET /v2/", "PUT /v2/acme/x/manifests/v1"]
    assert transport.seen[1].authorization == LOGIN.basic


async def test_once_without_an_answer_is_unknown() -> None:
    remote, transport = store(script(FakeResponse(200), TransportFailure("cut")))
    with pytest.raises(RegistryUnavailable, match="cut"):
        await remote.tag("acme/x", "v1", MANIFEST, once=True)
    assert len(transport.seen) == 2


async def test_without_once_it_is_repeated() -> None:
    remote, _ = store(script(TransportFailure("cut"), FakeResponse(503), FakeResponse(201)))
    await remote.tag("acme/x", "v1", MANIFEST)


def conditional(*responses: FakeResponse | Exception) -> script:  # type: ignore[valid-type]
    return script(FakeResponse(200, headers={"Shipgraph-Conditional-Put": "1"}), *responses)


@pytest.mark.parametrize(
    ("expect", "header", "value"), [(OTHER, "If-Match", f'"{OTHER}"'), (None, "If-None-Match", "*")]
)
async def test_conditions(expect: Digest | None, header: str, value: str) -> None:
    remote, transport = store(conditional(FakeResponse(201), FakeResponse(412), FakeResponse(200, headers=HEAD)))
    await remote.tag("acme/x", "v1", MANIFEST, expect=expect)
    assert transport.seen[1].headers[header] == value
    with pytest.raises(TagMoved, match=str(MANIFEST.digest)):
        await remote.tag("acme/x", "v1", MANIFEST, expect=expect, once=True)


async def test_a_condition_that_our_own_lost_write_broke() -> None:
    remote, _ = store(conditional(TransportFailure("cut"), FakeResponse(412), FakeResponse(200, headers=HEAD)))
    await remote.tag("acme/x", "v1", MANIFEST, expect=OTHER)


async def test_other_registries_get_no_condition() -> None:
    remote, transport = store(script(FakeResponse(200), FakeResponse(201), FakeResponse(412)))
    await remote.tag("acme/x", "v1", MANIFEST, expect=OTHER)
    assert "If-Match" not in transport.seen[1].headers
    with pytest.raises(Rejected):
        await remote.tag("acme/x", "v1", MANIFEST, expect=OTHER)


def page(tags: object, link: str | None = None) -> FakeResponse:
    return FakeResponse(200, json.dumps({"name": "acme/x", "tags": tags}).encode(), {"Link": link} if link else {})


async def test_pages_are_followed_to_the_end_whatever_their_order() -> None:
    remote, transport = store(
        script(
            page(["v2", "v9"], '</v2/acme/x/tags/list?n=2&last=v9>; rel="next"'),
            page(["v1", "v2"], '<https://registry.example/v2/acme/x/tags/list?n=2&last=v2>; rel="next"'),
            page(None),
        )
    )
    assert await remote.tags("acme/x") == ["v1", "v2", "v9"]
    assert transport.seen[1].query_string == "n=2&last=v9"


async def test_no_repository_no_tags() -> None:
    remote, _ = store(script(error(404, "NAME_UNKNOWN")))
    assert await remote.tags("acme/x") == []


@pytest.mark.parametrize(
    "link",
    ['<https://evil.example/v2/acme/x/tags/list>; rel="next"', '</v2/acme/x/tags/list?n=1000>; rel="next"'],
)
async def test_pages_that_lead_away_or_in_a_circle(link: str) -> None:
    remote, transport = store(lambda seen: page(["a"], link))
    with pytest.raises(RegistryError):
        await remote.tags("acme/x")
    assert len(transport.seen) < 4


@pytest.mark.parametrize("body", [b"", b"[]", b'{"tags": 1}', b'{"tags": [1]}', b'{"tags": ["../x"]}', b"<html>"])
async def test_lists_that_are_none(body: bytes) -> None:
    remote, _ = store(lambda seen: FakeResponse(200, body))
    with pytest.raises(MalformedDocument):
        await remote.tags("acme/x")


async def test_deleting() -> None:
    remote, _ = store(script(FakeResponse(202), error(404, "MANIFEST_UNKNOWN"), error(405, "UNSUPPORTED")))
    await remote.delete_tag("acme/x", "v1")
    await remote.delete_tag("acme/x", "v1")
    with pytest.raises(Rejected):
        await remote.delete_tag("acme/x", "v1")
