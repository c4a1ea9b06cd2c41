"""GitHub's Packages API for containers: lists, versions, deletion with its refusals, and restoring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

from starlette.responses import Response

from shipgraph.embedded.ghcr import rights, shapes
from shipgraph.embedded.ghcr.accounts import DELETE, READ, WRITE, Pat, Workflow
from shipgraph.embedded.ghcr.api import NO_INTEGRATION, ApiRefusal, authenticated, base, document
from shipgraph.embedded.ghcr.changes import Undeletable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.routing import Route

    from shipgraph.embedded.ghcr.accounts import Identity, OwnerType
    from shipgraph.embedded.ghcr.api import Api
    from shipgraph.embedded.ghcr.rows import Package
    from shipgraph.embedded.ghcr.state import State

PER_PAGE: Final = 30
MAX_PER_PAGE: Final = 100
_TYPES: Final = frozenset({"npm", "maven", "rubygems", "docker", "nuget", "container"})
_FAR: Final = 10_000
_NO_PACKAGE: Final = "Package not found."


@dataclass(frozen=True, slots=True)
class _Owner:
    """Whose packages a path is about."""

    login: str
    type: OwnerType
    own: bool
    """Whether it was asked for as ``/user``, where private packages are listed too."""


class Packages:
    """The handlers over one state."""

    def __init__(self, state: State) -> None:
        self._state = state

    def routes(self, api: Api) -> list[Route]:
        """The routes to the handlers; longer paths first, for a package's name may hold slashes."""
        rest: list[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = [
            ("GET", "/{type}/{name:path}/versions/{version}", self.version),
            ("DELETE", "/{type}/{name:path}/versions/{version}", self.delete_version),
            ("POST", "/{type}/{name:path}/versions/{version}/restore", self.restore_version),
            ("GET", "/{type}/{name:path}/versions", self.versions),
            ("POST", "/{type}/{name:path}/restore", self.restore),
            ("GET", "/{type}/{name:path}", self.get),
            ("DELETE", "/{type}/{name:path}", self.delete),
            ("GET", "", self.list),
        ]
        found: list[Route] = []
        for method, path, handler in rest:
            for owner in ("/orgs/{owner}", "/users/{owner}", "/user"):
                found += api.route(f"{owner}/packages{path}", handler, method)
        return found

    async def list(self, request: Request) -> Response:
        """An owner's packages. Workflow tokens can't."""
        identity = authenticated(request)
        if isinstance(identity, Workflow):
            raise ApiRefusal(403, NO_INTEGRATION)
        if rights.missing_scope(identity, READ):
            raise ApiRefusal(403, f"You need at least {READ} scope to list packages.")
        owner = self._owner(request, identity)
        query = request.query_params
        if query.get("package_type") not in _TYPES:
            raise ApiRefusal(400, f"package_type is not one of {', '.join(sorted(_TYPES))}")
        page, size = _paging(request)
        if page * size > _FAR:
            raise ApiRefusal(400, f"The value of `per_page` multiplied by `page` cannot be greater than {_FAR}.")
        if query["package_type"] != "container":
            return document([])
        await self._state.adopt_all()
        wanted = query.get("visibility")
        found = [
            package
            for package in await self._state.ledger.packages(owner.login)
            if rights.may_read(identity, package)
            and (owner.own or owner.type == "organization" or package.visibility == "public")
            and wanted in (None, package.visibility)
        ]
        shown = found[(page - 1) * size : page * size]
        documents = [await self._package(request, package, owner.type) for package in shown]
        return document(documents, _links(request, page, size, len(found)))

    async def get(self, request: Request) -> Response:
        """One package."""
        package, owner = await self._readable(request)
        return document(await self._package(request, package, owner.type))

    async def delete(self, request: Request) -> Response:
        """Delete a package."""
        package, _ = await self._administered(request, READ, DELETE)
        try:
            await self._state.ledger.delete_package(package)
        except Undeletable as refused:
            raise ApiRefusal(400, str(refused)) from None
        return Response(status_code=204)

    async def restore(self, request: Request) -> Response:
        """Restore a deleted package, for 30 days, while its name is free."""
        identity, owner = authenticated(request), self._owner(request, authenticated(request))
        package = await self._state.ledger.deleted_package(self._full_name(request, owner))
        self._check_admin(identity, package, READ, WRITE)
        if package is None or not await self._state.ledger.restore_package(package):
            raise ApiRefusal(404, _NO_PACKAGE)
        return Response(status_code=204)

    async def versions(self, request: Request) -> Response:
        """A page of a package's versions, the newest first; ``state=deleted`` lists what can be restored."""
        package, owner = await self._readable(request)
        deleted = request.query_params.get("state", "active")
        if deleted not in {"active", "deleted"}:
            raise ApiRefusal(422, "state is neither active nor deleted")
        if deleted == "deleted":
            self._check_admin(authenticated(request), package, READ)
        page, size = _paging(request)
        found, count = await self._state.ledger.versions(
            package, deleted=deleted == "deleted", limit=size, offset=min((page - 1) * size, 1 << 62)
        )
        api = base(request)
        documents = [shapes.version(api, package, one, owner.type) for one in found]
        return document(documents, _links(request, page, size, count))

    async def version(self, request: Request) -> Response:
        """One version."""
        package, owner = await self._readable(request)
        found = await self._state.ledger.version(package, _identifier(request))
        if found is None:
            raise ApiRefusal(404, "Not Found")
        return document(shapes.version(base(request), package, found, owner.type))

    async def delete_version(self, request: Request) -> Response:
        """Delete a version, with all tags that point at it."""
        package, _ = await self._administered(request, READ, DELETE)
        try:
            deleted = await self._state.ledger.delete_version(package, _identifier(request))
        except Undeletable as refused:
            raise ApiRefusal(400, str(refused)) from None
        if deleted is None:
            raise ApiRefusal(404, "Package not found.")
        await self._state.follow(package, deleted.tags)
        return Response(status_code=204)

    async def restore_version(self, request: Request) -> Response:
        """Restore a version, for 30 days, with those of its tags that are not in use."""
        package, _ = await self._administered(request, READ, WRITE)
        restored = await self._state.ledger.restore_version(package, _identifier(request))
        if restored is None:
            raise ApiRefusal(404, "Package version not found.")
        await self._state.follow(package, restored.tags)
        return Response(status_code=204)

    def _owner(self, request: Request, identity: Identity) -> _Owner:
        login = request.path_params.get("owner")
        if login is None:
            if not isinstance(identity, Pat):  # it would be the bot's own packages
                raise ApiRefusal(404, "Not Found")
            return _Owner(identity.user.lower(), "user", own=True)
        asked: OwnerType = "organization" if "/orgs/" in request.url.path else "user"
        if self._state.accounts().owner_type(login) != asked:
            raise ApiRefusal(404, "Not Found")
        return _Owner(login.lower(), asked, own=False)

    def _full_name(self, request: Request, owner: _Owner) -> str:
        name: str = request.path_params["name"]
        raw = request.scope.get("raw_path", b"").decode("latin-1")
        known = request.path_params["type"] == "container"
        # a slash in a package's name has to come as %2F
        if not known or ("/" in name and quote(name, safe="").lower() not in raw.lower()):
            raise ApiRefusal(404, _NO_PACKAGE)
        return f"{owner.login}/{name}"

    async def _readable(self, request: Request) -> tuple[Package, _Owner]:
        identity = authenticated(request)
        lacks = rights.missing_scope(identity, READ)
        if lacks:
            raise ApiRefusal(403, f"You need at least {lacks} scope to get a package.")
        owner = self._owner(request, identity)
        package = await self._state.find(self._full_name(request, owner))
        if package is None or not rights.may_read(identity, package):
            raise ApiRefusal(404, _NO_PACKAGE)
        return package, owner

    async def _administered(self, request: Request, *scopes: str) -> tuple[Package, _Owner]:
        package, owner = await self._readable(request)
        self._check_admin(authenticated(request), package, *scopes)
        return package, owner

    def _check_admin(self, identity: Identity, package: Package | None, *scopes: str) -> None:
        lacks = rights.missing_scope(identity, *scopes)
        if lacks:
            raise ApiRefusal(403, f"You need at least {lacks} scope to do this to a package.")
        if package is None or not rights.may_administer(identity, package):
            raise ApiRefusal(404, _NO_PACKAGE)

    async def _package(self, request: Request, package: Package, owner_type: OwnerType) -> dict[str, Any]:
        api, accounts = base(request), self._state.accounts()
        repository = None
        if package.repository is not None:
            kind = accounts.owner_type(package.repository.partition("/")[0]) or owner_type
            private = not accounts.is_public(package.repository)
            repository = shapes.repository(api, package.repository, kind, private=private)
        count = await self._state.ledger.count(package)
        return shapes.package(api, package, owner_type, version_count=count, repository=repository)


def _identifier(request: Request) -> int:
    text: str = request.path_params["version"]
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise ApiRefusal(404, "Not Found")
    return int(text)


def _paging(request: Request) -> tuple[int, int]:
    """Number and size of the page; what makes no sense counts as not said, as GitHub has it."""

    def number(name: str, default: int) -> int:
        text = request.query_params.get(name, "")
        return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) <= 15 else default

    return number("page", 1), min(MAX_PER_PAGE, number("per_page", PER_PAGE))


def _links(request: Request, page: int, size: int, count: int) -> dict[str, str]:
    """The ``Link`` header to the pages around."""
    last = max(1, -(-count // size))
    targets = {"prev": min(page - 1, last), "next": page + 1, "last": last, "first": 1}
    if page >= last:
        del targets["next"], targets["last"]
    if page <= 1:
        del targets["prev"], targets["first"]
    kept = [(key, value) for key, value in request.query_params.multi_items() if key != "page"]
    path = request.scope.get("raw_path", request.url.path.encode()).decode("latin-1")
    address = f"{request.url.scheme}://{request.url.netloc}{path}"
    links = [f'<{address}?{urlencode([*kept, ("page", target)])}>; rel="{rel}"' for rel, target in targets.items()]
    return {"Link": ", ".join(links)} if links else {}
