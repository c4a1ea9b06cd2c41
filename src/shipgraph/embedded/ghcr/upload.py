"""Uploads with GHCR's limit: no PATCH above 4 MiB. A mount needs the right to read where it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from starlette.requests import Request

from shipgraph.embedded.answer import error
from shipgraph.embedded.ghcr import rights
from shipgraph.embedded.ghcr.habits import MIB
from shipgraph.embedded.upload import Uploads

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import Message

    from shipgraph.embedded.ghcr.authority import Visitor
    from shipgraph.embedded.ghcr.state import State


class GhcrUploads(Uploads):
    """The handlers over one state."""

    def __init__(self, state: State) -> None:
        super().__init__(state.backend)
        self._state = state

    async def post(self, request: Request) -> Response:
        """Begin an upload, or mount."""
        if "mount" in request.query_params and not await self._may_mount(request):
            kept = [(key, value) for key, value in request.query_params.multi_items() if key not in {"mount", "from"}]
            request = Request({**request.scope, "query_string": urlencode(kept).encode()}, request.receive)
        return await self._noted(request, await super().post(request))

    async def patch(self, request: Request) -> Response:
        """Add a piece, if it is small enough."""
        limit = self._state.habits.max_patch
        length = request.headers.get("Content-Length", "0")
        if length.isdecimal() and int(length) > limit:
            return self._too_much()
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await request.receive()
            taken += len(message.get("body", b""))
            if taken > limit:
                raise _TooMuch
            return message

        try:
            return await super().patch(Request(request.scope, counted))
        except _TooMuch:
            return self._too_much()

    async def put(self, request: Request) -> Response:
        """Close the upload."""
        return await self._noted(request, await super().put(request))

    async def _may_mount(self, request: Request) -> bool:
        visitor: Visitor = request.state.visitor
        name = request.query_params.get("from", visitor.name)
        source = await self._state.find(name)
        if source is not None:
            allowed = rights.may_read(visitor.identity, source)
        else:  # blobs that no package has yet
            allowed = not rights.why_not_write(visitor.identity, name, None, self._state.accounts())
        return allowed and self._state.habits.mounts

    async def _noted(self, request: Request, answer: Response) -> Response:
        digest = answer.headers.get("Docker-Content-Digest")
        if answer.status_code == 201 and digest:
            await self._state.ledger.uploaded(request.path_params["name"], digest)
        return answer

    def _too_much(self) -> Response:
        size = f"{self._state.habits.max_patch / MIB:.2f}MiB"
        return error(
            416,
            "REQUESTED_RANGE_NOT_SATISFIABLE",
            f"range of the request body exceeds {size}",
            {"Connection": "close"},  # the rest of the body is not read
        )


class _TooMuch(Exception):
    """More came than one PATCH may bring."""
