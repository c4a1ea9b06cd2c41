"""Small requests straight from the event loop: HTTP/1.1 over asyncio's connections, parsed by llhttp (httptools).

A worker thread for each request costs more than the request itself where thousands of small ones go to a near registry.
What isn't small, or needs a proxy, goes the other way (``PooledTransport.exchange``). The rules are the same on both:

1. A request is sent once. A connection that was kept is used again only if nothing has come on it meanwhile.
2. A head or body that ends early is a failure, never an answer.
3. A connection is kept only after a whole answer with nothing behind it; given up, too late or too long, it is aborted.
"""

from __future__ import annotations

import asyncio
import re
import select
import ssl
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import urlsplit

import anyio

from shipgraph.remote.answer import Answer, unreachable
from shipgraph.remote.transport import TransportFailure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from shipgraph.remote.answer import Whole
    from shipgraph.remote.transport import Request

SMALL: Final = 64 << 10
"""Bytes; a body up to this fits into the socket's buffer, so that sending it never waits for the other side."""
_KEPT: Final = 64  # idle connections to one registry
_TARGET: Final = re.compile(r"[\x21-\x7e]+", re.ASCII)
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")

Key = tuple[str, str, int]


class Direct:
    """Connections of one event loop, kept by origin. Times in seconds."""

    def __init__(self, *, connect_timeout: float, read_timeout: float, tls: Callable[[], ssl.SSLContext]) -> None:
        self._connect_timeout, self._read_timeout = connect_timeout, read_timeout
        self._make_tls = tls
        self._tls: ssl.SSLContext | None = None
        self._idle: dict[Key, list[_Connection]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._guard: AsyncIterator[None] | None = None

    def takes(self, request: Request) -> bool:
        """Whether a request is one of those; the event loop must be asyncio's, or made like it."""
        if not (request.body is None or (isinstance(request.body, bytes) and len(request.body) <= SMALL)):
            return False
        parts = urlsplit(request.url)
        return (
            parts.scheme in {"http", "https"} and "@" not in parts.netloc and _TARGET.fullmatch(request.url) is not None
        )

    async def fetch(self, request: Request, cap: Callable[[int], int]) -> Whole:
        """Send a request, once, and read its answer, at most ``cap(status)`` bytes of its body.

        Raises:
            TransportFailure: no whole answer came.
        """
        parts = urlsplit(request.url)
        try:
            port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        except ValueError:
            raise TransportFailure("the address has no usable port", permanent=True) from None
        key = (parts.scheme, parts.hostname or "", port)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        content = _encode(request, target, parts.netloc)
        if asyncio.get_running_loop() is not self._loop:
            await self._settle()
        connection = self._kept(key) or await self._connect(key)
        try:
            whole = await connection.ask(content, request.method, cap, self._read_timeout)
        except BaseException:
            connection.abort()
            raise
        if connection.reusable:
            self._keep(key, connection)
        else:
            connection.abort()
        return whole

    def close(self) -> None:
        """Close idle connections; from their own loop's thread, or after that loop has ended."""
        idle, self._idle = self._idle, {}
        for connections in idle.values():
            for connection in connections:
                connection.abort()

    async def _settle(self) -> None:
        """Belong to this event loop from now on; another's connections are of no use here."""
        self.close()
        self._loop = asyncio.get_running_loop()
        self._guard = self._until_the_loop_ends()
        await anext(self._guard)

    async def _until_the_loop_ends(self) -> AsyncIterator[None]:
        """A generator that the loop closes before it ends: who never closed us leaves no connection behind."""
        try:
            yield
        finally:
            self.close()
            await asyncio.sleep(0)  # in which the connections are really closed

    def _kept(self, key: Key) -> _Connection | None:
        waiting = self._idle.get(key, [])
        while waiting:
            connection = waiting.pop()
            if connection.is_quiet():
                return connection
            connection.abort()
        return None

    def _keep(self, key: Key, connection: _Connection) -> None:
        waiting = self._idle.setdefault(key, [])
        if connection.loop is self._loop and len(waiting) < _KEPT:
            waiting.append(connection)
        else:
            connection.abort()

    async def _connect(self, key: Key) -> _Connection:
        scheme, host, port = key
        loop = asyncio.get_running_loop()
        context: ssl.SSLContext | None = None
        if scheme == "https":
            context = self._tls = self._tls or self._make_tls()
        try:
            with anyio.fail_after(self._connect_timeout):
                _, connection = await loop.create_connection(
                    lambda: _Connection(loop), host, port, ssl=context, server_hostname=host if context else None
                )
        except TimeoutError:
            raise TransportFailure("connecting timed out") from None
        except ssl.SSLCertVerificationError as error:
            raise TransportFailure(
                f"the certificate is not trusted ({error.verify_message})", permanent=True
            ) from error
        except OSError as error:
            raise unreachable(error) from error
        return connection


class _Connection(asyncio.Protocol):
    """One connection, and the exchange that is under way on it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.reusable = False
        self._transport: asyncio.Transport | None = None
        self._poll = select.poll()
        self._answer: Answer | None = None
        self._lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by class
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    async def ask(self, content: bytes, method: str, cap: Callable[[int], int], patience: float) -> Whole:
        """Send and wait."""
        assert self._transport is not None  # noqa: S101 (made)
        self.reusable = False
        self._answer = answer = Answer(self.loop, method, cap)
        self._transport.write(content)
        watch = self.loop.call_later(patience, self._expire, answer, patience)
        try:
            whole = await answer.done
        finally:
            watch.cancel()
            answer.watch.cancel() if answer.watch is not None else None
            self._answer = None
        self.reusable = answer.clean and not self._lost
        return whole

    def is_quiet(self) -> bool:
        """Whether nothing has come since the last answer, not even the connection's end."""
        return not self._lost and not self._poll.poll(0)

    def abort(self) -> None:
        """Drop it, whatever is under way."""
        self._lost = True
        if self._transport is not None and not self.loop.is_closed():
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._answer is None:  # nobody asked
            self.abort()
            return
        self._answer.feed(data)

    def eof_received(self) -> None:
        if self._answer is not None:
            self._answer.end(None)

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        if self._answer is not None:
            self._answer.end(error)

    def _expire(self, answer: Answer, patience: float) -> None:
        left = answer.last + patience - self.loop.time()
        if left > 0:
            answer.watch = self.loop.call_later(left, self._expire, answer, patience)
        else:
            answer.fail("the answer timed out")


def _encode(request: Request, target: str, host: str) -> bytes:
    """The request as it goes over the wire.

    Raises:
        TransportFailure: a header holds what no header can.
    """
    lines = [f"{request.method} {target} HTTP/1.1", f"Host: {host}"]
    for name, value in request.headers.items():
        if _NAME.fullmatch(name) is None or _VALUE.fullmatch(value) is None:
            raise TransportFailure("a header of the request can't be sent", permanent=True)
        lines.append(f"{name}: {value}")
    body = request.body if isinstance(request.body, bytes) else b""
    if request.body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
