"""A small real HTTP server that misbehaves as told: it may cut, stall, lie and redirect."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from shipgraph.remote import PooledTransport, RemoteStore, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Wire(BaseHTTPRequestHandler):
    """What a scripted answer uses to answer, or to break the connection."""

    protocol_version = "HTTP/1.1"
    server: Server

    def reply(self, status: int, body: bytes = b"", *, length: int = -1, **headers: str) -> None:
        """A response; ``length`` lies about its body's length."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length < 0 else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        if length >= 0 and length != len(body):
            self.cut()

    def cut(self) -> None:
        """Break the connection off."""
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def read_body(self, limit: int | None = None) -> bytes:
        """The request's body, or its first bytes."""
        length = int(self.headers.get("Content-Length") or 0)
        return self.rfile.read(length if limit is None else min(length, limit))

    def handle_any(self) -> None:
        server = self.server
        body = b"" if self.command == "PUT" and server.unread_puts else self.read_body()
        asked = Asked(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
        with server.lock:
            server.asked.append(asked)
        try:
            server.answer(self, asked)
        except OSError:  # the client went away
            self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815

    def log_message(self, *args: object) -> None:
        pass


@dataclass(eq=False)
class Server(ThreadingHTTPServer):
    """Answers by a function in a thread for each connection."""

    answer: Callable[[Wire, Asked], None]
    unread_puts: bool = False
    asked: list[Asked] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    daemon_threads = True

    def __post_init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Wire)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def lines(self) -> list[str]:
        return [f"{asked.method} {asked.path.partition('?')[0]}" for asked in self.asked]

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@contextmanager
def serving(answer: Callable[[Wire, Asked], None], *, unread_puts: bool = False) -> Iterator[Server]:
    """A server while the block runs."""
    server = Server(answer, unread_puts)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def client(server: Server, *, read_timeout: float = 5.0, attempts: int = 4) -> tuple[RemoteStore, PooledTransport]:
    """A store with short patience, and its transport, to be closed by the test."""
    transport = PooledTransport(connect_timeout=2, read_timeout=read_timeout)
    policy = RetryPolicy(attempts=attempts, base=0.01, ceiling=0.02)
    return RemoteStore(server.host, credentials=None, transport=transport, retries=policy), transport
