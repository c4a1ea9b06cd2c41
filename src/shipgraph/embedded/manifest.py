"""Manifests: GET, HEAD, PUT and DELETE of ``/v2/<name>/manifests/<reference>``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.responses import Response
from starlette.routing import Route

from shipgraph.embedded.headers import Condition, Refusal, digest_of, etag
from shipgraph.errors import InvalidReference, NotFound
from shipgraph.oci.distribution import HEADER_DIGEST, HEADER_SUBJECT, ErrorCode
from shipgraph.oci.manifest import MAX_MANIFEST, parse_manifest
from shipgraph.oci.reference import check_repository, check_tag
from shipgraph.store.protocols import ANY

if TYPE_CHECKING:
    from starlette.requests import Request

    from shipgraph.embedded.backend import Backend
    from shipgraph.oci.digest import Digest
    from shipgraph.oci.manifest import Manifest
    from shipgraph.store.protocols import Expect

_TAGS: Final = 10  # as many as the specification asks registries to take
HEADER_TAG: Final = "OCI-Tag"
_DRAINED: Final = 16 << 20  # bytes of a body that is too large read to the end, so that the client hears the answer


class Manifests:
    """The handlers over one backend."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def routes(self) -> list[Route]:
        """The routes to the handlers."""
        path = "/v2/{name:path}/manifests/{reference}"
        return [
            Route(path, self.get, methods=["GET"]),
            Route(path, self.put, methods=["PUT"]),
            Route(path, self.delete, methods=["DELETE"]),
        ]

    async def get(self, request: Request) -> Response:
        """The manifest as it is stored, whatever ``Accept`` says (§ Pulling manifests; also HEAD)."""
        name, reference = request.path_params["name"], request.path_params["reference"]
        manifest = await self._backend.manifest(name, await self._digest(name, reference))
        headers = _headers(manifest)
        condition = Condition.parse(request.headers.get("If-None-Match"))
        if condition is not None and condition.matches(manifest.digest):
            return Response(status_code=304, headers=headers)
        return Response(manifest.raw, headers=headers, media_type=manifest.media_type)

    async def put(self, request: Request) -> Response:
        """Store a manifest under its digest or a tag (§ Pushing Manifests); ``If-Match`` guards a tag.

        Beside the digest, ``?tag=`` may name tags too (the specification's next version).
        """
        name, reference = request.path_params["name"], request.path_params["reference"]
        check_repository(name)
        digest = digest_of(reference) if ":" in reference else None
        if digest is None:
            try:
                check_tag(reference)
            except InvalidReference as error:
                raise Refusal(400, ErrorCode.MANIFEST_INVALID, str(error)) from error
        media_type = request.headers.get("Content-Type", "").partition(";")[0].strip() or None
        manifest = parse_manifest(
            await small_body(request), media_type=media_type, digest=digest, where=f"manifest {name}:{reference}"
        )
        tags: list[str] = []
        if digest is None:
            expect = await self._expected(name, reference, request)
            await self._backend.tag(name, reference, manifest, expect=expect)
        else:
            tags = [check_tag(tag) for tag in dict.fromkeys(request.query_params.getlist("tag"))]
            if len(tags) > _TAGS:
                raise Refusal(414, ErrorCode.UNSUPPORTED, f"at most {_TAGS} tags at once")
            await self._backend.push_manifest(name, manifest)
            for tag in tags:
                await self._backend.tag(name, tag, manifest)
        headers = _headers(manifest) | {"Location": f"/v2/{name}/manifests/{manifest.digest}"}
        if manifest.subject is not None:
            headers[HEADER_SUBJECT] = str(manifest.subject.digest)
        response = Response(status_code=201, headers=headers)
        for tag in tags:
            response.headers.append(HEADER_TAG, tag)
        return response

    async def delete(self, request: Request) -> Response:
        """Delete a manifest with its tags, or a tag alone (§ Deleting tags, § Deleting Manifests)."""
        name, reference = request.path_params["name"], request.path_params["reference"]
        digest = await self._digest(name, reference)
        if ":" in reference:
            if not await self._backend.has_manifest(name, digest):
                raise _unknown(name, reference)
            await self._backend.delete_manifest(name, digest)
        else:
            await self._backend.delete_tag(name, reference)
        return Response(status_code=202)

    async def _digest(self, name: str, reference: str) -> Digest:
        if ":" in reference:
            return digest_of(reference)
        try:
            check_tag(reference)
        except InvalidReference as error:
            raise _unknown(name, reference) from error
        descriptor = await self._backend.resolve(name, reference)
        if descriptor is None:
            raise _unknown(name, reference)
        return descriptor.digest

    async def _expected(self, name: str, tag: str, request: Request) -> Expect:
        """What the tag must be for the PUT, by the conditional headers; what they ask of now is checked here.

        Raises:
            Refusal: 412 PRECONDITION_FAILED.
        """
        match = Condition.parse(request.headers.get("If-Match"))
        none_match = Condition.parse(request.headers.get("If-None-Match"))
        if match is None and none_match is None:
            return ANY
        descriptor = await self._backend.resolve(name, tag)
        current = None if descriptor is None else descriptor.digest
        if (match is not None and not match.matches(current)) or (
            none_match is not None and none_match.matches(current)
        ):
            raise Refusal(
                412, ErrorCode.PRECONDITION_FAILED, f"{name}:{tag} is {current or 'absent'}, the condition fails"
            )
        return current


def _headers(manifest: Manifest) -> dict[str, str]:
    return {HEADER_DIGEST: str(manifest.digest), "ETag": etag(manifest.digest)}


def _unknown(name: str, reference: str) -> NotFound:
    return NotFound(f"manifest {name}:{reference[:200]} is not there", codes=(ErrorCode.MANIFEST_UNKNOWN,))


async def small_body(request: Request) -> bytes:
    """The body, if it is as small as a manifest must be.

    Raises:
        Refusal: 413 SIZE_INVALID.
    """
    body = bytearray()
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= MAX_MANIFEST:
            body += chunk
        elif size > _DRAINED:
            break
    if size > MAX_MANIFEST:
        raise Refusal(
            413,
            ErrorCode.SIZE_INVALID,
            f"a manifest may have {MAX_MANIFEST} bytes",
            headers={"Connection": "close"} if size > _DRAINED else None,
        )
    return bytes(body)
