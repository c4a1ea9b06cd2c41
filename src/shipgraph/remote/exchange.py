"""One request under way in worker threads, which the event loop can end at any time.

A cancelled task doesn't wait for its thread: it shuts the socket down, and the thread, woken by that, closes what it
holds. So a stalled server can't keep a program from ending, and nothing is used by two at a time.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import anyio
import anyio.to_thread

from shipgraph.remote.transport import TransportFailure

if TYPE_CHECKING:
    from collections.abc import Callable

    from shipgraph.remote.transport import Request, Response, Transport

T = TypeVar("T")


class Exchange:
    """One request and, once it has come, its response."""

    def __init__(self, transport: Transport, request: Request, threads: anyio.CapacityLimiter) -> None:
        self._transport, self._threads = transport, threads
        self._request = replace(request, on_socket=self._connected)
        self._lock = threading.Lock()
        self._busy = False
        self._ended = False
        self._socket: socket.socket | None = None
        self._response: Response | None = None

    async def run(self, work: Callable[[Response], T]) -> T:
        """Send the request and work on the response, all in one thread.

        Raises:
            TransportFailure: no response came, or it broke off.
        """

        def start() -> T:
            self._response = self._transport.exchange(self._request)
            return work(self._response)

        return await self._in_thread(start)

    async def read(self, limit: int) -> bytes:
        """The next bytes of the body, at most ``limit``; empty at its end.

        Raises:
            TransportFailure: the body broke off or stalled.
        """
        response = self._response
        assert response is not None  # noqa: S101 (read() follows run())
        return await self._in_thread(lambda: response.read(limit))

    def end(self) -> None:
        """Let go of everything; harmless when all is over already."""
        with self._lock:
            self._ended = True
            if self._busy:
                if self._socket is not None:
                    with suppress(OSError):
                        self._socket.shutdown(socket.SHUT_RDWR)
                return
        self._close()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        def guarded() -> T:
            with self._lock:
                if self._ended:
                    raise TransportFailure("the exchange was given up")
                self._busy = True
            try:
                return work()
            finally:
                with self._lock:
                    self._busy = False
                    ended = self._ended
                if ended:
                    self._close()

        try:
            return await anyio.to_thread.run_sync(guarded, abandon_on_cancel=True, limiter=self._threads)
        except anyio.get_cancelled_exc_class():
            self.end()
            raise

    def _connected(self, found: socket.socket) -> None:
        with self._lock:
            self._socket = found
            if self._ended:
                with suppress(OSError):
                    found.shutdown(socket.SHUT_RDWR)

    def _close(self) -> None:
        response, self._response, self._socket = self._response, None, None
        if response is not None:
            response.close()
