"""Referrers: distribution specification 1.1, § Listing Referrers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

from shipgraph.embedded.headers import digest_of
from shipgraph.oci.distribution import HEADER_FILTERS
from shipgraph.oci.manifest import build_index
from shipgraph.oci.reference import check_repository

if TYPE_CHECKING:
    from starlette.requests import Request

    from shipgraph.embedded.backend import Backend


class Referrers:
    """The handler over one backend."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def routes(self) -> list[Route]:
        """The route to the handler."""
        return [Route("/v2/{name:path}/referrers/{digest}", self.list, methods=["GET"])]

    async def list(self, request: Request) -> Response:
        """An index of what refers to a digest; empty where nothing does, or where the digest is not there."""
        name, digest = check_repository(request.path_params["name"]), digest_of(request.path_params["digest"])
        wanted = request.query_params.get("artifactType")
        found = await self._backend.referrers(name, digest, wanted)
        headers = {} if wanted is None else {HEADER_FILTERS: "artifactType"}
        index = build_index(found)
        return Response(index.raw, headers=headers, media_type=index.media_type)
