"""Manifests over HTTP: distribution specification 1.1, § Pulling manifests, § Pushing Manifests."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from shipgraph.errors import DigestMismatch, InvalidReference, MalformedDocument, NotFound, RegistryError, Rejected
from shipgraph.oci import media_types
from shipgraph.oci.digest import Digest
from shipgraph.oci.distribution import HEADER_DIGEST, ErrorCode
from shipgraph.oci.manifest import MAX_MANIFEST, parse_manifest
from shipgraph.oci.reference import check_repository
from shipgraph.remote.auth import pull, push
from shipgraph.remote.session import Call

if TYPE_CHECKING:
    from shipgraph.oci.manifest import ImageIndex, ImageManifest
    from shipgraph.remote.session import Reply, Session

KINDS: Final = media_types.INDEXES | media_types.MANIFESTS
OK, STORED = frozenset({200}), frozenset({200, 201, 202})
_LAGGING: Final = frozenset(
    {ErrorCode.MANIFEST_BLOB_UNKNOWN, ErrorCode.BLOB_UNKNOWN, ErrorCode.MANIFEST_UNKNOWN, ErrorCode.BLOB_UPLOAD_UNKNOWN}
)

_PATIENCE: Final = 0.75
"""Seconds, at least: docker-registry writes links in place, so a blob that two push at once is gone for a moment."""


class Manifests:
    """The manifests of one registry's repositories.

    Until what was pushed is seen by all of a registry, its lag may pass; so long, a manifest that is refused because
    its parts are "unknown" is sent again.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    async def get(self, repository: str, digest: Digest) -> ImageManifest | ImageIndex:
        """See ``Fetcher.manifest``."""
        where = f"manifest {repository}@{digest}"
        reply = await self._session.send(read("GET", repository, str(digest), where))
        return parse(reply, digest, where)

    async def has(self, repository: str, digest: Digest) -> bool:
        """See ``Prober.has_manifest``."""
        where = f"manifest {repository}@{digest}"
        try:
            reply = await self._session.send(read("HEAD", repository, str(digest), where))
        except NotFound:
            return False
        if reply.headers.get(HEADER_DIGEST) in (None, str(digest)):
            return True
        await self.get(repository, digest)  # the header lies, or the manifest does
        return True

    async def push(self, repository: str, manifest: ImageManifest | ImageIndex) -> Reply:
        """Store a manifest under its own digest; the registry's answer, for what it says about the subject."""
        call = self.write(repository, str(manifest.digest), manifest)
        waited, lag = 0.0, -1.0
        while True:
            try:
                reply = await self._session.send(call)
                break
            except Rejected as refused:
                if not _LAGGING & set(refused.codes):
                    raise
                if lag < 0:
                    lag = await self._session.lag()
                if waited >= max(lag, _PATIENCE):
                    raise
                pause = max(0.25, lag / 5)
            await self._session.retries.sleep(pause)
            waited += pause
        check_stored(reply, manifest, call.what)
        return reply

    def write(
        self,
        repository: str,
        reference: str,
        manifest: ImageManifest | ImageIndex,
        *,
        condition: dict[str, str] | None = None,
    ) -> Call:
        """The call that stores a manifest's exact bytes under a digest or tag.

        Raises:
            MalformedDocument: it is larger than registries take.
        """
        mark = "@" if ":" in reference else ":"
        where = f"manifest {repository}{mark}{reference}"
        if manifest.size > MAX_MANIFEST:
            raise MalformedDocument(f"{where} has {manifest.size} bytes; registries take {MAX_MANIFEST}")
        return Call(
            where,
            "PUT",
            f"/v2/{check_repository(repository)}/manifests/{reference}",
            STORED,
            push(repository),
            {"Content-Type": manifest.media_type, **(condition or {})},
            body=manifest.raw,
            writes=True,
            follows=False,
        )


def read(method: str, repository: str, reference: str, where: str) -> Call:
    """The call that reads a manifest by digest or tag."""
    path = f"/v2/{check_repository(repository)}/manifests/{reference}"
    # one byte more than allowed is read, so that parsing sees that it is too much
    return Call(where, method, path, OK, pull(repository), {"Accept": media_types.ACCEPT}, cap=MAX_MANIFEST + 1)


def parse(reply: Reply, digest: Digest | None, where: str) -> ImageManifest | ImageIndex:
    """The manifest in an answer, checked against a digest that is known, or the one that the registry claims.

    Raises:
        DigestMismatch, InvalidReference, MalformedDocument
    """
    if digest is None:
        digest = claimed_digest(reply, where)
    return parse_manifest(reply.body, media_type=claimed_kind(reply), digest=digest, where=where)


def claimed_kind(reply: Reply) -> str | None:
    """The media type of an answer if it is one of a manifest; others (application/json) say nothing."""
    kind = reply.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return kind if kind in KINDS else None


def claimed_digest(reply: Reply, where: str) -> Digest | None:
    """The digest in ``Docker-Content-Digest``, if the registry sends one.

    Raises:
        RegistryError: it isn't a digest.
    """
    value = reply.headers.get(HEADER_DIGEST)
    if not value:
        return None
    try:
        return Digest.parse(value.strip())
    except InvalidReference:
        raise RegistryError(f"{where}: the registry's {HEADER_DIGEST} is not a digest", status=reply.status) from None


def claimed_size(reply: Reply) -> int | None:
    """The ``Content-Length`` of an answer, if it is a number."""
    value = reply.headers.get("Content-Length", "")
    return int(value) if re.fullmatch(r"[0-9]{1,18}", value, re.ASCII) else None


def check_stored(reply: Reply, manifest: ImageManifest | ImageIndex, where: str) -> None:
    """Whether the registry stored what was sent.

    Raises:
        DigestMismatch: it says that it stored something else.
    """
    stored = reply.headers.get(HEADER_DIGEST)
    # a registry may name its own sha256 of a manifest that was pushed by another algorithm
    if stored and stored.startswith(f"{manifest.digest.algorithm}:") and stored != str(manifest.digest):
        raise DigestMismatch(where, want=str(manifest.digest), got=f"{stored[:150]} stored by the registry")
