"""The seam for tests: a request may be delayed, answered with an error, or have its connection cut at any byte."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

import anyio

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONNECTION: Final = "shipgraph.connection"
"""The ASGI extension through which a connection can be closed (``serving`` puts it there)."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one request; the parts can be combined."""

    delay: float = 0.0
    """Seconds before anything else."""
    status: int | None = None
    """Answer this, with ``headers`` and ``body``, instead of doing anything."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut_request_after: int | None = None
    """Cut the connection after so many bytes of the request's body; 0: nothing is done at all."""
    cut_response_after: int | None = None
    """Cut it after so many bytes of the answer's body; 0: the request is carried out, its answer never leaves."""


OnRequest: TypeAlias = Callable[[str, str, Mapping[str, str]], Fault | None]
"""Asked for each request: method, path with query, headers in lower case. Runs on the server's loop: be quick."""


class FaultMiddleware:
    """Does to requests what ``on_request`` says."""

    def __init__(self, app: ASGIApp, on_request: OnRequest) -> None:
        self._app = app
        self._on_request = on_request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        query = scope["query_string"].decode("latin-1")
        path = scope["path"] + (f"?{query}" if query else "")
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        fault = self._on_request(scope["method"], path, headers)
        if fault is None:
            await self._app(scope, receive, send)
            return
        await anyio.sleep(fault.delay)
        if fault.status is not None:
            await _answer(fault, send)
            return
        cutter = _Cutter(scope, receive, send, fault)
        if fault.cut_request_after == 0:
            await cutter.cut()
            return
        await self._app(scope, cutter.receive, cutter.send)


async def _answer(fault: Fault, send: Send) -> None:
    headers = {"content-length": str(len(fault.body)), **fault.headers}
    raw = [(key.lower().encode("latin-1"), value.encode("latin-1")) for key, value in headers.items()]
    await send({"type": "http.response.start", "status": fault.status, "headers": raw})
    await send({"type": "http.response.body", "body": fault.body, "more_body": False})


class _Cutter:
    """Counts the bytes of both bodies and cuts the connection at the right one."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, fault: Fault) -> None:
        self._connection = scope["extensions"][CONNECTION]
        self._receive, self._send = receive, send
        self._request_left, self._response_left = fault.cut_request_after, fault.cut_response_after
        self._is_cut = False

    async def cut(self, *, flush: bool = False) -> None:
        """Close the connection, with what was sent so far (a clean end) or without it (a reset)."""
        self._is_cut = True
        self._connection["close" if flush else "abort"]()
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def receive(self) -> Message:
        """ASGI's receive, up to the cut."""
        message = await self._receive()
        if self._request_left is None or message["type"] != "http.request":
            return message
        body = message.get("body", b"")
        if len(body) < self._request_left:
            self._request_left -= len(body)
            return message
        if self._request_left == 0:
            await self.cut()
            return {"type": "http.disconnect"}
        body, self._request_left = body[: self._request_left], 0
        return {"type": "http.request", "body": body, "more_body": True}

    async def send(self, message: Message) -> None:
        """ASGI's send, up to the cut."""
        if self._is_cut:
            return
        if self._response_left is None:
            await self._send(message)
        elif self._response_left == 0:
            await self.cut()
        elif message["type"] == "http.response.start":
            await self._send(message)
        else:
            body = message.get("body", b"")
            if len(body) < self._response_left:
                self._response_left -= len(body)
                await self._send(message)
            else:
                await self._send({**message, "body": body[: self._response_left], "more_body": True})
                await self.cut(flush=True)
