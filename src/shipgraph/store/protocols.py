"""The capabilities of a store. A stage asks for the least: what takes a ``Fetcher`` *cannot* move a tag.

A store spans the repositories of one registry; ``repository`` is the full name without the host
(``acme/containai-base``). Every implementation checks every digest, on read and on write; the conformance checks in
``shipgraph.testing`` say the rest.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from shipgraph.oci.descriptor import Descriptor
    from shipgraph.oci.digest import Digest
    from shipgraph.oci.manifest import ImageIndex, ImageManifest

PIECE: Final = 1 << 20
"""Blobs travel in pieces of this many bytes."""

Stream: TypeAlias = AbstractAsyncContextManager[AsyncIterator[bytes]]
BlobSource: TypeAlias = Callable[[], Stream]
"""Opens a blob's content from its first byte; called again for each attempt."""


class Anything(enum.Enum):
    """The type of ``ANY``."""

    ANY = enum.auto()


ANY: Final = Anything.ANY
Expect: TypeAlias = "Digest | Literal[Anything.ANY] | None"
"""What a tag must be for a PUT to happen: a digest, absent (None), or whatever (``ANY``)."""


class Fetcher(Protocol):
    """Reads content by digest."""

    async def manifest(self, repository: str, digest: Digest) -> ImageManifest | ImageIndex:
        """The manifest or index of that digest, its bytes checked.

        Raises:
            NotFound: it is not there, for certain.
            DigestMismatch, MalformedDocument: what came is not it.
            RegistryError: no answer, or no right to read.
        """
        ...

    def blob(self, repository: str, descriptor: Descriptor) -> Stream:
        """A blob as pieces; the last piece is handed out only after length and digest of the whole have been checked.

        Raises (while entering or iterating):
            NotFound, DigestMismatch, RegistryError
        """
        ...


class Prober(Protocol):
    """Asks whether content is there, without reading it."""

    async def has_blob(self, repository: str, digest: Digest) -> bool:
        """Whether the blob is there. Unknown is never absent: an unclear answer raises ``RegistryError``."""
        ...

    async def has_manifest(self, repository: str, digest: Digest) -> bool:
        """Whether the manifest is there. Unknown is never absent: an unclear answer raises ``RegistryError``."""
        ...


class Resolver(Protocol):
    """Reads tags."""

    async def resolve(self, repository: str, tag: str) -> Descriptor | None:
        """What a tag points at, or None if the tag (or its repository) is not there for certain.

        Raises:
            RegistryError: the answer is unclear.
        """
        ...


class Lister(Protocol):
    """Lists tags."""

    async def tags(self, repository: str) -> list[str]:
        """All tags, sorted; empty where the repository is not there for certain."""
        ...


class ReferrersLister(Protocol):
    """Lists what refers to a subject."""

    async def referrers(
        self, repository: str, digest: Digest, artifact_type: str | None = None
    ) -> tuple[Descriptor, ...]:
        """Descriptors of the manifests whose subject is that digest, from the referrers API or the fallback tag."""
        ...


class Pusher(Protocol):
    """Writes content by digest."""

    async def push_blob(
        self, repository: str, descriptor: Descriptor, source: BlobSource, *, mount_from: str | None = None
    ) -> bool:
        """Store a blob unless it is there already; whether it was uploaded.

        Args:
            mount_from: another repository of this store that may hold the blob; taking it from there is tried first.

        Raises:
            DigestMismatch: the source is not what the descriptor says; nothing was stored.
            RegistryError: the store refused or did not answer.
        """
        ...

    async def push_manifest(self, repository: str, manifest: ImageManifest | ImageIndex) -> None:
        """Store a manifest's exact bytes under its digest; all it refers to must be there.

        Raises:
            Rejected: something that it refers to is missing.
            RegistryError: the store refused or did not answer.
        """
        ...


class Tagger(Protocol):
    """Moves tags."""

    async def tag(
        self,
        repository: str,
        tag: str,
        manifest: ImageManifest | ImageIndex,
        *,
        expect: Expect = ANY,
        once: bool = False,
    ) -> None:
        """PUT the manifest's exact bytes under a tag.

        Args:
            expect: do it only if the tag is this now; honoured where ``conditional()`` is true, ignored elsewhere.
            once: send the request a single time, whatever happens.

        Raises:
            TagMoved: the tag is not what ``expect`` says; nothing changed.
            RegistryUnavailable: it is unknown whether the tag has moved.
            RegistryError: refused; nothing changed.
        """
        ...

    async def conditional(self) -> bool:
        """Whether the store honours ``expect`` (a compare-and-swap of tags)."""
        ...


class Deleter(Protocol):
    """Deletes content."""

    async def delete_manifest(self, repository: str, digest: Digest) -> None:
        """Delete a manifest and all its tags; fine if it is gone already.

        Raises:
            RegistryError: the store can't, or won't.
        """
        ...

    async def delete_tag(self, repository: str, tag: str) -> None:
        """Remove a tag alone; fine if it is gone already.

        Raises:
            RegistryError: the store can't (GHCR, docker-registry 2), or won't.
        """
        ...


class Clock(Protocol):
    """Tells the store's time."""

    async def now(self) -> float:
        """Seconds since the epoch by the store's own clock (a registry's ``Date`` header, so whole seconds)."""
        ...


class Reader(Fetcher, Prober, Resolver, Lister, ReferrersLister, Clock, Protocol):
    """Everything that changes nothing."""


class Store(Reader, Pusher, Tagger, Deleter, Protocol):
    """Everything."""
