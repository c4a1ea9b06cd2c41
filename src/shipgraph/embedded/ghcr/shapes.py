"""GitHub's JSON documents, with every member that its OpenAPI description asks for."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from shipgraph.embedded.ghcr.accounts import OwnerType
    from shipgraph.embedded.ghcr.rows import Package, Version

WEB: Final = "https://github.com"
_USER_LINKS: Final = {
    "followers_url": "/followers",
    "following_url": "/following{/other_user}",
    "gists_url": "/gists{/gist_id}",
    "starred_url": "/starred{/owner}{/repo}",
    "subscriptions_url": "/subscriptions",
    "organizations_url": "/orgs",
    "repos_url": "/repos",
    "events_url": "/events{/privacy}",
    "received_events_url": "/received_events",
}
_REPOSITORY_LINKS: Final = {
    "archive_url": "/{archive_format}{/ref}",
    "assignees_url": "/assignees{/user}",
    "blobs_url": "/git/blobs{/sha}",
    "branches_url": "/branches{/branch}",
    "collaborators_url": "/collaborators{/collaborator}",
    "comments_url": "/comments{/number}",
    "commits_url": "/commits{/sha}",
    "compare_url": "/compare/{base}...{head}",
    "contents_url": "/contents/{+path}",
    "contributors_url": "/contributors",
    "deployments_url": "/deployments",
    "downloads_url": "/downloads",
    "events_url": "/events",
    "forks_url": "/forks",
    "git_commits_url": "/git/commits{/sha}",
    "git_refs_url": "/git/refs{/sha}",
    "git_tags_url": "/git/tags{/sha}",
    "hooks_url": "/hooks",
    "issue_comment_url": "/issues/comments{/number}",
    "issue_events_url": "/issues/events{/number}",
    "issues_url": "/issues{/number}",
    "keys_url": "/keys{/key_id}",
    "labels_url": "/labels{/name}",
    "languages_url": "/languages",
    "merges_url": "/merges",
    "milestones_url": "/milestones{/number}",
    "notifications_url": "/notifications{?since,all,participating}",
    "pulls_url": "/pulls{/number}",
    "releases_url": "/releases{/id}",
    "stargazers_url": "/stargazers",
    "statuses_url": "/statuses/{sha}",
    "subscribers_url": "/subscribers",
    "subscription_url": "/subscription",
    "tags_url": "/tags",
    "teams_url": "/teams",
    "trees_url": "/git/trees{/sha}",
}


def user(api: str, login: str, kind: OwnerType) -> dict[str, Any]:
    """A simple user; organizations are users too."""
    url = f"{api}/users/{login}"
    return {
        "login": login,
        "id": _number(login),
        "node_id": f"U_{_number(login):x}",
        "avatar_url": f"https://avatars.githubusercontent.com/u/{_number(login)}?v=4",
        "gravatar_id": "",
        "url": url,
        "html_url": f"{WEB}/{login}",
        **{name: url + path for name, path in _USER_LINKS.items()},
        "type": "User" if kind == "user" else "Organization",
        "site_admin": False,
    }


def full_user(api: str, login: str, kind: OwnerType) -> dict[str, Any]:
    """A public user, as ``GET /users/{login}`` gives it."""
    nothing = dict.fromkeys(("name", "company", "blog", "location", "email", "hireable", "bio"))
    counts = dict.fromkeys(("public_repos", "public_gists", "followers", "following"), 0)
    times = {"created_at": "2020-01-01T00:00:00Z", "updated_at": "2020-01-01T00:00:00Z"}
    return {**user(api, login, kind), **nothing, **counts, **times}


def repository(api: str, full_name: str, owner_type: OwnerType, *, private: bool) -> dict[str, Any]:
    """A minimal repository."""
    owner, _, name = full_name.partition("/")
    url = f"{api}/repos/{full_name}"
    return {
        "id": _number(full_name),
        "node_id": f"R_{_number(full_name):x}",
        "name": name,
        "full_name": full_name,
        "private": private,
        "owner": user(api, owner, owner_type),
        "html_url": f"{WEB}/{full_name}",
        "description": None,
        "fork": False,
        "url": url,
        **{member: url + path for member, path in _REPOSITORY_LINKS.items()},
    }


def package(
    api: str, found: Package, owner_type: OwnerType, *, version_count: int, repository: dict[str, Any] | None
) -> dict[str, Any]:
    """A package. ``repository`` is null for one that is connected to none."""
    return {
        "id": found.id,
        "name": found.name,
        "package_type": "container",
        "owner": user(api, found.owner, owner_type),
        "version_count": version_count,
        "visibility": found.visibility,
        "url": package_url(api, found, owner_type),
        "created_at": time(found.created_at),
        "updated_at": time(found.updated_at),
        "repository": repository,
        "html_url": _page(found, owner_type),
    }


def version(api: str, of: Package, found: Version, owner_type: OwnerType) -> dict[str, Any]:
    """A version of a package: its name is its digest."""
    document = {
        "id": found.id,
        "name": found.digest,
        "url": f"{package_url(api, of, owner_type)}/versions/{found.id}",
        "package_html_url": _page(of, owner_type),
        "created_at": time(found.created_at),
        "updated_at": time(found.updated_at),
        "html_url": f"{_page(of, owner_type)}/{found.id}",
        "metadata": {"package_type": "container", "container": {"tags": list(found.tags)}},
    }
    if found.deleted_at is not None:
        document["deleted_at"] = time(found.deleted_at)
    return document


def package_url(api: str, found: Package, owner_type: OwnerType) -> str:
    """A package's address in the API."""
    return f"{api}/{_base(owner_type)}/{found.owner}/packages/container/{quote(found.name, safe='')}"


def time(seconds: float) -> str:
    """A time as GitHub writes it."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _page(found: Package, owner_type: OwnerType) -> str:
    return f"{WEB}/{_base(owner_type)}/{found.owner}/packages/container/package/{quote(found.name, safe='')}"


def _base(owner_type: OwnerType) -> str:
    return "users" if owner_type == "user" else "orgs"


def _number(text: str) -> int:
    return zlib.crc32(text.lower().encode()) + 1
