"""GitHub's Packages API for container packages, as a client: lists, deletion, restoring.

What one has to know about it: a version is a manifest, and dies with all its tags. A listing may show versions that are
deleted already, and pages shift while something is deleted: list everything first. There is no API for visibility.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 (msgspec reads it)
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal, TypeAlias
from urllib.parse import quote

import msgspec

from shipgraph.errors import Denied, NotFound, RegistryError, Rejected

if TYPE_CHECKING:
    from collections.abc import Callable

    from shipgraph.github.api import GitHubApi

OwnerKind: TypeAlias = Literal["Organization", "User"]
STATE: TypeAlias = Literal["active", "deleted"]

WEB: Final = "https://github.com"
RESTORABLE_DAYS: Final = 30
_CONTAINER: Final = "container"


class Keeping(StrEnum):
    """Why GitHub keeps a version that it was asked to delete."""

    LAST_TAGGED = "it is the last tagged version of its package"
    LAST = "it is the last version of its package"
    DOWNLOADS = "it is public and was downloaded more than 5,000 times"
    OTHER = "GitHub gives no reason that is known here"


class VersionKept(Rejected):
    """GitHub refuses to delete a version, now and whenever it is asked again: a fact to live with, not a failure."""

    reason: Keeping = Keeping.OTHER


class _Repository(msgspec.Struct, frozen=True):
    full_name: str


class _Container(msgspec.Struct, frozen=True):
    tags: tuple[str, ...] = ()


class _Metadata(msgspec.Struct, frozen=True):
    container: _Container = _Container()


class _User(msgspec.Struct, frozen=True):
    login: str
    type: str


class ContainerPackage(msgspec.Struct, frozen=True):
    """A package: what a registry calls a repository, without its owner's name."""

    id: int
    name: str
    visibility: str
    html_url: str
    created_at: datetime
    updated_at: datetime
    version_count: int = 0
    repository: _Repository | None = None

    @property
    def source(self) -> str | None:
        """The repository (``OWNER/NAME``) that it is connected to; None for an orphan."""
        return None if self.repository is None else self.repository.full_name


class PackageVersion(msgspec.Struct, frozen=True):
    """A version: one manifest, with all the tags that point at it."""

    id: int
    name: str
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None
    metadata: _Metadata = _Metadata()

    @property
    def digest(self) -> str:
        """The manifest's digest: that is a version's name."""
        return self.name

    @property
    def tags(self) -> tuple[str, ...]:
        """Its tags; of a deleted version perhaps none, whatever it had."""
        return self.metadata.container.tags


@dataclass(frozen=True, slots=True)
class Owner:
    """An owner of packages and where the API has them."""

    login: str
    kind: OwnerKind
    path: str
    """``/orgs/LOGIN``, ``/users/LOGIN``, or ``/user`` for whoever the token belongs to."""

    def settings(self, package: str) -> str:
        """The page on which a person can change a package's visibility and access; no API can."""
        base = "orgs" if self.kind == "Organization" else "users"
        return f"{WEB}/{base}/{self.login}/packages/container/{quote(package, safe='')}/settings"


async def find_owner(api: GitHubApi, login: str) -> Owner:
    """What kind of owner a login is, and so where its packages are.

    Raises:
        NotFound: nobody has that name.
        RegistryError
    """
    user = (await api.get(f"owner {login}", f"/users/{quote(login, safe='')}")).decode(_User, f"owner {login}")
    if user.type == "Organization":
        return Owner(user.login, "Organization", f"/orgs/{quote(user.login, safe='')}")
    try:
        me = (await api.get("the token's user", "/user")).decode(_User, "the token's user")
    except Denied:  # a workflow's token belongs to no user
        me = None
    own = me is not None and me.login.lower() == user.login.lower()
    return Owner(user.login, "User", "/user" if own else f"/users/{quote(user.login, safe='')}")


class Packages:
    """The container packages of one owner. Package names are without the owner's, and may hold slashes."""

    def __init__(self, api: GitHubApi, owner: Owner) -> None:
        self._api, self.owner = api, owner
        self._readable: set[str] = set()

    async def all(self) -> list[ContainerPackage]:
        """All packages that the token may see, by name.

        Raises:
            Denied: a workflow's token can't list packages.
            RegistryError
        """
        what = f"packages of {self.owner.login}"
        query = {"package_type": _CONTAINER}
        found = await self._api.pages(what, f"{self.owner.path}/packages", query, ContainerPackage)
        # listings may hold what is being deleted, under such a name
        named = {package.name: package for package in found if not package.name.startswith("deleted_")}
        return [named[name] for name in sorted(named)]

    async def get(self, package: str) -> ContainerPackage | None:
        """A package; None if it is not there, or the token may not see it: GitHub doesn't tell which.

        Raises:
            RegistryError
        """
        what = self._name(package)
        try:
            found = (await self._api.get(what, self._path(package))).decode(ContainerPackage, what)
        except NotFound:
            return None
        self._readable.add(package)
        return found

    async def versions(self, package: str, *, state: STATE = "active") -> list[PackageVersion]:
        """All versions, the newest first, each once.

        Raises:
            NotFound: there is no such package, or the token may not see it.
            RegistryError
        """
        what = f"versions of {self._name(package)}"
        path = f"{self._path(package)}/versions"
        found = await self._api.pages(what, path, {"state": state}, PackageVersion)
        self._readable.add(package)
        # what is pushed meanwhile shifts the pages, so that one may be on two of them
        return sorted({version.id: version for version in found}.values(), key=lambda one: one.id, reverse=True)

    async def newest(self, package: str, known: Callable[[PackageVersion], bool]) -> list[PackageVersion]:
        """The versions that are not ``known``, from the newest page on to the first that holds none.

        Nothing of GitHub's promises that order, so what isn't found may be there all the same.

        Raises:
            NotFound: there is no such package, or the token may not see it.
            RegistryError
        """
        what = f"versions of {self._name(package)}"
        found: dict[int, PackageVersion] = {}
        page = 1
        while True:
            query: dict[str, str | int] = {"state": "active", "per_page": 100, "page": page}
            reply = await self._api.get(what, f"{self._path(package)}/versions", query)
            versions = reply.decode(list[PackageVersion], what)
            new = [version for version in versions if not known(version)]
            found.update((version.id, version) for version in new)
            if not new or len(versions) < 100:
                return list(found.values())
            page += 1

    async def version(self, package: str, identifier: int) -> PackageVersion | None:
        """A version as it is now; None if it is not there (any more).

        Raises:
            RegistryError
        """
        what = self._name(package, identifier)
        try:
            reply = await self._api.get(what, f"{self._path(package)}/versions/{identifier}")
        except NotFound:
            return None
        return reply.decode(PackageVersion, what)

    async def delete_version(self, package: str, identifier: int) -> bool:
        """Delete a version with all its tags; False if it was gone already (listings are often behind).

        Raises:
            VersionKept: GitHub won't, ever.
            Denied: the token may read the version, but not delete it.
            RegistryError
        """
        what = f"delete {self._name(package, identifier)}"
        try:
            await self._api.send(what, "DELETE", f"{self._path(package)}/versions/{identifier}")
        except NotFound as refused:
            # 404 means both "gone" and "no right to": what can still be read is not gone
            if await self.version(package, identifier) is not None:
                raise self._no_right(what, refused) from None
            if package not in self._readable and await self.get(package) is None:
                raise
            return False
        except Rejected as refused:
            if refused.status == 400:
                raise _kept(what, refused) from None
            raise
        return True

    async def restore_version(self, package: str, identifier: int) -> None:
        """Bring a deleted version back, with its tags as far as these are free; fine if it is there.

        Raises:
            NotFound: it can't be had any more: 30 days are over, or the same manifest was pushed again.
            Denied, RegistryError
        """
        what = f"restore {self._name(package, identifier)}"
        try:
            await self._api.send(what, "POST", f"{self._path(package)}/versions/{identifier}/restore")
        except NotFound as refused:
            if await self.version(package, identifier) is None:
                raise NotFound(
                    f"{what}: it can't be restored",
                    method=refused.method,
                    url=refused.url,
                    status=refused.status,
                    detail=refused.detail,
                    hint=f"deleted versions are kept for {RESTORABLE_DAYS} days, unless pushed again;"
                    " if it is not that, the token lacks the right to restore",
                ) from None

    async def delete_package(self, package: str) -> bool:
        """Delete a package with all its versions; False if it was gone already.

        Raises:
            VersionKept: GitHub won't, ever.
            Denied, RegistryError
        """
        what = f"delete {self._name(package)}"
        try:
            await self._api.send(what, "DELETE", self._path(package))
        except NotFound as refused:
            if await self.get(package) is not None:
                raise self._no_right(what, refused) from None
            return False
        except Rejected as refused:
            if refused.status == 400:
                raise _kept(what, refused) from None
            raise
        return True

    async def restore_package(self, package: str) -> None:
        """Bring a deleted package back; fine if it is there.

        Raises:
            NotFound: it can't be had any more, or the token lacks the right.
            Denied, RegistryError
        """
        try:
            await self._api.send(f"restore {self._name(package)}", "POST", f"{self._path(package)}/restore")
        except NotFound:
            if await self.get(package) is None:
                raise

    def _no_right(self, what: str, refused: NotFound) -> RegistryError:
        return Denied(
            f"{what}: the token may read it, but not change it (GitHub answers as if it weren't there)",
            method=refused.method,
            url=refused.url,
            status=refused.status,
            detail=refused.detail,
            hint="give the repository the Admin role under Manage Actions access, or use another token",
        )

    def _name(self, package: str, version: int | None = None) -> str:
        return f"package {self.owner.login}/{package}" + ("" if version is None else f" version {version}")

    def _path(self, package: str) -> str:
        return f"{self.owner.path}/packages/{_CONTAINER}/{quote(package, safe='')}"


def _kept(what: str, refused: Rejected) -> VersionKept:
    told = refused.detail.lower()
    reason = Keeping.OTHER
    if "last tagged version" in told:
        reason = Keeping.LAST_TAGGED
    elif "last version" in told:
        reason = Keeping.LAST
    elif "downloads" in told:
        reason = Keeping.DOWNLOADS
    error = VersionKept(
        f"{what}: GitHub keeps it, for {reason}",
        method=refused.method,
        url=refused.url,
        status=refused.status,
        detail=refused.detail,
    )
    error.reason = reason
    return error
