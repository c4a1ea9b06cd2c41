"""The registry as an ASGI application."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Route

from shipgraph.embedded.answer import JSON, answer_bug, answer_error, answer_http, answer_nobody, answer_refusal
from shipgraph.embedded.blob import Blobs
from shipgraph.embedded.fault import FaultMiddleware
from shipgraph.embedded.headers import Refusal
from shipgraph.embedded.manifest import Manifests
from shipgraph.embedded.referrer import Referrers
from shipgraph.embedded.tag import Tags
from shipgraph.embedded.upload import Uploads
from shipgraph.errors import ShipgraphError
from shipgraph.oci.distribution import HEADER_CONDITIONAL

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp

    from shipgraph.embedded.backend import Backend
    from shipgraph.embedded.fault import OnRequest
    from shipgraph.embedded.ghcr.state import Ghcr


def create_app(
    backend: Backend,
    *,
    on_request: OnRequest | None = None,
    ghcr: Ghcr | None = None,
    storage: tuple[str, int] = ("", 0),
) -> ASGIApp:
    """The registry over a backend.

    Args:
        on_request: lets tests break requests; see ``fault``.
        ghcr: GHCR's habits, and ``storage`` the second address that they need.
    """
    middleware = [] if on_request is None else [Middleware(FaultMiddleware, on_request=on_request)]
    if ghcr is None:
        routes = _plain_routes(backend)
    else:
        from shipgraph.embedded.ghcr.app import ghcr_routes

        routes, door = ghcr_routes(backend, ghcr, storage)
        middleware.append(door)
    app = Starlette(
        routes=routes,
        middleware=middleware,
        exception_handlers={
            Refusal: answer_refusal,
            ShipgraphError: answer_error,
            HTTPException: answer_http,
            ClientDisconnect: answer_nobody,
            OSError: answer_bug,
            Exception: answer_bug,
        },
    )
    app.router.redirect_slashes = False
    return app


def _plain_routes(backend: Backend) -> list[Route]:
    return [
        Route("/v2/", _version, methods=["GET"]),
        Route("/v2", _version, methods=["GET"]),
        *Uploads(backend).routes(),
        *Blobs(backend).routes(),
        *Manifests(backend).routes(),
        *Tags(backend).routes(),
        *Referrers(backend).routes(),
    ]


async def _version(_: Request) -> Response:
    """§ Determining Support."""
    headers = {"Docker-Distribution-Api-Version": "registry/2.0", HEADER_CONDITIONAL: "1"}
    return Response(b"{}", headers=headers, media_type=JSON)
