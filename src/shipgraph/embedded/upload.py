"""Uploads of blobs: distribution specification 1.1, § Pushing blobs, § Mounting, § Cancel."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from starlette.responses import Response
from starlette.routing import Route

from shipgraph.embedded.headers import Refusal, digest_of, parse_content_range
from shipgraph.errors import DigestMismatch, DiskFull, InvalidReference
from shipgraph.oci.distribution import HEADER_DIGEST, HEADER_UPLOAD, ErrorCode
from shipgraph.oci.reference import check_repository

if TYPE_CHECKING:
    from starlette.requests import Request

    from shipgraph.embedded.backend import Backend, Upload
    from shipgraph.oci.digest import Digest

_CLEANING: Final = 3600.0  # seconds between two looks for uploads that were given up


class Uploads:
    """The handlers over one backend."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._cleaned = 0.0

    def routes(self) -> list[Route]:
        """The routes to the handlers."""
        start = "/v2/{name:path}/blobs/uploads/"
        one = start + "{identifier}"
        return [
            Route(start, self.post, methods=["POST"]),
            Route(start.rstrip("/"), self.post, methods=["POST"]),
            Route(one, self.patch, methods=["PATCH"]),
            Route(one, self.put, methods=["PUT"]),
            Route(one, self.get, methods=["GET"]),
            Route(one, self.delete, methods=["DELETE"]),
        ]

    async def post(self, request: Request) -> Response:
        """Begin an upload; or mount (``mount``, ``from``); or take the whole blob at once (``digest``)."""
        name, query = request.path_params["name"], request.query_params
        check_repository(name)
        if "mount" in query:
            digest = digest_of(query["mount"])
            if await self._mounted(query.get("from", name), name, digest):
                return _created(name, digest)
        whole = digest_of(query["digest"]) if "digest" in query else None
        await self._clean()
        identifier = await self._backend.begin_upload(name)
        if whole is None:
            return _progress(202, name, identifier, 0)
        async with self._backend.upload(name, identifier) as upload:
            try:
                await upload.append(request.stream())
            except BaseException:
                await upload.discard()
                raise
            await upload.commit(whole)
        return _created(name, whole)

    async def patch(self, request: Request) -> Response:
        """Add a piece: with ``Content-Range`` it must begin where the last ended, without it is a stream."""
        name, identifier = request.path_params["name"], request.path_params["identifier"]
        async with self._backend.upload(name, identifier) as upload:
            await _receive(request, name, identifier, upload)
            return _progress(202, name, identifier, upload.offset)

    async def put(self, request: Request) -> Response:
        """Close the upload: the last piece, if any, and the digest of the whole."""
        name, identifier = request.path_params["name"], request.path_params["identifier"]
        digest = digest_of(request.query_params.get("digest"))
        async with self._backend.upload(name, identifier) as upload:
            await _receive(request, name, identifier, upload)
            await upload.commit(digest)
        return _created(name, digest)

    async def get(self, request: Request) -> Response:
        """How far the upload is."""
        name, identifier = request.path_params["name"], request.path_params["identifier"]
        async with self._backend.upload(name, identifier) as upload:
            return _progress(204, name, identifier, upload.offset)

    async def delete(self, request: Request) -> Response:
        """Cancel the upload."""
        name, identifier = request.path_params["name"], request.path_params["identifier"]
        async with self._backend.upload(name, identifier) as upload:
            await upload.discard()
        return Response(status_code=204)

    async def _mounted(self, source: str, name: str, digest: Digest) -> bool:
        try:
            return await self._backend.mount_blob(check_repository(source), name, digest)
        except InvalidReference:
            return False  # nothing to mount from; the client uploads it

    async def _clean(self) -> None:
        now = time.monotonic()
        if self._cleaned == 0.0 or now - self._cleaned > _CLEANING:
            self._cleaned = now
            await self._backend.clean()


async def _receive(request: Request, name: str, identifier: str, upload: Upload) -> None:
    """Take a request's body, which is checked against its ``Content-Range`` if it has one.

    Raises:
        Refusal: 416, with how far the upload is, where the piece doesn't begin there or isn't as long as it says.
    """
    stop = None
    header = request.headers.get("Content-Range")
    if header is not None:
        piece = parse_content_range(header)
        length = request.headers.get("Content-Length")
        wrong_length = piece is not None and length is not None and length != str(piece[1] - piece[0])
        if piece is None or piece[0] != upload.offset or wrong_length:
            raise _out_of_order(name, identifier, upload.offset, header)
        stop = piece[1]
    try:
        await upload.append(request.stream(), limit=stop)
    except DigestMismatch:
        raise _out_of_order(name, identifier, upload.offset, header or "") from None
    except DiskFull:
        await upload.discard()  # what is there would only keep others from their room
        raise
    if stop is not None and upload.offset != stop:
        raise _out_of_order(name, identifier, upload.offset, header or "")


def _out_of_order(name: str, identifier: str, offset: int, header: str) -> Refusal:
    answer = _progress(416, name, identifier, offset)
    return Refusal(
        416,
        ErrorCode.BLOB_UPLOAD_INVALID,
        f"Content-Range {header[:60]!r} does not fit: the upload has {offset} bytes",
        headers={key: value for key, value in answer.headers.items() if key != "content-length"},
    )


def _progress(status: int, name: str, identifier: str, offset: int) -> Response:
    return Response(
        status_code=status,
        headers={
            "Location": f"/v2/{name}/blobs/uploads/{identifier}",
            "Range": f"0-{max(0, offset - 1)}",  # 0-0 for nothing, as all registries say it
            HEADER_UPLOAD: identifier,
        },
    )


def _created(name: str, digest: Digest) -> Response:
    return Response(status_code=201, headers={"Location": f"/v2/{name}/blobs/{digest}", HEADER_DIGEST: str(digest)})
