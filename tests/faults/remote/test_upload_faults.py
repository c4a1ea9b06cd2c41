"""Uploads that break off go on where the registry says that they are; chunks where the whole is refused."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.faults.remote.server import Asked, Server, Wire, client, serving

from shipgraph.errors import DigestMismatch, RegistryError, RegistryUnavailable
from shipgraph.oci import media_types
from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.digest import Digest
from shipgraph.remote import Credentials, RemoteStore, RetryPolicy
from shipgraph.remote.upload import CHUNK
from shipgraph.store.content import from_bytes
from shipgraph.store.protocols import PIECE

CONTENT = bytes(range(251)) * ((2 * CHUNK + 3 * PIECE + 777) // 251)
BLOB = Descriptor.of(media_types.LAYER_TAR, CONTENT)
GONE = b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}'

Fault = Callable[["Registry", Wire, Asked], None]


@dataclass
class Registry:
    """A registry that takes uploads by the letter; faults are by method, each used up once."""

    faults: dict[str, list[Fault]] = field(default_factory=dict)
    whole_limit: int = 1 << 40
    chunk_limit: int = 1 << 40
    minimum: int = 0
    knows_progress: bool = True
    blobs: dict[str, bytes] = field(default_factory=dict)
    sessions: dict[str, bytearray] = field(default_factory=dict)
    started: int = 0
    taken: int = 0

    def __call__(self, wire: Wire, asked: Asked) -> None:
        faults = self.faults.get(asked.method)
        if faults:
            faults.pop(0)(self, wire, asked)
        else:
            getattr(self, asked.method.lower())(wire, asked)

    def session(self, asked: Asked) -> bytearray | None:
        return self.sessions.get(asked.path.partition("?")[0].rpartition("/")[2])

    def progress(self, wire: Wire, asked: Asked, status: int) -> None:
        there = self.session(asked)
        assert there is not None
        path = asked.path.partition("?")[0]
        wire.reply(status, Location=f"{path}?_state={len(there)}", Range=f"0-{max(0, len(there) - 1)}")

    def head(self, wire: Wire, asked: Asked) -> None:
        blob = self.blobs.get(asked.path.rpartition("/")[2])
        wire.reply(404 if blob is None else 200, length=len(blob or b""))

    def post(self, wire: Wire, asked: Asked) -> None:
        self.started += 1
        self.sessions[str(self.started)] = bytearray()
        minimum: dict[str, Any] = {"OCI_Chunk_Min_Length": str(self.minimum)} if self.minimum else {}
        wire.reply(202, Location=f"/v2/acme/x/blobs/uploads/{self.started}", **minimum)

    def get(self, wire: Wire, asked: Asked) -> None:
        if self.session(asked) is None or not self.knows_progress:
            wire.reply(404, GONE)
        else:
            self.progress(wire, asked, 204)

    def delete(self, wire: Wire, asked: Asked) -> None:
        self.sessions.pop(asked.path.partition("?")[0].rpartition("/")[2], None)
        wire.reply(204)

    def patch(self, wire: Wire, asked: Asked) -> None:
        there = self.session(asked)
        if there is None:
            wire.reply(404, GONE)
            return
        match = re.fullmatch(r"([0-9]+)-([0-9]+)", asked.headers["content-range"])
        assert match is not None
        assert int(match[2]) - int(match[1]) + 1 == len(asked.body)
        if int(match[1]) != len(there):
            self.progress(wire, asked, 416)
        elif len(asked.body) > self.chunk_limit:
            wire.reply(416, b'{"errors":[{"code":"REQUESTED_RANGE_NOT_SATISFIABLE","message":"exceeds 4.00MiB"}]}')
        else:
            there += asked.body
            self.taken += len(asked.body)
            self.progress(wire, asked, 202)

    def put(self, wire: Wire, asked: Asked) -> None:
        there = self.session(asked)
        if there is None:
            wire.reply(404, GONE)
            return
        length = int(wire.headers["Content-Length"])
        if length > self.whole_limit:
            wire.read_body()
            wire.reply(413, b"<html>Request Entity Too Large</html>", Content_Type="text/html")
            return
        body = wire.read_body()
        self.taken += len(body)
        there += body
        digest = asked.path.rpartition("digest=")[2]
        if str(Digest.of(bytes(there))) != digest:
            wire.reply(400, b'{"errors":[{"code":"DIGEST_INVALID"}]}')
            return
        self.blobs[digest] = bytes(there)
        wire.reply(201, Docker_Content_Digest=digest)

    def keep(self, body: bytes, asked: Asked) -> None:
        there = self.session(asked)
        assert there is not None
        there += body
        self.taken += len(body)


def cut_after(count: int) -> Fault:
    """The connection breaks after so many bytes of the body, which the registry keeps."""

    def fault(registry: Registry, wire: Wire, asked: Asked) -> None:
        registry.keep(asked.body[:count] if asked.body else wire.read_body(count), asked)
        wire.cut()

    return fault


def answer(status: int, body: bytes = b"", **headers: Any) -> Fault:
    def fault(registry: Registry, wire: Wire, asked: Asked) -> None:
        wire.reply(status, body, **headers)
        if asked.method == "PUT":
            wire.close_connection = True

    return fault


@contextmanager
def against(registry: Registry, **options: float) -> Iterator[tuple[RemoteStore, Server]]:
    with serving(registry, unread_puts=True) as server:
        remote, transport = client(server, **options)  # type: ignore[arg-type]
        try:
            yield remote, server
        finally:
            transport.close()


def methods(server: Server) -> str:
    return " ".join(asked.method for asked in server.asked)


@pytest.mark.parametrize("at", [2, PIECE - 1, PIECE, CHUNK + 5, len(CONTENT) - PIECE])
async def test_a_cut_upload_goes_on_where_it_is(at: int) -> None:
    registry = Registry({"PUT": [cut_after(at)]})
    with against(registry) as (remote, server):
        assert await remote.push_blob("acme/x", BLOB, from_bytes(CONTENT))
        assert registry.blobs[str(BLOB.digest)] == CONTENT
        assert registry.taken == len(CONTENT)
        assert registry.started == 1
        patches = [asked for asked in server.asked if asked.method == "PATCH"]
        assert max(len(patch.body) for patch in patches) <= CHUNK
        assert patches[0].headers["content-range"].startswith(f"{at}-")


async def test_a_cut_with_nothing_kept_starts_afresh() -> None:
    registry = Registry({"PUT": [cut_after(0)]})
    with against(registry) as (remote, server):
        assert await remote.push_blob("acme/x", BLOB, from_bytes(CONTENT))
        assert methods(server) == "HEAD POST PUT HEAD GET POST PUT"


def read_and_answer(status: int, body: bytes = b"", **headers: Any) -> Fault:
    def fault(registry: Registry, wire: Wire, asked: Asked) -> None:
        wire.read_body()
        wire.reply(status, body, **headers)

    return fault


RATE = b'{"errors":[{"code":"TOOMANYREQUESTS","message":"retry-after: 1ms, allowed: 2000/minute"}]}'


@pytest.mark.parametrize(
    "turned_away",
    [
        read_and_answer(429, RATE),
        read_and_answer(429),
        read_and_answer(503, Retry_After="0"),
        read_and_answer(403, b'{"message":"You have exceeded a secondary rate limit"}'),
        answer(429, RATE),
    ],
    ids=["429 with a hint", "429", "503 with a time", "secondary rate limit", "429 before the body was read"],
)
async def test_a_put_that_was_turned_away_for_now_is_sent_again_to_the_same_upload(turned_away: Fault) -> None:
    registry = Registry({"PUT": [turned_away, turned_away]})
    with against(registry) as (remote, server):
        assert await remote.push_blob("acme/x", BLOB, from_bytes(CONTENT))
        assert methods(server) == "HEAD POST PUT PUT PUT"
        assert registry.blobs[str(BLOB.digest)] == CONTENT


async def test_a_chunk_that_was_turned_away_for_now_is_sent_again_to_the_same_upload() -> None:
    registry = Registry({"PATCH": [answer(429, RATE), answer(503, Retry_After="0")]}, whole_limit=PIECE)
    with against(registry) as (remote, server):
        assert await remote.push_blob("acme/x", BLOB, from_bytes(CONTENT))
        assert methods(server).endswith("POST PATCH PATCH PATCH PATCH PATCH PUT")
        assert registry.taken == len(CONTENT)


async def test_a_closing_put_that_was_turned_away_costs_no_second_reading_by_the_registry() -> None:
    registry = Registry({"PUT": [cut_after(PIECE), read_and_answer(429, RATE)]})
    with against(registry) as (remote, server):
        assert await remote.push_blob("acme/x", BLOB, from_bytes(CONTENT))
        assert registry.taken == len(CONTENT)
        assert methods(server).endswith("PATCH PUT PUT")


async def test_a_registry_that_kept_what_it_turned_away_gets_it_afresh() -> None:
    def kept(registry: Registry, wire: Wire, asked: Asked) -> None:
        registry.keep(wire.read_body(PIECE), asked)
        wire.reply(429, RATE)
        wire.close_connection = True

    registry = Registry({"PUT": [kept]})
    with against(registry) as (remote, _):
        assert await remote.push_blob("acme/x", BLOB, from_bytes(CONTENT))
        assert registry.started == 2
        assert registry.blobs[str(BLOB.digest)] == CONTENT


async def test_a_registry_that_is_always_too_busy_is_given_up() -> None:
    registry = Registry({"PUT": [read_and_answer(429)] * 99})
    with against(registry) as (remote, server), pytest.raises(RegistryUnavailable):
        await remote.push_blob("acme/x", BLOB, from_bytes(CONTENT))
    assert methods(server) == "HEAD POST PUT PUT PUT PUT"


async def test_a_yes_before_everything_was_sent_is_not_believed() -> None:
    registry = Registry({"PUT": [answer(201)]})
    with against(registry) as (remote, _):
        assert await remote.push_blob("acme/x", BLOB, from_bytes(CONTENT))
        assert registry.blobs[str(BLOB.digest)] == CONTENT


async def test_another_blob_that_is_mounted_is_an_error() -> None:
    registry = Registry({"POST": [answer(201, Docker_Content_Digest=f"sha256:{'0' * 64}")]})
    with against(registry) as (remote, _), pytest.raises(DigestMismatch):
        await remote.push_blob("acme/x", BLOB, from_bytes(CONTENT), mount_from="acme/y")


async def test_a_whole_that_never_gets_through_goes_in_chunks() -> None:
    registry = Registry({"PUT": [cut_after(0), cut_after(0)]})
    with against(registry) as (remote, server):
        assert await remote.push_blob("acme/x", BLOB, from_bytes(CONTENT))
        assert registry.started == 3
        assert methods(server).endswith("POST PATCH PATCH PATCH PUT")


async def test_everything_arrived_but_the_answer() -> None:
    registry = Registry({"PUT": [cut_after(len(CONTENT))]})
    opened = 0

    @asynccontextmanager
    async def source() -> AsyncIterator[AsyncIterator[bytes]]:
        nonlocal opened
        opened += 1
        async with from_bytes(CONTENT)() as pieces:
            yield pieces

    with against(registry) as (remote, server):
        assert await remote.push_blob("acme/x", BLOB, source)
        assert opened == 1
        assert methods(server) == "HEAD POST PUT HEAD GET PUT"


async def test_cuts_inside_the_rest_cost_no_second_reading() -> None:
    opened = 0

    @asynccontextmanager
    async def source() -> AsyncIterator[AsyncIterator[bytes]]:
        nonlocal opened
        opened += 1
        async with from_bytes(CONTENT)() as pieces:
            yield pieces

    registry = Registry({"PUT": [cut_after(PIECE)], "PATCH": [cut_after(7), answer(503), cut_after(CHUNK)]})
    with against(registry) as (remote, _):
        assert await remote.push_blob("acme/x", BLOB, source)
        assert registry.taken == len(CONTENT)
        assert opened == 2


async def test_a_chunk_taken_in_part() -> None:
    def part(registry: Registry, wire: Wire, asked: Asked) -> None:
        registry.keep(asked.body[:1000], asked)
        registry.progress(wire, asked, 202)

    registry = Registry({"PUT": [cut_after(PIECE)], "PATCH": [part]})
    with against(registry) as (remote, _):
        assert await remote.push_blob("acme/x", BLOB, from_bytes(CONTENT))
        assert registry.taken == len(CONTENT)


async def test_too_large_for_something_on_the_way() -> None:
    registry = Registry(whole_limit=CHUNK)
    with against(registry) as (remote, server):
        assert await remote.push_blob("acme/x", BLOB, from_bytes(CONTENT))
        assert "PATCH PATCH PATCH PUT" in methods(server)
        assert registry.blobs[str(BLOB.digest)] == CONTENT
        # learnt: the next of that size isn't tried as a whole
        other = CONTENT[::-1]
        server.asked.clear()
        assert await remote.push_blob("acme/x", Descriptor.of(media_types.LAYER_TAR, other), from_bytes(other))
        assert methods(server) == "HEAD POST PATCH PATCH PATCH PUT"


async def test_chunks_too_large_get_smaller() -> None:
    registry = Registry(whole_limit=PIECE, chunk_limit=PIECE)
    with against(registry) as (remote, _):
        assert await remote.push_blob("acme/x", BLOB, from_bytes(CONTENT))
        assert registry.blobs[str(BLOB.digest)] == CONTENT


async def test_the_least_chunk_is_honoured() -> None:
    registry = Registry(whole_limit=PIECE, minimum=CHUNK + PIECE)
    with against(registry) as (remote, server):
        assert await remote.push_blob("acme/x", BLOB, from_bytes(CONTENT))
        sizes = [len(asked.body) for asked in server.asked if asked.method == "PATCH"]
        assert all(size >= CHUNK + PIECE for size in sizes[:-1])


async def test_a_registry_that_forgets_uploads() -> None:
    registry = Registry({"PUT": [cut_after(PIECE), cut_after(PIECE)]}, knows_progress=False)
    with against(registry) as (remote, _):
        assert await remote.push_blob("acme/x", BLOB, from_bytes(CONTENT))
        assert registry.started == 3


async def test_a_registry_without_chunks() -> None:
    registry = Registry({"PUT": [cut_after(0), cut_after(0)], "PATCH": [answer(405)]})
    with against(registry) as (remote, server):
        assert await remote.push_blob("acme/x", BLOB, from_bytes(CONTENT))
        assert methods(server).endswith("PATCH HEAD POST PUT")


async def test_what_the_registry_kept_is_not_what_was_sent() -> None:
    def spoil(registry: Registry, wire: Wire, asked: Asked) -> None:
        registry.keep(b"?" * PIECE, asked)
        wire.cut()

    registry = Registry({"PUT": [spoil]})
    with against(registry) as (remote, _):
        assert await remote.push_blob("acme/x", BLOB, from_bytes(CONTENT))
        assert registry.started == 2
        assert registry.blobs[str(BLOB.digest)] == CONTENT


@pytest.mark.parametrize("claimed", ["0-99999999999", "1-5", "bytes */3", "-1", "0-0", "", "0-" + "9" * 40])
async def test_nonsense_about_progress_starts_afresh(claimed: str) -> None:
    registry = Registry({"PUT": [cut_after(PIECE)], "GET": [answer(204, Range=claimed)]})
    with against(registry) as (remote, _):
        assert await remote.push_blob("acme/x", BLOB, from_bytes(CONTENT))
        assert registry.started == 2


async def test_a_registry_that_loses_count_is_not_believed() -> None:
    """It says yes to each chunk and that it has nothing: an error after bounded patience, no endless loop."""

    def shrink(registry: Registry, wire: Wire, asked: Asked) -> None:
        wire.reply(202, Location=asked.path, Range="0-0")

    registry = Registry({"PATCH": [shrink] * 1000}, whole_limit=PIECE)
    with against(registry) as (remote, server), pytest.raises(RegistryError):
        await remote.push_blob("acme/x", BLOB, from_bytes(CONTENT))
    assert len(server.asked) < 100


async def test_a_wrong_source_is_not_stored_in_chunks_either() -> None:
    registry = Registry(whole_limit=PIECE)
    with against(registry) as (remote, server):
        with pytest.raises(DigestMismatch):
            await remote.push_blob("acme/x", BLOB, from_bytes(CONTENT[:-1] + b"?"))
        assert registry.blobs == {}
        assert server.asked[-1].method == "DELETE"


async def test_patience_ends() -> None:
    registry = Registry({"PUT": [cut_after(PIECE)], "PATCH": [answer(503)] * 99})
    with against(registry) as (remote, _), pytest.raises(RegistryUnavailable):
        await remote.push_blob("acme/x", BLOB, from_bytes(CONTENT))


async def test_credentials_do_not_follow_an_upload_to_another_host() -> None:
    storage = Registry()
    with serving(storage) as other:

        def challenged(registry: Registry, wire: Wire, asked: Asked) -> None:
            wire.reply(401, WWW_Authenticate='Basic realm="r"')

        def moved(registry: Registry, wire: Wire, asked: Asked) -> None:
            wire.reply(204, Location=f"http://{other.host}{asked.path}", Range=f"0-{PIECE - 1}")

        registry = Registry({"HEAD": [challenged], "PUT": [cut_after(PIECE)], "GET": [moved]})
        with serving(registry, unread_puts=True) as server:
            policy = RetryPolicy(attempts=4, base=0.01, ceiling=0.02)
            async with RemoteStore(server.host, credentials=Credentials("user", "pw"), retries=policy) as remote:
                assert await remote.push_blob("acme/x", BLOB, from_bytes(CONTENT))  # the other has lost it
        assert "authorization" in server.asked[-1].headers
        assert [asked.method for asked in other.asked] == ["PATCH"]
        assert "authorization" not in other.asked[0].headers
