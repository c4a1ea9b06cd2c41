"""Lists of names: tags of a repository, and the repositories themselves."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.responses import Response
from starlette.routing import Route

from shipgraph.embedded.answer import JSON
from shipgraph.embedded.headers import Refusal
from shipgraph.oci.distribution import ErrorCode
from shipgraph.oci.manifest import encode_json

if TYPE_CHECKING:
    from starlette.requests import Request

    from shipgraph.embedded.backend import Backend


class Tags:
    """The handlers over one backend."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def routes(self) -> list[Route]:
        """The routes to the handlers."""
        return [
            Route("/v2/_catalog", self.catalog, methods=["GET"]),
            Route("/v2/{name:path}/tags/list", self.list, methods=["GET"]),
        ]

    async def list(self, request: Request) -> Response:
        """The tags in ASCII order, a page of ``n`` after ``last`` (§ Listing Tags)."""
        name = request.path_params["name"]
        if not await self._backend.exists(name):
            raise Refusal(404, ErrorCode.NAME_UNKNOWN, f"repository {name} is not there")
        page, headers = _page(request, await self._backend.tags(name))
        return Response(encode_json({"name": name, "tags": page}), headers=headers, media_type=JSON)

    async def catalog(self, request: Request) -> Response:
        """All repositories (Docker's registry API; the specification only reserves the name)."""
        page, headers = _page(request, await self._backend.repositories())
        return Response(encode_json({"repositories": page}), headers=headers, media_type=JSON)


def _page(request: Request, names: list[str]) -> tuple[list[str], dict[str, str]]:
    """The part of a sorted list that a request wants, and the link to the next."""
    text, last = request.query_params.get("n"), request.query_params.get("last", "")
    names = names[bisect_right(names, last) :] if last else names
    if text is None:
        return names, {}
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Refusal(400, ErrorCode.UNSUPPORTED, f"n={text[:20]!r} is not a number")
    page = names[: int(text)]
    if not page or len(page) == len(names):
        return page, {}
    return page, {"Link": f'<{quote(request.url.path)}?n={text}&last={quote(page[-1])}>; rel="next"'}
