"""Blobs over a real connection that is cut, stalls or lies: a completed retry or a clear error, never a wrong byte."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio
import pytest
from tests.faults.remote.server import Asked, Server, Wire, client, serving

from shipgraph.errors import Denied, DigestMismatch, NotFound, RegistryError, RegistryUnavailable
from shipgraph.oci import media_types
from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.digest import Digest
from shipgraph.remote import Credentials, RemoteStore
from shipgraph.store.content import from_bytes
from shipgraph.store.protocols import PIECE

CONTENT = os.urandom(3 * PIECE + 12345)
BLOB = Descriptor.of(media_types.LAYER_TAR, CONTENT)
PATH = f"/v2/acme/x/blobs/{BLOB.digest}"

Answer = Callable[[Wire, Asked], None]


@contextmanager
def against(answer: Answer, *, unread_puts: bool = False, **options: float) -> Iterator[tuple[RemoteStore, Server]]:
    with serving(answer, unread_puts=unread_puts) as server:
        remote, transport = client(server, **options)  # type: ignore[arg-type]
        try:
            yield remote, server
        finally:
            transport.close()


async def read(remote: RemoteStore, blob: Descriptor = BLOB) -> bytes:
    async with remote.blob("acme/x", blob) as pieces:
        return b"".join([piece async for piece in pieces])


async def read_into(got: list[bytes], remote: RemoteStore) -> None:
    async with remote.blob("acme/x", BLOB) as pieces:
        async for piece in pieces:
            got.append(piece)  # noqa: PERF401 (what came before an error counts)


def ranged(wire: Wire, asked: Asked, content: bytes = CONTENT) -> tuple[int, dict[str, Any], bytes]:
    """Status, headers and body that an honest server answers to a Range."""
    start = int(asked.headers["range"].removeprefix("bytes=").removesuffix("-")) if "range" in asked.headers else 0
    headers = {"Content_Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
    return (206 if start else 200), headers, content[start:]


async def test_whole() -> None:
    with against(lambda wire, asked: wire.reply(200, CONTENT)) as (remote, server):
        assert await read(remote) == CONTENT
        assert server.lines() == [f"GET {PATH}"]


@pytest.mark.parametrize("at", [0, 1, 1000, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, len(CONTENT) - 1])
async def test_a_cut_is_taken_up_where_it_broke_off(at: int) -> None:
    count = itertools.count()

    def answer(wire: Wire, asked: Asked) -> None:
        status, headers, body = ranged(wire, asked)
        if next(count) == 0:
            wire.reply(status, body[:at], length=len(body), **headers)
        else:
            wire.reply(status, body, **headers)

    with against(answer) as (remote, server):
        assert await read(remote) == CONTENT
        assert len(server.asked) == 2


async def test_cut_again_and_again_with_progress() -> None:
    def answer(wire: Wire, asked: Asked) -> None:
        status, headers, body = ranged(wire, asked)
        part = body[: PIECE // 3]
        wire.reply(status, part, length=len(body), **headers)

    with against(answer) as (remote, server):
        assert await read(remote) == CONTENT
        assert len(server.asked) >= 10


async def test_cut_without_progress_gives_up() -> None:
    with against(lambda wire, asked: wire.reply(200, b"", length=len(CONTENT))) as (remote, server):
        with pytest.raises(RegistryUnavailable):
            await read(remote)
        assert len(server.asked) == 4


async def test_a_server_that_ignores_ranges_is_skipped_through() -> None:
    count = itertools.count()

    def answer(wire: Wire, asked: Asked) -> None:
        wire.reply(200, CONTENT if next(count) else CONTENT[: PIECE + 7], length=len(CONTENT))

    with against(answer) as (remote, _):
        assert await read(remote) == CONTENT


async def test_another_range_than_asked_is_refused() -> None:
    count = itertools.count()

    def answer(wire: Wire, asked: Asked) -> None:
        if next(count) == 0:
            wire.reply(200, CONTENT[:PIECE], length=len(CONTENT))
        else:
            wire.reply(206, CONTENT, Content_Range=f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}")

    with against(answer) as (remote, _), pytest.raises(RegistryError, match="another range"):
        await read(remote)


async def test_a_stall_is_taken_up_too() -> None:
    stalled = threading.Event()
    count = itertools.count()

    def answer(wire: Wire, asked: Asked) -> None:
        status, headers, body = ranged(wire, asked)
        if next(count) == 0:
            wire.send_response(200)
            wire.send_header("Content-Length", str(len(body)))
            wire.end_headers()
            wire.wfile.write(body[:PIECE])
            stalled.wait(5)
            wire.close_connection = True
        else:
            wire.reply(status, body, **headers)

    with against(answer, read_timeout=0.3) as (remote, _):
        started = time.monotonic()
        assert await read(remote) == CONTENT
        assert time.monotonic() - started < 3
        stalled.set()


@pytest.mark.parametrize(
    "body",
    [
        CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]),
        bytes([CONTENT[0] ^ 1]) + CONTENT[1:],
        CONTENT[:-1],
        CONTENT + b"x",
        b"",
    ],
)
@pytest.mark.parametrize("length_told", [True, False])
async def test_a_wrong_body_is_never_handed_out_whole(body: bytes, length_told: bool) -> None:
    def answer(wire: Wire, asked: Asked) -> None:
        if length_told:
            wire.reply(200, body)
        else:
            wire.send_response(200)
            wire.end_headers()
            wire.wfile.write(body)
            wire.cut()

    with against(answer) as (remote, _):
        got: list[bytes] = []
        with pytest.raises(DigestMismatch):
            await read_into(got, remote)
        assert sum(map(len, got)) < len(CONTENT)


async def test_an_endless_body_is_left_at_once() -> None:
    def answer(wire: Wire, asked: Asked) -> None:
        wire.send_response(200)
        wire.end_headers()
        while True:
            wire.wfile.write(CONTENT)

    with against(answer) as (remote, _), pytest.raises(DigestMismatch, match="more"):
        await read(remote)


async def test_a_gzip_coding_nobody_asked_for_is_not_undone() -> None:
    with (
        against(lambda wire, asked: wire.reply(200, b"\x1f\x8b" * 10, Content_Encoding="gzip")) as (remote, _),
        pytest.raises(DigestMismatch),
    ):
        await read(remote)


async def test_certainly_absent() -> None:
    body = b'{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown"}]}'
    with against(lambda wire, asked: wire.reply(404, body, Content_Type="application/json")) as (remote, _):
        with pytest.raises(NotFound):
            await read(remote)
        assert not await remote.has_blob("acme/x", BLOB.digest)


async def test_html_pages_and_rate_limits_on_the_way() -> None:
    count = itertools.count()

    def answer(wire: Wire, asked: Asked) -> None:
        turn = next(count)
        if turn == 0:
            wire.reply(502, b"<html>taking too long</html>", Content_Type="text/html")
        elif turn == 1:
            wire.reply(429, b'{"errors":[{"code":"TOOMANYREQUESTS","message":"retry-after: 12.5ms"}]}')
        elif turn == 2:
            wire.cut()
        else:
            wire.reply(200, CONTENT)

    with against(answer) as (remote, server):
        assert await read(remote) == CONTENT
        assert len(server.asked) == 4


async def test_a_redirect_to_another_host_loses_the_credentials() -> None:
    with serving(lambda wire, asked: wire.reply(200, CONTENT)) as storage:

        def answer(wire: Wire, asked: Asked) -> None:
            if "authorization" not in asked.headers:
                wire.reply(401, WWW_Authenticate='Basic realm="r"')
            else:
                wire.reply(307, Location=f"http://{storage.host}/bucket/x?X-Signature=s3cr3t")

        with serving(answer) as server:
            async with RemoteStore(server.host, credentials=Credentials("user", "pw")) as remote:
                assert await read(remote) == CONTENT
        assert storage.asked[0].path == "/bucket/x?X-Signature=s3cr3t"
        assert "authorization" not in storage.asked[0].headers


async def test_a_redirect_in_circles_ends() -> None:
    with against(lambda wire, asked: wire.reply(302, Location=asked.path)) as (remote, server):
        with pytest.raises(RegistryError):
            await read(remote)
        assert len(server.asked) == 6


async def test_leaving_in_the_middle_is_clean() -> None:
    with against(lambda wire, asked: wire.reply(200, CONTENT)) as (remote, _):
        async with remote.blob("acme/x", BLOB) as pieces:
            assert len(await anext(aiter(pieces))) == PIECE
        with pytest.raises(ZeroDivisionError):
            async with remote.blob("acme/x", BLOB) as pieces:
                raise ZeroDivisionError
        assert await read(remote) == CONTENT


async def test_cancelling_does_not_wait_for_a_stalled_server() -> None:
    release = threading.Event()

    def answer(wire: Wire, asked: Asked) -> None:
        release.wait(20)
        wire.close_connection = True

    with against(answer, read_timeout=30) as (remote, _):
        started = time.monotonic()
        with anyio.move_on_after(0.2) as scope:
            await read(remote)
        assert scope.cancelled_caught
        assert time.monotonic() - started < 2
        # the worker is gone too: its socket was shut down
        with anyio.fail_after(2):
            await no_worker(remote)
        release.set()


async def no_worker(remote: RemoteStore) -> None:
    """Until no thread works for a store any more."""
    while remote._session.limits.threads.borrowed_tokens > 0:  # noqa: ASYNC110 (threads set no event)
        await anyio.sleep(0.01)


class Uploads:
    """A registry that takes uploads, and fails as often as told."""

    def __init__(self, *faults: Answer) -> None:
        self.faults = list(faults)
        self.blobs: set[str] = set()

    def __call__(self, wire: Wire, asked: Asked) -> None:
        if asked.method == "HEAD":
            there = asked.path.rpartition("/")[2] in self.blobs
            wire.reply(200 if there else 404, length=len(CONTENT) if there else 0)
        elif asked.method == "POST":
            wire.reply(202, Location="/v2/acme/x/blobs/uploads/1?_state=a%2Fb%3D")
        elif asked.method == "DELETE":
            wire.reply(204)
        elif asked.method == "GET":  # how far it is: this registry forgets what broke off
            wire.reply(404, b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}')
        elif self.faults:
            self.faults.pop(0)(wire, asked)
        else:
            digest = asked.path.rpartition("digest=")[2]
            body = wire.read_body()
            assert asked.path.startswith("/v2/acme/x/blobs/uploads/1?_state=a%2Fb%3D&digest=")
            assert str(Digest.of(body)) == digest
            self.blobs.add(digest)
            wire.reply(201, Docker_Content_Digest=digest)


async def test_an_upload() -> None:
    registry = Uploads()
    with against(registry, unread_puts=True) as (remote, _):
        assert await remote.push_blob("acme/x", BLOB, from_bytes(CONTENT))
        assert not await remote.push_blob("acme/x", BLOB, from_bytes(CONTENT))
        empty = Descriptor.of(media_types.LAYER_TAR, b"")
        assert await remote.push_blob("acme/x", empty, from_bytes(b""))


def refuse_early(wire: Wire, asked: Asked) -> None:
    wire.reply(503, b"busy")
    wire.close_connection = True


def cut_early(wire: Wire, asked: Asked) -> None:
    wire.read_body(PIECE)
    wire.cut()


def cut_at_the_end(wire: Wire, asked: Asked) -> None:
    wire.read_body()
    wire.cut()


def forget(wire: Wire, asked: Asked) -> None:
    wire.read_body()
    wire.reply(404, b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}')


@pytest.mark.parametrize("fault", [refuse_early, cut_early, cut_at_the_end, forget])
async def test_a_failed_upload_starts_from_scratch(fault: Answer) -> None:
    opened = 0

    @asynccontextmanager
    async def source() -> AsyncIterator[AsyncIterator[bytes]]:
        nonlocal opened
        opened += 1
        async with from_bytes(CONTENT)() as pieces:
            yield pieces

    registry = Uploads(fault, fault)
    with against(registry, unread_puts=True) as (remote, _):
        assert await remote.push_blob("acme/x", BLOB, source)
        assert opened == 3


async def test_an_upload_whose_answer_was_lost_is_seen() -> None:
    registry = Uploads()

    def stored_then_cut(wire: Wire, asked: Asked) -> None:
        registry.blobs.add(str(Digest.of(wire.read_body())))
        wire.cut()

    registry.faults.append(stored_then_cut)
    with against(registry, unread_puts=True) as (remote, server):
        assert await remote.push_blob("acme/x", BLOB, from_bytes(CONTENT))
        assert [line.split()[0] for line in server.lines()] == ["HEAD", "POST", "PUT", "HEAD"]


@pytest.mark.parametrize("content", [CONTENT[:-1] + b"?", CONTENT[:-1], CONTENT + b"x", b""])
async def test_a_source_that_is_not_its_descriptor_is_not_stored(content: bytes) -> None:
    registry = Uploads()
    with against(registry, unread_puts=True) as (remote, server):
        with pytest.raises(DigestMismatch):
            await remote.push_blob("acme/x", BLOB, from_bytes(content))
        assert registry.blobs == set()
        assert server.lines()[-1] == "DELETE /v2/acme/x/blobs/uploads/1"


async def test_an_error_of_the_source_is_its_own() -> None:
    @asynccontextmanager
    async def source() -> AsyncIterator[AsyncIterator[bytes]]:
        async def pieces() -> AsyncIterator[bytes]:
            yield CONTENT[:PIECE]
            raise NotFound("the source is gone")

        yield pieces()

    with against(Uploads(), unread_puts=True) as (remote, _), pytest.raises(NotFound, match="the source is gone"):
        await remote.push_blob("acme/x", BLOB, source)


@pytest.mark.parametrize("status", [401, 403])
async def test_refused_uploads_are_denied(status: int) -> None:
    def deny(wire: Wire, asked: Asked) -> None:
        wire.reply(status, b'{"errors":[{"code":"DENIED"}]}')
        wire.close_connection = True

    with against(Uploads(*[deny] * 9), unread_puts=True) as (remote, _), pytest.raises(Denied):
        await remote.push_blob("acme/x", BLOB, from_bytes(CONTENT))


async def test_a_registry_that_stored_something_else() -> None:
    def lie(wire: Wire, asked: Asked) -> None:
        wire.read_body()
        wire.reply(201, Docker_Content_Digest=str(Digest.of(b"other")))

    with against(Uploads(lie), unread_puts=True) as (remote, _), pytest.raises(DigestMismatch, match="stored by"):
        await remote.push_blob("acme/x", BLOB, from_bytes(CONTENT))


async def test_cancelling_an_upload_does_not_wait_either() -> None:
    release = threading.Event()

    def stall(wire: Wire, asked: Asked) -> None:
        release.wait(20)
        wire.close_connection = True

    big = CONTENT * 5
    blob = Descriptor.of(media_types.LAYER_TAR, big)
    with against(Uploads(stall), unread_puts=True, read_timeout=30) as (remote, _):
        started = time.monotonic()
        with anyio.move_on_after(0.3) as scope:
            await remote.push_blob("acme/x", blob, from_bytes(big))
        assert scope.cancelled_caught
        assert time.monotonic() - started < 2
        with anyio.fail_after(2):
            await no_worker(remote)
        release.set()


async def test_a_mount() -> None:
    def answer(wire: Wire, asked: Asked) -> None:
        if asked.method == "HEAD":
            wire.reply(404)
        else:
            wire.reply(201, Location=PATH)

    with against(answer) as (remote, server):
        assert not await remote.push_blob("acme/x", BLOB, from_bytes(CONTENT), mount_from="acme/y")
        assert server.asked[-1].path == f"/v2/acme/x/blobs/uploads/?mount=sha256%3A{BLOB.digest.hex}&from=acme%2Fy"


async def test_nobody_listens() -> None:
    with serving(lambda wire, asked: wire.reply(200)) as server:
        pass
    remote, transport = client(server)
    with pytest.raises(RegistryUnavailable, match="refused"):
        await remote.tags("acme/x")
    transport.close()
