"""Who is asking, and whether they may: GHCR's token handshake and what is checked at each request to ``/v2/``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from starlette.responses import Response
from starlette.routing import Route

from shipgraph.embedded.answer import JSON, error
from shipgraph.embedded.ghcr import rights
from shipgraph.embedded.ghcr.credentials import ANONYMOUS, Pass, Scope, basic_password, bearer, plain, seal, unseal
from shipgraph.oci.distribution import HEADER_LAG, ErrorCode
from shipgraph.oci.manifest import encode_json
from shipgraph.oci.reference import check_repository

if TYPE_CHECKING:
    from starlette.requests import Request

    from shipgraph.embedded.ghcr.accounts import Identity
    from shipgraph.embedded.ghcr.rows import Package
    from shipgraph.embedded.ghcr.state import State

SERVICE: Final = "ghcr.io"
PLACEHOLDER: Final = "repository:user/image:pull"
"""The scope in the challenge of ``GET /v2/``: GHCR's documentation come alive. Nobody should ask for it."""

_PATH: Final = re.compile(r"/v2/(.+?)/(?:blobs|manifests|tags|referrers)(?:/.*)?")
_UNTOLD_LIFE: Final = 60.0
_MAX_SCOPES: Final = 16


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks (None: anybody), what for, and the package as it is now, if there is one."""

    identity: Identity | None
    name: str
    package: Package | None


class Authority:
    """The handshake and the checks over one state."""

    def __init__(self, state: State) -> None:
        self._state = state

    def routes(self) -> list[Route]:
        """The route to the token server."""
        return [Route("/token", self.token, methods=["GET"])]

    async def token(self, request: Request) -> Response:
        """``GET /token?service=ghcr.io&scope=…``: a registry token for a login, or for anybody."""
        header = request.headers.get("Authorization", "")
        given = basic_password(header) if header else ANONYMOUS
        asked = [
            Scope.parse(one) for text in request.query_params.getlist("scope")[:_MAX_SCOPES] for one in text.split()
        ]
        scopes = [scope for scope in asked if scope is not None]
        if header:
            if given is None or self._state.accounts().identity(given) is None:
                return _denied("denied")
        else:
            for scope in scopes:
                package = await self._state.find(scope.name)
                if package is None:
                    return _denied("requested access to the resource is denied")
                if package.visibility != "public":
                    return error(401, ErrorCode.UNAUTHORIZED, "authentication required", self._challenge(request, ""))
        life = self._state.habits.token_life
        granted = Pass(
            given or ANONYMOUS,
            [(scope.name, sorted(scope.actions)) for scope in scopes],
            self._state.habits.clock() + life,
        )
        document: dict[str, object] = {"token": seal(granted, await self._state.ledger.secret())}
        if life < _UNTOLD_LIFE:
            document["expires_in"] = max(1, int(life))
        return Response(encode_json(document), media_type=JSON)

    async def admit(self, request: Request) -> Visitor | Response:
        """Check a request to ``/v2/…``; who it is, or the answer that turns them away.

        Raises:
            InvalidReference: the name is none (upper case, say).
        """
        match = _PATH.fullmatch(request.url.path)
        name = match[1] if match else ""
        action = "pull" if request.method in {"GET", "HEAD"} else "push"
        header = request.headers.get("Authorization", "")
        if not header:
            return self._unauthorized(request, name, "authentication required", action)
        found = await self._identify(header)
        if found is None:
            return _denied("denied")
        granted, identity = found
        if granted is not None and granted.until <= self._state.habits.clock():
            return self._unauthorized(request, name, "authentication required: token expired", action)
        if not name:
            return Visitor(identity, "", None)
        check_repository(name)
        if "/" not in name:
            return error(404, ErrorCode.NAME_UNKNOWN, "repository name not known to registry")
        if granted is not None and not granted.covers(name, action):
            reason = rights.NOBODY if identity is None else "authentication required: insufficient scope"
            return self._unauthorized(request, name, reason, action)
        package = await self._state.find(name)
        if action == "push":
            refused = rights.why_not_write(identity, name, package, self._state.accounts())
        elif package is not None:
            refused = "" if rights.may_read(identity, package) else "denied"
        else:  # who could make it is told that it isn't there; others learn nothing
            refused = rights.why_not_write(identity, name, None, self._state.accounts()) and "denied"
        if not refused:
            return Visitor(identity, name, package)
        return self._unauthorized(request, name, refused, action) if identity is None else _denied(refused)

    async def _identify(self, header: str) -> tuple[Pass | None, Identity | None] | None:
        """A pass and whose it is; no pass for a PAT that came as it is; None for what is no good."""
        accounts = self._state.accounts()
        value = bearer(header)
        if value is not None:
            granted = unseal(value, await self._state.ledger.secret())
            if granted is not None and granted.token == ANONYMOUS:
                return granted, None
            token = granted.token if granted is not None else plain(value)
        else:
            granted, token = None, basic_password(header)
        identity = None if token is None else accounts.identity(token)
        return None if identity is None else (granted, identity)

    def _unauthorized(self, request: Request, name: str, reason: str, action: str) -> Response:
        if not name:
            # GHCR doesn't say so; but who waits for it should wait for as long as this server lags, and no longer
            told = {HEADER_LAG: f"{self._state.habits.lag:g}"}
            return error(401, ErrorCode.UNAUTHORIZED, reason, self._challenge(request, PLACEHOLDER) | told)
        scope = f"repository:{name}:{'pull' if action == 'pull' else 'pull,push'}"
        return error(401, ErrorCode.UNAUTHORIZED, reason, self._challenge(request, scope))

    def _challenge(self, request: Request, scope: str) -> dict[str, str]:
        realm = f"{request.url.scheme}://{request.headers.get('Host', 'localhost')}/token"
        value = f'Bearer realm="{realm}",service="{SERVICE}"' + (f',scope="{scope}"' if scope else "")
        return {"WWW-Authenticate": value}


def _denied(reason: str) -> Response:
    return error(403, ErrorCode.DENIED, reason)
