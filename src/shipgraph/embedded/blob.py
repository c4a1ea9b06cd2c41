"""Blobs: GET, HEAD and DELETE of ``/v2/<name>/blobs/<digest>``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shipgraph.embedded.headers import Refusal, Unsatisfiable, digest_of, etag, parse_range
from shipgraph.oci.distribution import HEADER_DIGEST, ErrorCode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Receive, Scope, Send

    from shipgraph.embedded.backend import Backend
    from shipgraph.store.protocols import Stream


_LOOK: Final = 16  # pieces between two looks whether the client still listens


class Blobs:
    """The handlers over one backend."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def routes(self) -> list[Route]:
        """The routes to the handlers."""
        path = "/v2/{name:path}/blobs/{digest}"
        return [Route(path, self.get, methods=["GET"]), Route(path, self.delete, methods=["DELETE"])]

    async def get(self, request: Request) -> Response:
        """The blob, or a range of it (§ Pulling blobs; also HEAD)."""
        name, digest = request.path_params["name"], digest_of(request.path_params["digest"])
        size = await self._backend.blob_size(name, digest)
        if size is None:
            raise Refusal(404, ErrorCode.BLOB_UNKNOWN, f"blob {name}@{digest} is not there")
        headers = {
            HEADER_DIGEST: str(digest),
            "ETag": etag(digest),
            "Accept-Ranges": "bytes",
            "Content-Type": "application/octet-stream",
        }
        try:
            found = parse_range(request.headers.get("Range"), size) if request.method == "GET" else None
        except Unsatisfiable:
            raise Refusal(
                416,
                ErrorCode.RANGE_INVALID,
                f"the blob has {size} bytes",
                headers={"Content-Range": f"bytes */{size}"},
            ) from None
        start, stop = found or (0, size)
        headers["Content-Length"] = str(stop - start)
        if request.method == "HEAD":
            return Response(headers=headers)
        if found is not None:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        stream = self._backend.blob_range(name, digest, start, stop)
        return _Streamed(stream, 200 if found is None else 206, headers)

    async def delete(self, request: Request) -> Response:
        """Delete the blob (§ Deleting Blobs)."""
        name, digest = request.path_params["name"], digest_of(request.path_params["digest"])
        if not await self._backend.delete_blob(name, digest):
            raise Refusal(404, ErrorCode.BLOB_UNKNOWN, f"blob {name}@{digest} is not there")
        return Response(status_code=202, headers={HEADER_DIGEST: str(digest)})


class _Streamed(Response):
    """A response of the store's own pieces. (Starlette's would start a task to watch the client for each.)"""

    def __init__(self, stream: Stream, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(None, status, headers)
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = Request(scope, receive)
        async with self._stream as pieces:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            position = 0
            async for piece in pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                position += 1
                if position % _LOOK == 0 and await client.is_disconnected():
                    return
        await send({"type": "http.response.body", "body": b"", "more_body": False})
