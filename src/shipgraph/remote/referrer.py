"""Referrers over HTTP: distribution specification 1.1, § Listing Referrers, § Unavailable Referrers API.

Where a registry has no referrers API (GHCR, docker-registry 2), an index under the tag ``sha256-<hex>`` stands in for
it, which clients keep: read, add, write, and nothing guards it. The rules here:

1. One writer at a time for each subject in this process, whichever store it uses (``turns``).
2. What this process added within the last minute stays in, even if a read is stale and doesn't show it yet.
3. A PUT is conditional where the registry knows conditions.
4. After the PUT it is read again, until our entry is seen; who lost it to a foreign writer adds it again, a bounded
   number of times.
5. Unknown is never absent: a referrers API that fails is an error, not "no API".
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from shipgraph.errors import MalformedDocument, NotFound, RegistryError, Rejected, TagMoved
from shipgraph.oci import media_types
from shipgraph.oci.distribution import HEADER_SUBJECT
from shipgraph.oci.manifest import MAX_MANIFEST, ImageIndex, encode_json, parse_manifest
from shipgraph.oci.reference import check_repository
from shipgraph.oci.referrers import referrer_descriptor, referrer_type
from shipgraph.remote.auth import pull
from shipgraph.remote.manifest import parse
from shipgraph.remote.session import Call
from shipgraph.remote.tag import next_page
from shipgraph.remote.turns import turn
from shipgraph.store.protocols import ANY
from shipgraph.tasks import gather

if TYPE_CHECKING:
    from collections.abc import Callable

    from shipgraph.oci.descriptor import Descriptor
    from shipgraph.oci.digest import Digest
    from shipgraph.oci.manifest import ImageManifest
    from shipgraph.remote.manifest import Manifests
    from shipgraph.remote.session import Reply, Session
    from shipgraph.remote.tag import Tags

ROUNDS: Final = 5
MAX_REFERRERS: Final = 20_000
MAX_PAGES: Final = 500
MEMORY_SECONDS: Final = 60.0
_NO_API: Final = frozenset({301, 302, 303, 307, 308, 400, 404, 405, 501})


class Referrers:
    """The referrers of one registry's manifests."""

    def __init__(
        self,
        session: Session,
        manifests: Manifests,
        tags: Tags,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session, self._manifests, self._tags = session, manifests, tags
        self._clock = clock
        self._has_api: bool | None = None

    async def find(self, repository: str, digest: Digest, artifact_type: str | None) -> tuple[Descriptor, ...]:
        """See ``ReferrersLister``; API and fallback tag together, each digest once.

        With ``artifact_type``, each manifest is opened: the artifact types in fallback indexes are often wrong.
        """
        listed = await gather([lambda: self._from_api(repository, digest), lambda: self._from_tag(repository, digest)])
        found = {descriptor.digest: descriptor for descriptors in reversed(listed) for descriptor in descriptors}
        if artifact_type is None:
            return tuple(found.values())
        opened = await gather([self._opener(repository, one.digest) for one in found.values()])
        return tuple(
            referrer_descriptor(manifest)
            for manifest in opened
            if manifest is not None
            and referrer_type(manifest) == artifact_type
            and manifest.subject is not None
            and manifest.subject.digest == digest
        )

    async def pushed(self, repository: str, manifest: ImageManifest | ImageIndex, reply: Reply) -> None:
        """After a PUT of a manifest with a subject: keep the fallback tag, unless the registry took note itself."""
        if manifest.subject is None:
            return
        if reply.headers.get(HEADER_SUBJECT):
            self._has_api = True
            return
        entry = referrer_descriptor(manifest).to_json()
        await self._change(repository, manifest.subject.digest, add=entry)

    async def removed(self, repository: str, manifest: ImageManifest | ImageIndex) -> None:
        """After a manifest with a subject was deleted: take it out of the fallback tag, if that exists."""
        if manifest.subject is not None and not self._has_api:
            await self._change(repository, manifest.subject.digest, remove=str(manifest.digest))

    def _opener(self, repository: str, digest: Digest) -> Any:
        async def opened() -> ImageManifest | ImageIndex | None:
            try:
                return await self._manifests.get(repository, digest)
            except NotFound:
                return None  # deleted, and the list doesn't know yet

        return opened

    async def _from_api(self, repository: str, digest: Digest) -> tuple[Descriptor, ...]:
        if self._has_api is False:
            return ()
        where = f"referrers of {repository}@{digest}"
        path: str | None = f"/v2/{check_repository(repository)}/referrers/{digest}"
        found: list[Descriptor] = []
        seen: set[str] = set()
        while path is not None:
            if path in seen or len(seen) >= MAX_PAGES or len(found) > MAX_REFERRERS:
                raise RegistryError(f"{where}: the registry's pages have no end")
            seen.add(path)
            call = Call(
                where,
                "GET",
                path,
                _NO_API | {200},
                pull(repository),
                {"Accept": media_types.IMAGE_INDEX},
                cap=MAX_MANIFEST + 1,
                follows=False,  # GHCR has redirected to a web page, with a digest cut short
            )
            reply = await self._session.send(call)
            if reply.status != 200:
                if len(seen) == 1 and reply.status in {404, 405, 501}:
                    self._has_api = False
                return tuple(found)
            index = parse(reply, None, where)
            if not isinstance(index, ImageIndex):
                raise MalformedDocument(f"{where}: the answer is no index")
            found += index.manifests
            path = next_page(self._session, reply, where)
        return tuple(found)

    async def _from_tag(self, repository: str, digest: Digest) -> tuple[Descriptor, ...]:
        index = await self._read(repository, digest)
        return () if index is None else index.manifests

    async def _read(self, repository: str, digest: Digest) -> ImageIndex | None:
        found = await self._tags.get(repository, digest.fallback_tag)
        if found is not None and not isinstance(found, ImageIndex):
            raise MalformedDocument(f"{repository}:{digest.fallback_tag} holds no index of referrers")
        return found

    async def _change(
        self, repository: str, subject: Digest, *, add: dict[str, Any] | None = None, remove: str = ""
    ) -> None:
        mine = turn((self._session.base, repository, str(subject)))
        async with mine.taken():
            recent = mine.added
            limit = self._clock() - MEMORY_SECONDS
            for old in [digest for digest, (when, _) in recent.items() if when < limit]:
                del recent[old]
            recent.pop(remove, None)
            if add is not None:
                recent[add["digest"]] = (self._clock(), add)
            await self._write(repository, subject, [entry for _, entry in recent.values()], remove)

    async def _write(self, repository: str, subject: Digest, wanted: list[dict[str, Any]], remove: str) -> None:
        tag = subject.fallback_tag
        refused: Exception | None = None
        current = await self._read(repository, subject)
        for round_ in range(ROUNDS):
            if current is None and not wanted:
                return
            merged = _merge(current, wanted, remove)
            if current is not None and merged.digest == current.digest:
                return
            expect = ANY if not await self._tags.conditional() else None if current is None else current.digest
            try:
                await self._tags.put(repository, tag, merged, expect=expect)
            except TagMoved as moved:
                refused = moved
            current = await self._seen(repository, subject, wanted, remove)
            if current is None or _shows(current, wanted, remove):
                return
            await self._session.retries.sleep(self._session.retries.random() * 0.1 * 2**round_)
        raise Rejected(
            f"{repository}:{tag}: other writers keep replacing this index of referrers",
            hint="let only one program at a time attach to this image, then run the same command again",
        ) from refused

    async def _seen(
        self, repository: str, subject: Digest, wanted: list[dict[str, Any]], remove: str
    ) -> ImageIndex | None:
        """The index as it reads after a PUT; the old one, or none, means "not yet" for as long as the lag."""
        waited, lag = 0.0, -1.0
        while True:
            index = await self._read(repository, subject)
            if index is not None and _shows(index, wanted, remove):
                return index
            if lag < 0:
                lag = await self._session.lag()
            if waited >= lag:
                return index
            await self._session.retries.sleep(max(0.25, lag / 5))
            waited += max(0.25, lag / 5)


def _shows(index: ImageIndex, wanted: list[dict[str, Any]], remove: str) -> bool:
    there = {str(descriptor.digest) for descriptor in index.manifests}
    return remove not in there and all(entry["digest"] in there for entry in wanted)


def _merge(current: ImageIndex | None, wanted: list[dict[str, Any]], remove: str) -> ImageIndex:
    """The index with entries added and removed; what others wrote stays as they wrote it, unknown members too."""
    document: dict[str, Any] = {"schemaVersion": 2, "mediaType": media_types.IMAGE_INDEX, "manifests": []}
    if current is not None:
        document = msgspec.json.decode(current.raw)
    entries = document["manifests"]
    kept = [entry for entry in entries if entry["digest"] != remove]
    there = {entry["digest"] for entry in kept}
    kept += [entry for entry in wanted if entry["digest"] not in there]
    if current is not None and kept == entries:
        return current
    raw = encode_json({**document, "manifests": kept})
    if len(raw) > MAX_MANIFEST:
        raise MalformedDocument(f"an index of {len(kept)} referrers is larger than registries take")
    merged = parse_manifest(raw, media_type=None if current is None else current.media_type)
    assert isinstance(merged, ImageIndex)  # noqa: S101 (made from one)
    return merged
