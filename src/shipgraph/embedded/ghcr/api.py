"""GitHub's REST API as far as packages need it: who asks, how often they may, and where packages are handled."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import Response
from starlette.routing import Route

from shipgraph.embedded.answer import JSON
from shipgraph.embedded.ghcr import shapes
from shipgraph.embedded.ghcr.accounts import Pat, Workflow
from shipgraph.embedded.ghcr.credentials import basic_password
from shipgraph.embedded.ghcr.throttle import Hour, Hours, Points
from shipgraph.oci.manifest import encode_json

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.requests import Request

    from shipgraph.embedded.ghcr.accounts import Identity
    from shipgraph.embedded.ghcr.state import State

PREFIXES: Final = ("", "/api/v3")
"""Where the API is: as on api.github.com, and as on a server of one's own (``GITHUB_API_URL``)."""

NO_INTEGRATION: Final = "Resource not accessible by integration"
_DOCS: Final = "https://docs.github.com/rest"
_ANONYMOUS_LIMIT: Final = 60


class ApiRefusal(Exception):
    """A request that GitHub's API refuses."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers or {}

    def answer(self) -> Response:
        """As GitHub says it."""
        document = {"message": self.message, "documentation_url": _DOCS, "status": str(self.status)}
        return Response(encode_json(document), self.status, self.headers, media_type=JSON)


class Api:
    """Guards handlers: each gets the request with who asks in ``request.state.identity`` (None: nobody)."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._hours = Hours(state.habits.clock)
        self._points = Points(state.habits.api_points, state.habits.clock)

    def route(
        self, path: str, handler: Callable[[Request], Awaitable[Response]], method: str = "GET", *, free: bool = False
    ) -> list[Route]:
        """A route below each prefix. ``free``: neither counted nor limited."""

        async def guarded(request: Request) -> Response:
            hour = None
            try:
                hour = self._admit(request, path, cost=0 if free else 1)
                answer = await handler(request)
            except ApiRefusal as refusal:
                answer = refusal.answer()
            if hour is not None:
                answer.headers.update(hour.headers)
            identity = getattr(request.state, "identity", None)
            if isinstance(identity, Pat):
                answer.headers["X-OAuth-Scopes"] = ", ".join(sorted(identity.scopes))
            answer.headers["X-GitHub-Media-Type"] = "github.v3; format=json"
            return answer

        return [Route(prefix + path, guarded, methods=[method]) for prefix in PREFIXES]

    def routes(self) -> list[Route]:
        """The routes that are not about packages."""
        return [
            *self.route("/users/{login}", self.user),
            *self.route("/user", self.me),
            *self.route("/rate_limit", self.rate_limit, free=True),
        ]

    async def user(self, request: Request) -> Response:
        """``GET /users/{login}``: its ``type`` says whether it is an organization."""
        login: str = request.path_params["login"]
        kind = self._state.accounts().owner_type(login)
        if kind is None:
            raise ApiRefusal(404, "Not Found")
        return document(shapes.full_user(base(request), login, kind))

    async def me(self, request: Request) -> Response:
        """``GET /user``: for people only."""
        identity = authenticated(request)
        if not isinstance(identity, Pat):
            raise ApiRefusal(403, NO_INTEGRATION)
        return document(shapes.full_user(base(request), identity.user, "user"))

    async def rate_limit(self, request: Request) -> Response:
        """``GET /rate_limit``: where one stands; asking costs nothing."""
        hour, _ = self._hour(request.state.identity, cost=0)
        core = {
            "limit": hour.limit,
            "used": hour.used,
            "remaining": max(0, hour.limit - hour.used),
            "reset": hour.reset,
        }
        return document({"resources": {"core": core, "search": {**core, "limit": 30, "used": 0}}, "rate": core})

    def _admit(self, request: Request, path: str, *, cost: int) -> Hour | None:
        header = request.headers.get("Authorization", "")
        identity: Identity | None = None
        if header:
            scheme, _, value = header.partition(" ")
            token = value.strip() if scheme.lower() in {"bearer", "token"} else basic_password(header)
            identity = None if token is None else self._state.accounts().identity(token)
            if identity is None:
                raise ApiRefusal(401, "Bad credentials")
        request.state.identity = identity
        hour, granted = self._hour(identity, cost=cost)
        if not granted:
            raise ApiRefusal(403, f"API rate limit exceeded for {_who(identity)[1]}.", hour.headers)
        points = cost * (1 if request.method in {"GET", "HEAD"} else 5)
        wait = self._points.take((_who(identity), path, request.method), points) if points else 0.0
        if wait:
            text = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
            raise ApiRefusal(403, text, {**hour.headers, "Retry-After": str(math.ceil(wait))})
        return hour

    def _hour(self, identity: Identity | None, *, cost: int) -> tuple[Hour, bool]:
        habits = self._state.habits
        limit = _ANONYMOUS_LIMIT if identity is None else habits.api_limit
        if isinstance(identity, Workflow):
            limit = habits.api_limit_workflow
        return self._hours.take(_who(identity), limit, cost=cost)


def authenticated(request: Request) -> Identity:
    """Who asks.

    Raises:
        ApiRefusal: nobody.
    """
    identity: Identity | None = request.state.identity
    if identity is None:
        raise ApiRefusal(401, "Requires authentication")
    return identity


def document(value: Any, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(encode_json(value), 200, headers, media_type="application/json; charset=utf-8")


def base(request: Request) -> str:
    """The API's own address, as the client named it."""
    prefix = PREFIXES[1] if request.url.path.startswith(f"{PREFIXES[1]}/") else PREFIXES[0]
    return f"{request.url.scheme}://{request.url.netloc}{prefix}"


def _who(identity: Identity | None) -> tuple[str, str]:
    """Whose hour it is: workflow tokens of one repository share theirs, and so do a user's tokens."""
    if identity is None:
        return "anonymous", "you"
    if isinstance(identity, Workflow):
        return "installation", f"installation of {identity.repository.lower()}"
    return "user", f"user {identity.user.lower()}"
