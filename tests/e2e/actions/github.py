"""A stand-in for GitHub: git over HTTP, the registry and API of ``serve --ghcr``, identity tokens, and job tokens.

Each token can do what its job's permissions say and nothing else. As to ``contents`` it is stricter than GitHub, where
anybody may read a public repository: what works here works in a private one too.
"""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock
from urllib.parse import parse_qs, urlsplit

import jwt
from anyio.from_thread import start_blocking_portal

from shipgraph.embedded.ghcr.accounts import Accounts, Identity, Pat, Visibility, Workflow
from shipgraph.embedded.ghcr.state import Ghcr
from shipgraph.embedded.serving import serve
from shipgraph.store.disk import DiskStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from shipgraph.embedded.fault import Fault, OnRequest

    from .workflow import Permissions

OWNER, NAME = "Acme", "demo"
REPOSITORY = f"{OWNER}/{NAME}"
ADMIN = "ghp_admin"


@dataclass
class GitHub:
    """What it knows, and where it is."""

    root: Path
    """The registry's folder."""
    git: Path
    """The folder of bare repositories, ``OWNER/NAME.git``."""
    registry: str = ""
    """``127.0.0.1:PORT`` of the registry, which has the API at ``/api/v3``."""
    address: str = ""
    """``http://127.0.0.1:PORT`` of git and of identity tokens."""
    visibility: dict[str, Visibility] = field(default_factory=lambda: {REPOSITORY: "public"})
    tokens: dict[str, tuple[str, Permissions, dict[str, str]]] = field(default_factory=dict)
    """Repository, permissions and claims of each job that runs."""
    hook: OnRequest | None = None
    """Asked for each request to the registry: method, path, headers; may answer with a ``Fault``."""
    ahead: float = 0.0
    """Seconds by which the registry's clock is ahead: a lease is over sooner."""
    ghcr: Ghcr = field(init=False)
    portal: Any = None

    def issue(self, job: str, permissions: Permissions, claims: dict[str, str]) -> str:
        """A token for one job of a run."""
        token = f"ghs_{re.sub(r'[^A-Za-z0-9]', '', job)}{secrets.token_hex(16)}"
        self.tokens[token] = (claims["repository"], permissions, claims)
        return token

    def identity_environment(self, token: str) -> dict[str, str]:
        """Where a job can ask who it is: nowhere, without ``id-token: write``."""
        if self.tokens[token][1].get("id-token") != "write":
            return {}
        return {
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{self.address}/identity?api-version=2.0",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": token,
        }

    def accounts(self) -> Accounts:
        """Who exists now."""
        known: dict[str, Identity] = {
            token: Workflow(repository, **_permissions_of_packages(permissions))
            for token, (repository, permissions, _) in self.tokens.items()
        }
        known[ADMIN] = Pat("alice", administers=frozenset({OWNER}))
        return Accounts(known, self.visibility, {OWNER: "organization"})

    def tags(self) -> dict[str, str]:
        """Every tag, as ``package:tag``, and its digest."""
        return self.portal.call(self._tags)  # type: ignore[no-any-return]

    async def _tags(self) -> dict[str, str]:
        found = {}
        for package in await self.ghcr.ledger.packages(OWNER.lower()):
            for tag in await self.ghcr.ledger.seen_tags(package):
                found[f"{package.name}:{tag}"] = await self.ghcr.ledger.tag(package, tag) or ""
        return found

    def packages(self) -> dict[str, str]:
        """The visibility of each package."""
        found = self.portal.call(self.ghcr.ledger.packages, OWNER.lower())
        return {package.name: package.visibility for package in found}

    def set_visibility(self, package: str, visibility: str) -> None:
        """What a person does on a package's settings page."""
        assert self.portal.call(self.ghcr.set_visibility, f"{OWNER.lower()}/{package}", visibility)


def _permissions_of_packages(permissions: Permissions) -> dict[str, Any]:
    """Those that the registry and the API look at."""
    names = [one.name for one in fields(Workflow) if one.name != "repository"]
    return {name: permissions.get(name.replace("_", "-"), "none") for name in names}


@contextmanager
def github(folder: Path, port: int = 0) -> Iterator[GitHub]:
    """Serve it while the block runs. ``folder`` keeps the registry (``registry``) and the repositories (``git``).

    Args:
        port: the registry's; projects remember it, so a copy of a folder needs the same.
    """
    hub = GitHub(folder / "registry", folder / "git")
    hub.ghcr = Ghcr(hub.root / ".shipgraph", hub.accounts)

    def on_request(method: str, path: str, headers: Mapping[str, str]) -> Fault | None:
        return None if hub.hook is None else hub.hook(method, path, headers)

    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        with (
            mock.patch("uvicorn.server.time", SimpleNamespace(time=lambda: time.time() + hub.ahead)),
            start_blocking_portal() as portal,
            portal.wrap_async_context_manager(
                serve(DiskStore(hub.root, durable=False), port=port, ghcr=hub.ghcr, on_request=on_request)
            ) as hub.registry,
        ):
            hub.portal = portal
            yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: GitHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
        """Nothing: what a test needs to know it asks."""

    def do_GET(self) -> None:
        place = urlsplit(self.path)
        if place.path == "/identity":
            self._identity(parse_qs(place.query))
        else:
            self._git(place.path, place.query)

    do_POST = do_GET  # noqa: N815

    def _identity(self, query: Mapping[str, list[str]]) -> None:
        """The job's identity token, for who has ``id-token: write``."""
        token = self.headers.get("Authorization", "").partition(" ")[2]
        _, permissions, claims = self.hub.tokens.get(token, ("", {}, {}))
        if permissions.get("id-token") != "write":
            self._answer(403, b'{"message": "Resource not accessible by integration"}')
            return
        now = int(time.time())
        times = {"iat": now, "nbf": now, "exp": now + 300}
        audience = query.get("audience", ["https://github.com/Acme"])[0]
        issuer = "https://token.actions.githubusercontent.com"
        value = jwt.encode({**claims, "iss": issuer, "aud": audience, **times}, "nobody checks it" * 3, "HS256")
        self._answer(200, json.dumps({"value": value}).encode())

    def _git(self, path: str, query: str) -> None:
        """Git's smart protocol, to read, with ``contents: read``; answers as GitHub does."""
        match = re.fullmatch(r"/([A-Za-z0-9-]+/[A-Za-z0-9._-]+?)(?:\.git)?(/(?:info/refs|git-upload-pack))", path)
        if match is None or (match[2] == "/info/refs" and query != "service=git-upload-pack"):
            self._answer(404, b"Not Found")
            return
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        token = base64.b64decode(value).decode().partition(":")[2] if scheme.lower() == "basic" else ""
        repository, permissions, _ = self.hub.tokens.get(token, ("", {}, {}))
        if not token:
            self._answer(401, b"", **{"WWW-Authenticate": 'Basic realm="GitHub"'})
            return
        if repository.lower() != match[1].lower() or permissions.get("contents") not in {"read", "write"}:
            self._answer(404, b"remote: Repository not found.")
            return
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "GIT_PROJECT_ROOT": str(self.hub.git),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REQUEST_METHOD": self.command,
            "PATH_INFO": f"/{REPOSITORY}.git{match[2]}",
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
        }
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        environment["CONTENT_LENGTH"] = str(len(body))
        done = subprocess.run(["git", "http-backend"], input=body, stdout=subprocess.PIPE, env=environment, check=True)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self._answer(int(headers.pop("Status", "200").split()[0]), content, **headers)

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
