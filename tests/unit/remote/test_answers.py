"""What a registry's answers mean: certain absence, refusal, or unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.remote.fakes import FakeResponse, Naps, error, quick, script, store

from shipgraph.errors import (
    Denied,
    DigestMismatch,
    MalformedDocument,
    NotFound,
    RegistryError,
    RegistryUnavailable,
    Rejected,
)
from shipgraph.oci import media_types
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import EMPTY_DESCRIPTOR, MAX_MANIFEST, build_artifact
from shipgraph.remote import TransportFailure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MANIFEST = build_artifact("application/vnd.test", [EMPTY_DESCRIPTOR])
HTML = {"Content-Type": "text/html; charset=utf-8"}
PAGE = b"<!DOCTYPE html><html><body>Unicorn! <a href='https://x/?token=abc'></body></html>"
ACCEPT = "OCI index found, but Accept header does not support OCI indexes"

ERRORS: list[tuple[FakeResponse, type[RegistryError]]] = [
    (error(404, "MANIFEST_UNKNOWN", "manifest unknown"), NotFound),
    (error(404, "NAME_UNKNOWN"), NotFound),
    (FakeResponse(404), NotFound),
    (error(404, "MANIFEST_UNKNOWN", ACCEPT), Rejected),
    (FakeResponse(404, PAGE, HTML), RegistryUnavailable),
    (FakeResponse(404, PAGE), RegistryUnavailable),
    (FakeResponse(404, b"404 page not found\n", {"Content-Type": "text/plain"}), RegistryError),
    (FakeResponse(404, b'{"detail": "?"}', {"Content-Type": "application/json"}), RegistryError),
    (error(401, "UNAUTHORIZED"), Denied),
    (error(403, "DENIED"), Denied),
    (error(400, "NAME_INVALID"), Rejected),
    (error(405, "UNSUPPORTED"), Rejected),
    (FakeResponse(304), Rejected),
    (FakeResponse(206), RegistryError),
]


@pytest.mark.parametrize(("response", "kind"), ERRORS)
async def test_reading(response: FakeResponse, kind: type[RegistryError]) -> None:
    remote, transport = store(script(response))
    with pytest.raises(RegistryError) as caught:
        await remote.manifest("acme/x", MANIFEST.digest)
    assert type(caught.value) is kind
    assert caught.value.status == response.status
    assert caught.value.method == "GET"
    assert "token=abc" not in str(caught.value)
    assert len(transport.seen) == 1


@pytest.mark.parametrize("code", ["MANIFEST_UNKNOWN", "NAME_UNKNOWN", "BLOB_UNKNOWN"])
async def test_writing_never_says_not_found(code: str) -> None:
    remote, _ = store(lambda seen: error(404, code))
    with pytest.raises(Rejected):
        await remote.push_manifest("acme/x", MANIFEST)


async def test_errors_of_servers_are_repeated_to_the_end() -> None:
    naps = Naps()
    remote, transport = store(lambda seen: FakeResponse(502, PAGE, HTML), naps=naps)
    with pytest.raises(RegistryUnavailable, match="an HTML page"):
        await remote.manifest("acme/x", MANIFEST.digest)
    assert len(transport.seen) == 6
    assert naps.slept == [0.125, 0.25, 0.5, 1.0, 2.0]


async def test_a_broken_connection_and_a_429_with_a_hint_are_repeated() -> None:
    naps = Naps()
    hint = error(429, "TOOMANYREQUESTS", "retry-after: 12.5ms, allowed: 2000/minute")
    good = FakeResponse(200, MANIFEST.raw, {"Content-Type": MANIFEST.media_type})
    remote, _ = store(script(TransportFailure("reset"), hint, good), naps=naps, retries=quick(naps, base=0.0))
    assert await remote.manifest("acme/x", MANIFEST.digest) == MANIFEST
    assert naps.slept[:2] == [0.0, 0.0125]


async def test_too_long_a_wait_is_not_waited_for() -> None:
    remote, transport = store(lambda seen: error(429, "TOOMANYREQUESTS", Retry_After="3600"))
    with pytest.raises(RegistryUnavailable):
        await remote.tags("acme/x")
    assert len(transport.seen) == 1


async def test_an_untrusted_certificate_is_not_tried_again() -> None:
    remote, transport = store(script(TransportFailure("the certificate is not trusted", permanent=True)))
    with pytest.raises(RegistryError, match="not trusted"):
        await remote.tags("acme/x")
    assert len(transport.seen) == 1


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (FakeResponse(200, MANIFEST.raw + b" "), DigestMismatch),
        (FakeResponse(200, b""), DigestMismatch),
        (FakeResponse(200, PAGE, HTML), DigestMismatch),
        (FakeResponse(200, b"x" * (MAX_MANIFEST + 5)), MalformedDocument),
        (FakeResponse(200, MANIFEST.raw, {"Content-Type": media_types.IMAGE_INDEX}), MalformedDocument),
    ],
)
async def test_a_manifest_that_is_not_it(response: FakeResponse, kind: type[Exception]) -> None:
    remote, _ = store(script(response))
    with pytest.raises(kind):
        await remote.manifest("acme/x", MANIFEST.digest)


async def test_every_read_of_a_manifest_accepts_all_four_kinds() -> None:
    remote, transport = store(lambda seen: FakeResponse(404))
    assert await remote.resolve("acme/x", "v1") is None
    assert not await remote.has_manifest("acme/x", MANIFEST.digest)
    assert {seen.headers["Accept"] for seen in transport.seen} == {media_types.ACCEPT}


async def test_probes_raise_where_the_answer_is_unclear() -> None:
    remote, _ = store(lambda seen: FakeResponse(404, headers=HTML))
    probes: list[Callable[[], Awaitable[Any]]] = [
        lambda: remote.has_manifest("acme/x", MANIFEST.digest),
        lambda: remote.has_blob("acme/x", MANIFEST.digest),
        lambda: remote.resolve("acme/x", "v1"),
        lambda: remote.tags("acme/x"),
    ]
    for probe in probes:
        with pytest.raises(RegistryError) as caught:
            await probe()
        assert not isinstance(caught.value, NotFound)


async def test_a_lying_digest_of_a_probe_is_looked_into() -> None:
    lie = FakeResponse(200, headers={"Docker-Content-Digest": str(Digest.of(b"other"))})
    remote, _ = store(script(lie, FakeResponse(200, b"{}")))
    with pytest.raises(DigestMismatch):
        await remote.has_manifest("acme/x", MANIFEST.digest)


async def test_what_was_stored_is_compared() -> None:
    other = {"Docker-Content-Digest": str(Digest.of(b"other"))}
    remote, _ = store(lambda seen: FakeResponse(201, headers=other))
    with pytest.raises(DigestMismatch):
        await remote.push_manifest("acme/x", MANIFEST)
    with pytest.raises(DigestMismatch):
        await remote.tag("acme/x", "v1", MANIFEST)


async def test_a_registry_that_lags_gets_patience() -> None:
    naps = Naps()
    remote, transport = store(script(unknown(), unknown(), FakeResponse(201)), naps=naps, lag=5.0)
    await remote.push_manifest("acme/x", MANIFEST)
    assert naps.slept == [1.0, 1.0]
    naps = Naps()
    prompt, transport = store(lambda seen: unknown(), naps=naps)
    with pytest.raises(Rejected):
        await prompt.push_manifest("acme/x", MANIFEST)
    assert naps.slept == [0.25] * 3
    assert [seen.method for seen in transport.seen].count("PUT") == 4


def unknown() -> FakeResponse:
    return error(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry")


async def test_the_clock() -> None:
    date = {"Date": "Thu, 01 Jan 1970 00:02:00 GMT"}
    remote, transport = store(lambda seen: FakeResponse(401, headers=date))
    assert await remote.now() == 120
    assert transport.lines() == ["GET /v2/"]
    silent, _ = store(lambda seen: FakeResponse(200))
    with pytest.raises(RegistryError, match="time"):
        await silent.now()
