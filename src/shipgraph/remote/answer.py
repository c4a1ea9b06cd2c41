"""An answer that is coming in on one connection, as the parser (llhttp) tells of it."""

from __future__ import annotations

import os
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import httptools

from shipgraph.remote.transport import Headers, TransportFailure

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

MAX_HEAD: Final = 256 << 10
"""Bytes of an answer's head."""
_BODILESS: Final = frozenset({204, 304})


@dataclass(frozen=True, slots=True)
class Whole:
    """An answer that has been read. ``overlong``: its body had more than was wanted, and ends there."""

    status: int
    headers: Headers
    body: bytes
    overlong: bool


class Answer:
    """An answer that is coming in: the parser's callbacks."""

    def __init__(self, loop: asyncio.AbstractEventLoop, method: str, cap: Callable[[int], int]) -> None:
        self.done: asyncio.Future[Whole] = loop.create_future()
        self.clean = False
        """Whether it has come whole, the connection may stay, and nothing followed."""
        self.watch: asyncio.TimerHandle | None = None
        self.last = loop.time()
        self._loop, self._cap = loop, cap
        self._is_head = method == "HEAD"
        self._parser = httptools.HttpResponseParser(self)
        self._begin()
        self._fed = 0

    def _begin(self) -> None:
        self._fields: list[tuple[str, str]] = []
        self._headers: Headers | None = None
        self._status = 0
        self._body = bytearray()
        self._limit = 0
        self._over = False

    def feed(self, data: bytes) -> None:
        """Bytes have come."""
        self.last = self._loop.time()
        self._fed += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            if self._over:
                self.clean = False
            else:
                self.fail("the answer is no HTTP")
            return
        if self._headers is None and self._fed > MAX_HEAD:
            self.fail("the answer's head has no end")

    def end(self, error: Exception | None) -> None:
        """The connection has ended."""
        self.clean = False
        if self.done.done():
            return
        if error is not None:
            self.fail(unreachable(error).args[0] if isinstance(error, OSError) else "the connection broke")
        elif self._headers is None:
            where = "inside the head" if self._fed else "before an answer"
            self.fail(f"the connection was cut {where}")
        elif "content-length" in self._headers or "transfer-encoding" in self._headers:
            self.fail("the connection was cut inside the body")
        else:
            self._finish()  # its end is the body's end (RFC 9112 § 6.3)

    def fail(self, reason: str) -> None:
        """There will be no answer."""
        self.clean = False
        if not self.done.done():
            self.done.set_exception(TransportFailure(reason))

    def _finish(self, *, overlong: bool = False) -> None:
        self._over = True
        if not self.done.done() and self._headers is not None:
            self.done.set_result(Whole(self._status, self._headers, bytes(self._body), overlong))

    # the parser's

    def on_message_begin(self) -> None:
        if self._over:
            self.clean = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._over:
            self._fields.append((name.decode("latin-1"), value.decode("latin-1").strip(" \t")))

    def on_headers_complete(self) -> None:
        if self._over:
            return
        self._status = self._parser.get_status_code()
        if self._status < 200:
            return
        self._headers = Headers(self._fields)
        self._limit = self._cap(self._status)
        if self._is_head or self._status in _BODILESS:
            self.clean = self._parser.get_http_version() == "1.1" and "connection" not in self._headers
            self._finish()

    def on_body(self, data: bytes) -> None:
        if self._over:
            self.clean = False
            return
        room = self._limit - len(self._body)
        self._body += data[:room]
        if len(data) > room:
            self.clean = False
            self._finish(overlong=True)

    def on_message_complete(self) -> None:
        if self._over:
            return
        if self._status < 200:  # an informational one (RFC 9110 § 15.2); the real one follows
            self._begin()
            return
        self.clean = self._parser.should_keep_alive()
        self._finish()


def unreachable(error: OSError) -> TransportFailure:
    """A system's error by its cause, without the address that asyncio writes into its text."""
    if isinstance(error, socket.gaierror):
        return TransportFailure("the host name does not resolve")
    text = os.strerror(error.errno) if error.errno and not isinstance(error, ssl.SSLError) else ""
    return TransportFailure(text[:1].lower() + text[1:] or f"the connection broke ({type(error).__name__})")
