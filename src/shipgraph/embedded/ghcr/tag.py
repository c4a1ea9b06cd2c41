"""GHCR's list of tags: pages of 100 unless told, in no order that anybody should rely on, and a little behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from starlette.responses import Response
from starlette.routing import Route

from shipgraph.embedded.answer import JSON
from shipgraph.embedded.headers import Refusal
from shipgraph.oci.distribution import ErrorCode
from shipgraph.oci.manifest import encode_json

if TYPE_CHECKING:
    from starlette.requests import Request

    from shipgraph.embedded.ghcr.authority import Visitor
    from shipgraph.embedded.ghcr.state import State

_PAGE: Final = 100


class GhcrTags:
    """The handler over one state."""

    def __init__(self, state: State) -> None:
        self._state = state

    def routes(self) -> list[Route]:
        """The route to the handler. There is no catalogue."""
        return [Route("/v2/{name:path}/tags/list", self.list, methods=["GET"])]

    async def list(self, request: Request) -> Response:
        """A page of tags after ``last``."""
        visitor: Visitor = request.state.visitor
        if visitor.package is None:
            raise Refusal(404, ErrorCode.NAME_UNKNOWN, "repository name not known to registry")
        names = await self._state.ledger.seen_tags(visitor.package)
        size = request.query_params.get("n", str(_PAGE))
        if not (size.isascii() and size.isdigit() and len(size) < 10):
            raise Refusal(400, ErrorCode.UNSUPPORTED, f"n={size[:20]!r} is not a number")
        last = request.query_params.get("last", "")
        if last in names:
            names = names[names.index(last) + 1 :]
        elif last:
            names = sorted(name for name in names if name > last)
        page = names[: int(size)]
        headers = {}
        if page and len(page) < len(names):
            headers["Link"] = f'<{quote(request.url.path)}?last={quote(page[-1])}&n={size}>; rel="next"'
        return Response(encode_json({"name": visitor.name, "tags": page}), headers=headers, media_type=JSON)
