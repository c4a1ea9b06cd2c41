"""GHCR and GitHub's Packages API as one ASGI application."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.routing import Route

from shipgraph.embedded.answer import JSON, error
from shipgraph.embedded.ghcr.api import Api
from shipgraph.embedded.ghcr.attestations import Attestations
from shipgraph.embedded.ghcr.authority import Authority
from shipgraph.embedded.ghcr.blob import GhcrBlobs
from shipgraph.embedded.ghcr.door import Door
from shipgraph.embedded.ghcr.manifest import GhcrManifests
from shipgraph.embedded.ghcr.packages import Packages
from shipgraph.embedded.ghcr.runs import RunsApi
from shipgraph.embedded.ghcr.state import State
from shipgraph.embedded.ghcr.tag import GhcrTags
from shipgraph.embedded.ghcr.upload import GhcrUploads
from shipgraph.oci.distribution import ErrorCode

if TYPE_CHECKING:
    from starlette.requests import Request

    from shipgraph.embedded.backend import Backend
    from shipgraph.embedded.ghcr.state import Ghcr


def ghcr_routes(backend: Backend, ghcr: Ghcr, storage: tuple[str, int]) -> tuple[list[Route], Middleware]:
    """All routes, and what stands before them. Whoever adds an API of GitHub's adds its routes here."""
    state = State(backend, ghcr, storage)
    authority, api = Authority(state), Api(state)
    routes = [
        Route("/v2/", _version, methods=["GET"]),
        Route("/v2", _version, methods=["GET"]),
        *authority.routes(),
        *GhcrUploads(state).routes(),
        *GhcrBlobs(state).routes(),
        *GhcrManifests(state).routes(),
        *GhcrTags(state).routes(),
        Route("/v2/{name:path}/referrers/{digest}", _referrers, methods=["GET"]),
        *Packages(state).routes(api),
        *Attestations(state).routes(api),
        *RunsApi(state).routes(api),
        *api.routes(),
    ]
    return routes, Middleware(Door, state=state, authority=authority)


async def _version(_: Request) -> Response:
    return Response(b"{}", headers={"Docker-Distribution-Api-Version": "registry/2.0"}, media_type=JSON)


async def _referrers(_: Request) -> Response:
    """GHCR has no such API; this is what it says instead, whether or not the manifest is there."""
    return error(404, ErrorCode.MANIFEST_UNKNOWN, "manifest unknown")
