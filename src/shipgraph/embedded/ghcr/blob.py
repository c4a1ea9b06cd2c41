"""Blobs as GHCR serves them: from another host, by a signed address, to which no ``Authorization`` may be sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from starlette.responses import Response
from starlette.routing import Route

from shipgraph.embedded.answer import error
from shipgraph.embedded.blob import Blobs
from shipgraph.embedded.ghcr.credentials import sign
from shipgraph.embedded.headers import Refusal, digest_of
from shipgraph.oci.distribution import HEADER_DIGEST, ErrorCode
from shipgraph.oci.reference import is_loopback

if TYPE_CHECKING:
    from starlette.requests import Request

    from shipgraph.embedded.ghcr.state import State

_PATH: Final = "/ghcr1/{name:path}/blobs/{digest}"
_LIFE: Final = 300.0  # seconds that a signed address works


class GhcrBlobs(Blobs):
    """The handlers over one state."""

    def __init__(self, state: State) -> None:
        super().__init__(state.backend)
        self._state = state

    def routes(self) -> list[Route]:
        """The routes to the handlers, and to the storage behind."""
        return [*super().routes(), Route(_PATH, self.storage, methods=["GET"])]

    async def get(self, request: Request) -> Response:
        """Where the blob is. HEAD is answered here."""
        if request.method == "HEAD":
            return await super().get(request)
        name, digest = request.path_params["name"], digest_of(request.path_params["digest"])
        if await self._state.backend.blob_size(name, digest) is None:
            raise Refusal(404, ErrorCode.BLOB_UNKNOWN, "blob unknown to registry")
        path = f"/ghcr1/{quote(name)}/blobs/{digest}"
        until = int(self._state.habits.clock() + _LIFE)
        mark = sign(f"{path} {until}", await self._state.ledger.secret())
        address, port = self._state.storage
        host = other_name(request.url.hostname or "localhost", address)
        location = f"{request.url.scheme}://{host}:{port}{path}?se={until}&sig={mark}"
        return Response(status_code=307, headers={"Location": location, HEADER_DIGEST: str(digest)})

    async def delete(self, request: Request) -> Response:  # noqa: ARG002 (a handler)
        """Not here."""
        return error(405, ErrorCode.UNSUPPORTED, "The operation is unsupported.")

    async def storage(self, request: Request) -> Response:
        """The storage behind: another address, which knows signatures and no logins."""
        # Only where the name differs from the registry's: Go's clients look at nothing else, not at the port.
        if "Authorization" in request.headers and is_loopback(request.url.netloc):
            return _xml(
                400, "InvalidAuthenticationInfo", "Authentication information is not given in the correct format."
            )
        name, digest = request.path_params["name"], request.path_params["digest"]
        until = request.query_params.get("se", "")
        mark = sign(f"/ghcr1/{quote(name)}/blobs/{digest} {until}", await self._state.ledger.secret())
        if request.query_params.get("sig") != mark or float(until) < self._state.habits.clock():
            return _xml(403, "AuthenticationFailed", "Signature not valid, or expired.")
        answer = await super().get(request)
        del answer.headers[HEADER_DIGEST]
        return answer


def other_name(host: str, address: str) -> str:
    """Another name of the host under which a client came, if it is loopback; else the same name."""
    if host == "localhost":
        host = "127.0.0.1" if address in {"0.0.0.0", "::"} else address  # noqa: S104 (compared, not bound)
    elif is_loopback(f"[{host}]" if ":" in host else host):
        host = "localhost"
    return f"[{host}]" if ":" in host else host


def _xml(status: int, code: str, message: str) -> Response:
    body = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Response(body, status, media_type="application/xml")
