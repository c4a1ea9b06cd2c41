"""GitHub's cache service for Actions as BuildKit speaks to it: twirp calls of version 2, and blobs as Azure has them.

GitHub's own rule is kept: a token names the refs that it may read and the ones that it may write, and an entry belongs
to the ref of the token that made it (docs.github.com, "Dependency caching reference", restrictions for access).
"""

from __future__ import annotations

import base64
import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

READ, WRITE = 1, 2


@dataclass
class ActionsCache:
    """The service; ``entries`` by ref and key."""

    address: str
    entries: dict[tuple[str, str], bytes] = field(default_factory=dict)
    uploads: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    def environment(self, ref: str, *, reads: Sequence[str] = ()) -> dict[str, str]:
        """What a job on a ref is given; it reads its own ref's entries and those of ``reads``, in this order."""
        scopes = [{"Scope": ref, "Permission": READ | WRITE}, *({"Scope": one, "Permission": READ} for one in reads)]
        now = int(time.time())
        claims = {"ac": json.dumps(scopes), "nbf": now - 60, "exp": now + 3600}
        parts = [
            base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=").decode()
            for one in ({"alg": "HS256"}, claims)
        ]
        return {
            "ACTIONS_RUNTIME_TOKEN": ".".join([*parts, "c2ln"]),
            "ACTIONS_RESULTS_URL": f"http://{self.address}/",
            "ACTIONS_CACHE_SERVICE_V2": "true",
        }

    def indexes(self) -> set[tuple[str, str]]:
        """The ref and key of each cache index; the key has BuildKit's scope in it."""
        return {(ref, key) for ref, key in self.entries if key.startswith("index-")}

    def call(self, method: str, claims: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        """One call of the service."""
        scopes = json.loads(claims["ac"])
        key = body["key"]
        if method == "GetCacheEntryDownloadURL":
            for scope in scopes:
                for wanted in (key, *body.get("restore_keys", ())):
                    found = [one for one in self.entries if one[0] == scope["Scope"] and one[1].startswith(wanted)]
                    if found:
                        place = f"http://{self.address}/blob/{'/'.join(_quoted(part) for part in found[-1])}"
                        return {"ok": True, "signed_download_url": place, "matched_key": found[-1][1]}
            return {"ok": False}
        own = next((scope["Scope"] for scope in scopes if scope["Permission"] & WRITE), None)
        if own is None or (own, key) in self.entries:
            self.refused.append(key)
            return {"ok": False, "message": "not allowed" if own is None else "cache entry already exists"}
        name = f"{_quoted(own)}/{_quoted(key)}"
        if method == "CreateCacheEntry":
            self.uploads[name] = {}
            return {"ok": True, "signed_upload_url": f"http://{self.address}/upload/{name}"}
        self.entries[own, key] = b"".join(self.uploads.pop(name).values())
        return {"ok": True, "entry_id": "1"}


@contextmanager
def actions_cache() -> Iterator[ActionsCache]:
    """Serve one on loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            token = self.headers["Authorization"].removeprefix("Bearer ").split(".")[1]
            claims = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
            body = json.loads(self._body())
            self._answer(200, json.dumps(service.call(self.path.rpartition("/")[2], claims, body)).encode())

        def do_PUT(self) -> None:
            parts = urlsplit(self.path)
            query = parse_qs(parts.query)
            blocks = service.uploads[parts.path.removeprefix("/upload/")]
            content = self._body()
            if query.get("comp") == ["block"]:
                blocks[query["blockid"][0]] = content
            elif query.get("comp") != ["blocklist"]:  # blocks were sent in their order
                blocks[""] = content
            self._answer(201, b"", {"x-ms-request-id": "1", "ETag": '"1"', "Last-Modified": self.date_time_string()})

        def do_GET(self) -> None:
            ref, key = (_unquoted(part) for part in self.path.removeprefix("/blob/").split("/"))
            content = service.entries[ref, key]
            start = int(
                (self.headers["x-ms-range"] or self.headers["Range"] or "bytes=0-").removeprefix("bytes=").split("-")[0]
            )
            more = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}", "x-ms-blob-type": "BlockBlob"}
            self._answer(206, content[start:], more)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            content = b""
            while size := int(self.rfile.readline(), 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return content

        def _answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service = ActionsCache(f"127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _quoted(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


def _unquoted(text: str) -> str:
    return base64.urlsafe_b64decode(text).decode()
