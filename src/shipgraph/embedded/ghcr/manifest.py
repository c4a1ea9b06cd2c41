"""Manifests as GHCR keeps them: versions of a package; no deletion, no conditions, no word about subjects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.responses import Response

from shipgraph.embedded.answer import error
from shipgraph.embedded.ghcr.accounts import Workflow
from shipgraph.embedded.headers import Refusal, digest_of
from shipgraph.embedded.manifest import Manifests, small_body
from shipgraph.errors import ContentError, InvalidReference, RegistryError
from shipgraph.oci import media_types
from shipgraph.oci.distribution import HEADER_DIGEST, ErrorCode
from shipgraph.oci.manifest import ImageIndex, ImageManifest, parse_manifest
from shipgraph.oci.reference import check_repository, check_tag
from shipgraph.store.content import read_blob

if TYPE_CHECKING:
    from starlette.requests import Request

    from shipgraph.embedded.ghcr.authority import Visitor
    from shipgraph.embedded.ghcr.rows import Package
    from shipgraph.embedded.ghcr.state import State
    from shipgraph.oci.digest import Digest

_NAMES: Final = {
    media_types.IMAGE_INDEX: "OCI index",
    media_types.IMAGE_MANIFEST: "OCI manifest",
    media_types.DOCKER_INDEX: "manifest list",
    media_types.DOCKER_MANIFEST: "schema 2 manifest",
}
_CONFIGS: Final = frozenset({media_types.IMAGE_CONFIG, "application/vnd.docker.container.image.v1+json"})
_SOURCES: Final = ("https://github.com/", "http://github.com/", "git@github.com:", "git+https://github.com/")


class GhcrManifests(Manifests):
    """The handlers over one state."""

    def __init__(self, state: State) -> None:
        super().__init__(state.backend)
        self._state = state

    async def get(self, request: Request) -> Response:
        """A manifest, if ``Accept`` names its type; a tag may be read as it was. Each GET counts as a download."""
        visitor: Visitor = request.state.visitor
        reference = request.path_params["reference"]
        package = visitor.package
        digest = None if package is None else await self._find(package, reference)
        if package is None or digest is None:
            raise _unknown()
        manifest = await self._state.backend.manifest(visitor.name, digest)
        accepted = {
            part.partition(";")[0].strip() for value in request.headers.getlist("Accept") for part in value.split(",")
        }
        if manifest.media_type not in accepted:
            name = _NAMES[manifest.media_type]
            raise Refusal(404, ErrorCode.MANIFEST_UNKNOWN, f"{name} found, but Accept header does not support {name}s")
        if request.method == "GET":
            await self._state.ledger.downloaded(package, str(digest))
        headers = {HEADER_DIGEST: str(digest), "ETag": f'"{digest}"'}
        return Response(manifest.raw, headers=headers, media_type=manifest.media_type)

    async def put(self, request: Request) -> Response:
        """Store a manifest; the first makes the package, public if a public repository's workflow pushes it."""
        visitor: Visitor = request.state.visitor
        name, reference = check_repository(visitor.name), request.path_params["reference"]
        digest = digest_of(reference) if ":" in reference else None
        if digest is None:
            try:
                check_tag(reference)
            except InvalidReference as invalid:
                raise Refusal(400, ErrorCode.MANIFEST_INVALID, str(invalid)) from invalid
        media_type = request.headers.get("Content-Type", "").partition(";")[0].strip() or None
        manifest = parse_manifest(
            await small_body(request), media_type=media_type, digest=digest, where=f"manifest {name}:{reference}"
        )
        await self._check_parts(visitor, manifest)
        await self._state.backend.push_manifest(name, manifest)
        package = visitor.package or await self._create(visitor, manifest)
        tag = reference if digest is None else None
        await self._state.ledger.store(package, str(manifest.digest), tag)
        if tag is not None:
            await self._state.follow(package, [tag])
        headers = {HEADER_DIGEST: str(manifest.digest), "Location": f"/v2/{name}/manifests/{manifest.digest}"}
        return Response(status_code=201, headers=headers)

    async def delete(self, request: Request) -> Response:  # noqa: ARG002 (a handler)
        """Not here: only the Packages API deletes."""
        return error(405, ErrorCode.UNSUPPORTED, "The operation is unsupported.")

    async def _find(self, package: Package, reference: str) -> Digest | None:
        if ":" in reference:
            found: str | None = str(digest_of(reference))
        else:
            found = await self._state.ledger.seen_tag(package, reference, self._state.knows)
        if found is None or not await self._state.ledger.live(package, [found]):
            return None
        return digest_of(found)

    async def _check_parts(self, visitor: Visitor, manifest: ImageManifest | ImageIndex) -> None:
        """What a manifest refers to must be there for all to see; the store checks that it is there at all."""
        ledger = self._state.ledger
        if isinstance(manifest, ImageManifest):
            missing = await ledger.unseen_blobs(visitor.name, [str(blob.digest) for blob in manifest.blobs])
        else:
            kinds = media_types.INDEXES | media_types.MANIFESTS
            children = [str(child.digest) for child in manifest.manifests if child.media_type in kinds]
            live = set() if visitor.package is None else await ledger.live(visitor.package, children)
            missing = [child for child in children if child not in live]
        if missing:
            raise Refusal(400, ErrorCode.MANIFEST_BLOB_UNKNOWN, f"blob unknown to registry: {', '.join(missing[:8])}")

    async def _create(self, visitor: Visitor, manifest: ImageManifest | ImageIndex) -> Package:
        own = visitor.identity.repository if isinstance(visitor.identity, Workflow) else None
        public = own is not None and self._state.accounts().is_public(own)
        label = await self._label(visitor.name, manifest)
        linked = label if label and label.partition("/")[0].lower() == visitor.name.partition("/")[0] else own
        return await self._state.ledger.create(visitor.name, "public" if public else "private", linked)

    async def _label(self, name: str, manifest: ImageManifest | ImageIndex) -> str:
        """The repository that ``org.opencontainers.image.source`` names: an annotation, or a label of an image."""
        source: Any = manifest.annotations.get(media_types.ANNOTATION_SOURCE)
        if source is None and isinstance(manifest, ImageManifest) and manifest.config.media_type in _CONFIGS:
            try:
                document = msgspec.json.decode(await read_blob(self._state.backend, name, manifest.config))
                source = document["config"]["Labels"][media_types.ANNOTATION_SOURCE]
            except (ContentError, RegistryError, msgspec.DecodeError, KeyError, TypeError):
                source = None
        for start in _SOURCES:
            if isinstance(source, str) and source.startswith(start):
                parts = source.removeprefix(start).removesuffix("/").split("/")
                return "/".join(parts) if len(parts) == 2 else ""
        return ""


def _unknown() -> Refusal:
    return Refusal(404, ErrorCode.MANIFEST_UNKNOWN, "manifest unknown")
