"""What every request to ``/v2/`` passes: the rate limit, bad luck, and the question who is asking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.requests import Request
from starlette.responses import Response

from shipgraph.embedded.answer import answer_error, error
from shipgraph.embedded.ghcr.throttle import Rate, go_duration
from shipgraph.errors import InvalidReference
from shipgraph.oci.distribution import ErrorCode

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from shipgraph.embedded.ghcr.authority import Authority
    from shipgraph.embedded.ghcr.state import State

_PAGE: Final = (
    b"<!DOCTYPE html>\n<html><head><title>Unicorn! &middot; GitHub</title></head>"
    b"<body><p>This page is taking too long to load.</p></body></html>\n"
)


class Door:
    """Middleware around the whole application."""

    def __init__(self, app: ASGIApp, state: State, authority: Authority) -> None:
        self._app, self._state, self._authority = app, state, authority
        habits = state.habits
        self._writes = Rate(habits.write_rate, habits.burst, habits.clock)
        self._reads = Rate(habits.read_rate, habits.burst, habits.clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        if (path.startswith("/ghcr1/")) != (scope["server"][1] == self._state.storage[1]):
            await error(404, ErrorCode.NAME_UNKNOWN, "there is nothing at this address")(scope, receive, send)
        elif path == "/v2" or path.startswith("/v2/"):
            await self._registry(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _registry(self, scope: Scope, receive: Receive, send: Send) -> None:
        rate = self._reads if scope["method"] in {"GET", "HEAD"} else self._writes
        early = rate.take()
        if early:
            text = f"retry-after: {go_duration(early)}, allowed: {rate.per_minute}/minute"
            await error(429, ErrorCode.TOOMANYREQUESTS, text)(scope, receive, send)
            return
        unlucky = self._state.habits.faults and self._state.random.random() < self._state.habits.faults
        if unlucky and self._state.random.random() < 0.5:
            await _unicorn()(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            visitor = await self._authority.admit(request)
        except InvalidReference as invalid:
            visitor = await answer_error(request, invalid)
        if isinstance(visitor, Response):
            await visitor(scope, receive, send)
            return
        request.state.visitor = visitor
        if unlucky:
            await self._app(scope, receive, _unheard)
            await _unicorn()(scope, receive, send)
        else:
            await self._app(scope, receive, send)


async def _unheard(_: Message) -> None:
    """An answer that gets lost."""


def _unicorn() -> Response:
    return Response(_PAGE, 502, media_type="text/html; charset=utf-8")
