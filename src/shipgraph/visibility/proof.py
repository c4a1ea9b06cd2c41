"""The proof that everybody can pull a release: nobody pulls it, and says what came.

What counts as "can be pulled" is the way that every reader takes, without any credentials:

1. each manifest and index is read by its digest, and its bytes are checked;
2. the first byte of each of its blobs is read, along all redirects to the storage behind, and its length compared.

No call to an API is believed, for none says what a reader without an account gets. Who looks is a ``Public``: it has
nothing but the methods of a reader, and whoever makes one gives it no credentials.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Protocol

from shipgraph.errors import ContentError, Denied, NotFound
from shipgraph.oci.manifest import ImageManifest
from shipgraph.oci.media_types import NONDISTRIBUTABLE
from shipgraph.tasks import gather

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from shipgraph.oci.descriptor import Descriptor
    from shipgraph.oci.digest import Digest
    from shipgraph.oci.manifest import ImageIndex


class Public(Protocol):
    """A reader without credentials."""

    async def manifest(self, repository: str, digest: Digest) -> ImageManifest | ImageIndex:
        """See ``Fetcher``."""
        ...

    async def sample(self, repository: str, descriptor: Descriptor) -> None:
        """Read a blob's first byte and compare its length.

        Raises:
            NotFound, DigestMismatch, RegistryError
        """
        ...


class Access(StrEnum):
    """What somebody without an account gets."""

    PUBLIC = "public"
    PRIVATE = "private"
    MISSING = "missing"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Subject:
    """A manifest that everybody must be able to pull; ``what`` it is (``index``, ``linux/amd64``, ``payload`` …)."""

    repository: str
    digest: Digest
    what: str


@dataclass(frozen=True, slots=True)
class Looked:
    """What nobody got of a subject: how many blobs were there too, or what stood in the way."""

    subject: Subject
    access: Access
    blobs: int = 0
    reason: str = ""


async def look(
    public: Public, subjects: Sequence[Subject], *, lag: float, sleep: Callable[[float], Awaitable[None]]
) -> tuple[Looked, ...]:
    """Pull every subject as nobody. What could not be had is tried once more after ``lag`` seconds, if there is any.

    Raises:
        RegistryUnavailable: the registry gives no answer; what can't be told is neither public nor private.
        RegistryError
    """
    wanted = tuple(dict.fromkeys(subjects))
    found = await _all(public, wanted)
    if lag and (again := [one.subject for one in found if one.access is not Access.PUBLIC]):
        await sleep(lag)  # a package that was made a moment ago may not be seen yet
        second = {one.subject: one for one in await _all(public, again)}
        found = [second.get(one.subject, one) for one in found]
    return tuple(found)


async def _all(public: Public, subjects: Sequence[Subject]) -> list[Looked]:
    seen: dict[tuple[str, Digest], Looked | list[Descriptor]] = {}

    async def read(subject: Subject) -> None:
        seen[subject.repository, subject.digest] = await _manifest(public, subject)

    await gather([partial(read, subject) for subject in subjects])
    blobs = {
        (repository, blob.digest): blob
        for (repository, _), found in seen.items()
        if not isinstance(found, Looked)
        for blob in found
    }
    problems = dict(
        zip(blobs, await gather([partial(_blob, public, key[0], blob) for key, blob in blobs.items()]), strict=True)
    )
    return [_verdict(subject, seen[subject.repository, subject.digest], problems) for subject in subjects]


def _verdict(
    subject: Subject,
    found: Looked | list[Descriptor],
    problems: dict[tuple[str, Digest], tuple[Access, str] | None],
) -> Looked:
    if isinstance(found, Looked):
        return Looked(subject, found.access, reason=found.reason)
    for blob in found:
        problem = problems[subject.repository, blob.digest]
        if problem is not None:
            return Looked(subject, problem[0], reason=problem[1])
    return Looked(subject, Access.PUBLIC, blobs=len(found))


async def _manifest(public: Public, subject: Subject) -> Looked | list[Descriptor]:
    try:
        manifest = await public.manifest(subject.repository, subject.digest)
    except (Denied, NotFound, ContentError) as error:
        access, reason = _problem(error)
        return Looked(subject, access, reason=reason)
    if not isinstance(manifest, ImageManifest):
        return []
    # layers that registries needn't have come from elsewhere, and no registry makes them public
    return [blob for blob in manifest.blobs if blob.media_type not in NONDISTRIBUTABLE]


async def _blob(public: Public, repository: str, blob: Descriptor) -> tuple[Access, str] | None:
    try:
        await public.sample(repository, blob)
    except (Denied, NotFound, ContentError) as error:
        return _problem(error)
    return None


def _problem(error: Denied | NotFound | ContentError) -> tuple[Access, str]:
    if isinstance(error, Denied):
        return Access.PRIVATE, str(error)
    return (Access.MISSING if isinstance(error, NotFound) else Access.BROKEN), str(error)
