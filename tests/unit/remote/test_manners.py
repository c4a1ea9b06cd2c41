"""GHCR is known by what it says, not by its host's name; what is known of it is heeded."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from shipgraph.errors import Rejected
from shipgraph.oci.manifest import build_artifact
from shipgraph.remote.manners import Manners
from shipgraph.tasks import gather

from .fakes import FakeResponse, Naps, Seen, error, store

MANIFEST = build_artifact("application/vnd.test", [])
GHCR = {"WWW-Authenticate": 'Bearer realm="https://registry.example/token",service="ghcr.io",scope="x"'}
OTHER = {"WWW-Authenticate": 'Bearer realm="https://registry.example/token",service="registry.example"'}


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (401, GHCR, (True, 5.0)),
        (401, OTHER, (False, 0.0)),
        (401, GHCR | {"Shipgraph-Lag": "0"}, (True, 0.0)),
        (401, GHCR | {"Shipgraph-Lag": "2.5"}, (True, 2.5)),
        (401, GHCR | {"Shipgraph-Lag": "nan"}, (True, 5.0)),
        (401, GHCR | {"Shipgraph-Lag": "-1"}, (True, 5.0)),
        (401, {"WWW-Authenticate": 'Basic realm="ghcr.io"'}, (False, 0.0)),
        (200, GHCR, (False, 0.0)),
        (200, {}, (False, 0.0)),
    ],
)
async def test_ghcr_is_known_by_its_challenge(
    status: int, headers: dict[str, str], expected: tuple[bool, float]
) -> None:
    remote, transport = store(lambda seen: FakeResponse(status, headers=headers))
    manners = await remote.manners()
    assert (manners.is_ghcr, manners.lag) == expected
    await remote.manners()
    await remote.conditional()
    await remote.service()
    assert transport.lines() == ["GET /v2/"]


async def test_ghcr_is_known_by_its_name_without_a_question() -> None:
    assert Manners("ghcr.io").is_ghcr


async def test_an_answer_that_is_no_registrys_is_not_remembered() -> None:
    answers = iter([FakeResponse(404), FakeResponse(401, headers=GHCR)])
    remote, _ = store(lambda seen: next(answers))
    assert not (await remote.manners()).is_ghcr
    assert (await remote.manners()).is_ghcr


@pytest.mark.parametrize(("headers", "writes", "most"), [(GHCR, None, 4), (OTHER, None, 12), (GHCR, 9, 9)])
async def test_ghcr_gets_four_writes_at_a_time_unless_told_otherwise(
    headers: dict[str, str], writes: int | None, most: int
) -> None:
    lock, open_, highest = threading.Lock(), 0, 0
    enough = threading.Event()

    def answer(seen: Seen) -> FakeResponse:
        nonlocal open_, highest
        if seen.path == "/token":
            return FakeResponse(200, b'{"token":"t0ken-of-nobody"}')
        if seen.authorization is None:
            return FakeResponse(401, headers=headers)
        with lock:
            open_ += 1
            highest = max(highest, open_)
            if open_ >= most:
                enough.set()
        enough.wait(10)
        with lock:
            open_ -= 1
        return FakeResponse(201)

    remote, _ = store(answer, concurrency=12, writes=writes)
    await remote.manners()
    await gather([partial(remote.tag, "acme/x", f"v{number}", MANIFEST) for number in range(3 * most)])
    assert highest == most


async def test_what_is_refused_as_unknown_is_sent_again_for_as_long_as_ghcr_lags() -> None:
    def answer(seen: Seen) -> FakeResponse:
        if seen.path == "/token":
            return FakeResponse(200, b'{"token":"t0ken-of-nobody"}')
        if seen.authorization is None:
            return FakeResponse(401, headers=GHCR)
        return error(400, "MANIFEST_BLOB_UNKNOWN")

    naps = Naps()
    remote, _ = store(answer, naps=naps)
    with pytest.raises(Rejected):
        await remote.push_manifest("acme/x", MANIFEST)
    assert sum(naps.slept) == 5.0
