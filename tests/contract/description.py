"""GitHub's OpenAPI description, cut down to what shipgraph uses: fetched once, by version and digest, into the cache.

It is the npm package ``@octokit/openapi``: 28 MB to fetch, so nothing of it is kept in this repository.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import tarfile
import urllib.request
from typing import Any

from tests.real.tools import cache

VERSION = "23.0.2"
INTEGRITY = "sha512-pV8M7L9GY23AybNvTmo2nyjmpmnt6+2sRE/tqr0ZLQcPS4lnw7u5eZGNmwRNkBC3D7gZXbFx5AHzLUVRBXGDhg=="
URL = f"https://registry.npmjs.org/@octokit/openapi/-/openapi-{VERSION}.tgz"
MEMBER = "package/generated/api.github.com.json"
CUT = 2
"""Of the way it is cut: another number, or other paths, another file in the cache."""

_OWNERS = ("/orgs/{org}", "/users/{username}", "/user")
_PACKAGE = "/packages/{package_type}/{package_name}"
_VERSION = f"{_PACKAGE}/versions/{{package_version_id}}"
PATHS = (
    *(owner + path for owner in _OWNERS for path in ("/packages", _PACKAGE, f"{_PACKAGE}/restore")),
    *(owner + path for owner in _OWNERS for path in (f"{_PACKAGE}/versions", _VERSION, f"{_VERSION}/restore")),
    "/users/{username}",
    "/rate_limit",
    "/repos/{owner}/{repo}/attestations",
    "/repos/{owner}/{repo}/actions/runs/{run_id}/attempts/{attempt_number}",
    "/repos/{owner}/{repo}/actions/workflows/{workflow_id}/dispatches",
    *(f"{owner}/attestations/{{subject_digest}}" for owner in ("/repos/{owner}/{repo}", *_OWNERS[:2])),
)
"""What the rehearsal serves and the client asks for; and ``GET /user``, but only as much of it as the client reads."""

METHODS = {"get", "post", "delete"}


def description() -> dict[str, Any]:
    """The description of ``PATHS``, and of all that it refers to."""
    paths = hashlib.sha256(repr(PATHS).encode()).hexdigest()[:8]
    kept = cache() / f"github-openapi-{VERSION}-{CUT}-{paths}.json"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        aside = kept.with_suffix(f".{os.getpid()}")
        aside.write_text(json.dumps(_cut(json.loads(_fetch()))))
        aside.rename(kept)
    found: dict[str, Any] = json.loads(kept.read_text())
    return found


def _fetch() -> bytes:
    with urllib.request.urlopen(URL, timeout=120) as answer:
        archive: bytes = answer.read()
    got = "sha512-" + base64.b64encode(hashlib.sha512(archive).digest()).decode()
    if got != INTEGRITY:
        raise RuntimeError(f"{URL} has the digest {got}, not {INTEGRITY}")
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        member = tar.extractfile(MEMBER)
        assert member is not None
        return member.read()


def _cut(whole: dict[str, Any]) -> dict[str, Any]:
    paths = {
        path: {key: value for key, value in whole["paths"][path].items() if key in METHODS | {"parameters"}}
        for path in PATHS
    }
    components: dict[str, dict[str, Any]] = {}
    waiting: list[Any] = [paths]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            node.pop("examples", None)
            reference = node.get("$ref")
            if isinstance(reference, str):
                _, _, kind, name = reference.split("/")
                if name not in components.setdefault(kind, {}):
                    components[kind][name] = whole["components"][kind][name]
                    waiting.append(components[kind][name])
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node
    kept = {key: whole[key] for key in ("openapi", "info")}
    return {**kept, "servers": [{"url": "https://api.github.com"}], "paths": paths, "components": components}
