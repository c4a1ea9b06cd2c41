"""A registry as a ``Store``: the parts composed, nothing else."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import anyio.lowlevel

from shipgraph import __version__
from shipgraph.errors import ContentError, NotFound, RegistryError
from shipgraph.remote.blob import Blobs
from shipgraph.remote.credentials import Credentials, anonymous, find_credentials
from shipgraph.remote.limits import Limits
from shipgraph.remote.manifest import Manifests
from shipgraph.remote.probing import try_write
from shipgraph.remote.referrer import Referrers
from shipgraph.remote.retry import RetryPolicy
from shipgraph.remote.session import Session
from shipgraph.remote.tag import Tags, remove
from shipgraph.remote.transport import PooledTransport
from shipgraph.store.protocols import ANY

if TYPE_CHECKING:
    from collections.abc import Collection
    from types import TracebackType
    from typing import Self

    from shipgraph.oci.descriptor import Descriptor
    from shipgraph.oci.digest import Digest
    from shipgraph.oci.manifest import ImageIndex, ImageManifest
    from shipgraph.remote.credentials import CredentialSource
    from shipgraph.remote.manners import Manners
    from shipgraph.remote.transport import Transport
    from shipgraph.store.protocols import BlobSource, Expect, Stream


class RemoteStore:
    """All repositories of the registry at ``HOST[:PORT]``.

    Args:
        credentials: credentials, a source of them, or None for anonymous; by default what docker and the environment
            hold for this host (``find_credentials``).
        plain_http: whether to talk plain HTTP; by default to loopback only.
        concurrency: requests in flight: reads, and beside them as many blob downloads.
        writes: writes in flight; by default as many as reads, and 4 once the registry is known to be GHCR.
        retries: how often and how patiently failed requests are repeated.
        lag: seconds within which a read may show what was before a write; by default what ``manners`` says.
        token_hosts: token servers of other sites that may see the credentials.
        transport: the way to the network; closed with the store only if it is the store's own.

    An async context manager. One store belongs to one event loop.
    """

    def __init__(
        self,
        host: str,
        *,
        credentials: Credentials | CredentialSource | None = find_credentials,
        plain_http: bool | None = None,
        concurrency: int = 8,
        writes: int | None = None,
        retries: RetryPolicy | None = None,
        user_agent: str = f"shipgraph/{__version__}",
        lag: float | None = None,
        token_hosts: Collection[str] = (),
        transport: Transport | None = None,
    ) -> None:
        self.host = host
        self._transport = PooledTransport() if transport is None else transport
        self._owns_transport = transport is None
        self._session = Session(
            host,
            transport=self._transport,
            credentials=_source(credentials),
            plain_http=plain_http,
            limits=Limits(reads=concurrency, writes=writes or concurrency),
            retries=retries or RetryPolicy(),
            user_agent=user_agent,
            token_hosts=token_hosts,
            lag=lag,
            polite=writes is None,
        )
        self._blobs = Blobs(self._session)
        self._manifests = Manifests(self._session)
        self._tags = Tags(self._session, self._manifests)
        self._referrers = Referrers(self._session, self._manifests, self._tags)

    def __repr__(self) -> str:
        return f"RemoteStore({self._session.base!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close idle connections; requests under way end by themselves."""
        if self._owns_transport:
            self._transport.close()
            await anyio.lowlevel.checkpoint()  # in which they are really closed

    async def manifest(self, repository: str, digest: Digest) -> ImageManifest | ImageIndex:
        """See ``Fetcher``."""
        return await self._manifests.get(repository, digest)

    def blob(self, repository: str, descriptor: Descriptor) -> Stream:
        """See ``Fetcher``."""
        return self._blobs.open(repository, descriptor)

    async def sample(self, repository: str, descriptor: Descriptor) -> None:
        """Whether a blob can be had, by its first byte and its length: the way that every reader takes, and no more.

        Raises:
            NotFound, DigestMismatch, RegistryError
        """
        await self._blobs.sample(repository, descriptor)

    async def has_blob(self, repository: str, digest: Digest) -> bool:
        """See ``Prober``."""
        return await self._blobs.has(repository, digest)

    async def has_manifest(self, repository: str, digest: Digest) -> bool:
        """See ``Prober``."""
        return await self._manifests.has(repository, digest)

    async def resolve(self, repository: str, tag: str) -> Descriptor | None:
        """See ``Resolver``."""
        return await self._tags.resolve(repository, tag)

    async def tags(self, repository: str) -> list[str]:
        """See ``Lister``."""
        return await self._tags.names(repository)

    async def referrers(
        self, repository: str, digest: Digest, artifact_type: str | None = None
    ) -> tuple[Descriptor, ...]:
        """See ``ReferrersLister``."""
        return await self._referrers.find(repository, digest, artifact_type)

    async def push_blob(
        self, repository: str, descriptor: Descriptor, source: BlobSource, *, mount_from: str | None = None
    ) -> bool:
        """See ``Pusher``; ``mount_from`` names a repository of this registry that holds the blob already."""
        return await self._blobs.push(repository, descriptor, source, mount_from=mount_from)

    async def push_manifest(self, repository: str, manifest: ImageManifest | ImageIndex) -> None:
        """See ``Pusher``; a manifest with a subject is entered into the fallback tag where there is no API."""
        reply = await self._manifests.push(repository, manifest)
        await self._referrers.pushed(repository, manifest, reply)

    async def tag(
        self,
        repository: str,
        tag: str,
        manifest: ImageManifest | ImageIndex,
        *,
        expect: Expect = ANY,
        once: bool = False,
    ) -> None:
        """See ``Tagger``. With ``once``, exactly one PUT is sent; authorization is seen to before it."""
        reply = await self._tags.put(repository, tag, manifest, expect=expect, once=once)
        if reply is not None and not once:
            await self._referrers.pushed(repository, manifest, reply)

    async def conditional(self) -> bool:
        """See ``Tagger``."""
        return await self._tags.conditional()

    async def delete_manifest(self, repository: str, digest: Digest) -> None:
        """See ``Deleter``."""
        manifest = None
        try:
            manifest = await self._manifests.get(repository, digest)  # for its subject, which is told afterwards
        except NotFound:
            return
        except ContentError:
            pass  # what is broken may be deleted all the same
        await remove(self._session, repository, str(digest))
        if manifest is not None:
            await self._referrers.removed(repository, manifest)

    async def delete_tag(self, repository: str, tag: str) -> None:
        """See ``Deleter``."""
        await self._tags.remove(repository, tag)

    async def service(self) -> str | None:
        """The token service that the registry names (``ghcr.io``) to who brings no token; None where none is needed.

        Raises:
            RegistryError
        """
        return (await self._session.manners()).service

    async def manners(self) -> Manners:
        """What the registry's habits are, as far as it tells; it is asked once.

        Raises:
            RegistryError
        """
        return await self._session.manners()

    async def try_write(self, repository: str) -> None:
        """Whether a repository may be written, without writing anything.

        Raises:
            Denied, RegistryError
        """
        await try_write(self._session, repository)

    async def now(self) -> float:
        """See ``Clock``."""
        reply = await self._session.ping()
        try:
            return parsedate_to_datetime(reply.headers.get("Date", "")).timestamp()
        except (ValueError, OverflowError):
            raise RegistryError(f"{self.host} does not tell its time", method="GET", url=reply.url) from None


def _source(credentials: Credentials | CredentialSource | None) -> CredentialSource:
    if credentials is None:
        return anonymous
    if not isinstance(credentials, Credentials):
        return credentials

    async def given(host: str) -> Credentials | None:  # noqa: ARG001 (a CredentialSource)
        return credentials

    return given
