"""Small requests from the event loop: what a server may do wrong on a connection that is kept, byte by byte."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import anyio
import pytest

from shipgraph.remote.answer import MAX_HEAD, Whole
from shipgraph.remote.direct import SMALL, Direct
from shipgraph.remote.transport import Request, TransportFailure, tls_context

if TYPE_CHECKING:
    from collections.abc import Iterator

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """Answers each request with the next of some bytes; None closes the connection after what came before it."""

    def __init__(self, answers: list[bytes | None]) -> None:
        self.answers = list(answers)
        self.connections = 0
        self.heads: list[bytes] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as file, suppress(OSError):
            while True:
                lines = []
                while (line := file.readline()) not in {b"\r\n", b""}:
                    lines.append(line)
                if not lines:
                    return
                self.heads.append(b"".join(lines))
                answer = self.answers.pop(0)
                if answer is not None:
                    connection.sendall(answer)
                if self.answers and self.answers[0] is None:
                    self.answers.pop(0)
                    return


@contextmanager
def against(*answers: bytes | None, patience: float = 5.0) -> Iterator[tuple[Direct, Server]]:
    server = Server(list(answers))
    threading.Thread(target=server.run, daemon=True).start()
    direct = Direct(connect_timeout=2, read_timeout=patience, tls=tls_context)
    try:
        yield direct, server
    finally:
        direct.close()
        server.listener.shutdown(socket.SHUT_RDWR)
        server.listener.close()


async def get(direct: Direct, server: Server, method: str = "GET", *, cap: int = 100) -> Whole:
    return await direct.fetch(Request(method, f"{server.url}/v2/?n=1"), lambda status: cap)


async def test_a_connection_is_used_again() -> None:
    with against(OK, OK, OK) as (direct, server):
        for _ in range(3):
            assert (await get(direct, server)).body == b"ok"
        assert server.connections == 1
        assert server.heads[0].startswith(b"GET /v2/?n=1 HTTP/1.1\r\nHost: 127.0.0.1:")


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nforeign",
        OK + b"garbage",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
    ids=["another answer", "garbage", "the wish to close", "HTTP/1.0"],
)
async def test_a_connection_with_something_behind_its_answer_is_not_used_again(answer: bytes) -> None:
    with against(answer, OK) as (direct, server):
        assert (await get(direct, server)).body == b"ok"
        assert (await get(direct, server)).body == b"ok"
        assert server.connections == 2


async def test_a_connection_that_was_closed_meanwhile_is_not_used_again() -> None:
    with against(OK, None, OK) as (direct, server):
        await get(direct, server)
        while any(thread.name.endswith("(serve)") for thread in threading.enumerate()):
            threading.Event().wait(0.005)
        assert (await get(direct, server)).body == b"ok"
        assert server.connections == 2


async def test_the_body_of_an_answer_to_head_does_not_become_the_next_answer() -> None:
    with against(OK, OK) as (direct, server):
        head = await get(direct, server, "HEAD")
        assert (head.body, head.headers["Content-Length"]) == (b"", "2")
        assert (await get(direct, server)).body == b"ok"


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", b"ok"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
    ],
    ids=["informational", "chunked", "no content", "empty"],
)
async def test_bodies_of_each_kind(answer: bytes, body: bytes) -> None:
    with against(answer, OK) as (direct, server):
        assert (await get(direct, server)).body == body
        assert (await get(direct, server)).body == b"ok"
        assert server.connections == 1


async def test_a_body_that_ends_with_its_connection() -> None:
    with against(b"HTTP/1.1 200 OK\r\n\r\nwhole", None) as (direct, server):
        assert (await get(direct, server)).body == b"whole"


@pytest.mark.parametrize("cut", range(len(OK)))
async def test_an_answer_that_ends_early_is_a_failure(cut: int) -> None:
    with against(OK[:cut], None) as (direct, server), pytest.raises(TransportFailure, match="cut"):
        await get(direct, server)


async def test_an_answer_that_stalls_is_a_failure() -> None:
    with against(OK[:-1], OK, patience=0.1) as (direct, server), pytest.raises(TransportFailure, match="timed out"):
        await get(direct, server)


async def test_more_than_was_wanted_ends_the_connection() -> None:
    with against(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000, OK) as (direct, server):
        found = await get(direct, server, cap=10)
        assert (found.body, found.overlong) == (b"x" * 10, True)
        await get(direct, server)
        assert server.connections == 2


@pytest.mark.parametrize(
    "answer",
    [b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01"],
)
async def test_what_is_no_http_is_a_failure(answer: bytes) -> None:
    with against(answer, None) as (direct, server), pytest.raises(TransportFailure, match="no HTTP"):
        await get(direct, server)


async def test_a_head_without_an_end_is_a_failure() -> None:
    endless = b"HTTP/1.1 200 OK\r\n" + b"X-Y: z\r\n" * (MAX_HEAD // 4)
    with against(endless) as (direct, server), pytest.raises(TransportFailure):
        await get(direct, server)


@pytest.mark.parametrize("value", ["a\r\nHost: evil", "a\nb", "a\x00b", "ł"])
async def test_a_header_that_can_not_be_one_is_not_sent(value: str) -> None:
    with against(OK) as (direct, server):
        with pytest.raises(TransportFailure) as found:
            await direct.fetch(Request("GET", server.url, {"X-Y": value}), lambda status: 1)
        assert found.value.permanent
        assert server.heads == []


def test_what_is_large_or_strange_goes_another_way() -> None:
    direct = Direct(connect_timeout=1, read_timeout=1, tls=tls_context)
    assert direct.takes(Request("PUT", "http://h/", body=b"x" * SMALL))
    assert not direct.takes(Request("PUT", "http://h/", body=b"x" * (SMALL + 1)))
    assert not direct.takes(Request("PUT", "http://h/", body=iter([b"x"])))
    for url in ("http://h/a b", "http://h/\r\nX: y", "http://user@h/", "ftp://h/", "http://h/ł"):
        assert not direct.takes(Request("GET", url))


def test_other_event_loops_will_do_and_leave_nothing_open() -> None:
    async def twice(direct: Direct, server: Server) -> None:
        for _ in range(2):
            assert (await get(direct, server)).body == b"ok"

    with against(*[OK] * 6) as (direct, server):
        for fast in (True, False, True):  # one after the other: no loop gets another's connections
            anyio.run(twice, direct, server, backend_options={"use_uvloop": fast})
        assert server.connections == 3


async def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    direct = Direct(connect_timeout=2, read_timeout=2, tls=tls_context)
    with pytest.raises(TransportFailure, match="refused"):
        await direct.fetch(Request("GET", f"http://127.0.0.1:{port}/"), lambda status: 1)
