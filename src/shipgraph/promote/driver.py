"""Carries the rules' actions out on a store: the thin, impure half of the transaction."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import anyio

from shipgraph.channel.journal import JOURNAL_TYPE, Mark, Owner, decode_entry
from shipgraph.channel.metadata import ChannelMetadata, decode_metadata
from shipgraph.errors import NotFound, RegistryUnavailable, ShipgraphError, TagMoved
from shipgraph.events import Emit, Note
from shipgraph.oci.manifest import ImageIndex
from shipgraph.promote import actions as act
from shipgraph.records.document import push_document, read_document
from shipgraph.store.protocols import ANY, Clock, Fetcher, Prober, Pusher, Resolver, Tagger
from shipgraph.tasks import gather

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from shipgraph.oci.digest import Digest
    from shipgraph.oci.manifest import ImageManifest
    from shipgraph.promote.order import Standing
    from shipgraph.promote.steps import Steps
    from shipgraph.records.document import Document

T = TypeVar("T")
R = TypeVar("R")

_TOO_MANY: Final = frozenset({429, 403})
"""Statuses of a ``RegistryUnavailable`` that say that nothing was done (403 is GHCR's secondary rate limit)."""


class TransactionStore(Fetcher, Prober, Resolver, Pusher, Tagger, Clock, Protocol):
    """What the transaction needs of a store: reading, pushing by digest, moving tags, and its clock."""


class MakeMetadata(Protocol):
    """Makes, signs and pushes (by digest) the metadata of a release."""

    async def __call__(
        self, serial: int, at: float, moving_tags: tuple[str, ...], renews: act.Renewed | None
    ) -> Digest:
        """The metadata's digest. ``at`` is in seconds since the epoch; ``renews``: what it repeats, if anything."""
        ...


class Liveness(Protocol):
    """Knows whether the run that opened a transaction lives."""

    async def __call__(self, owner: Owner) -> bool:
        """True if it is proven to be alive; False where nobody knows."""
        ...


class Untagger(Protocol):
    """Removes tags, where the registry can."""

    async def check(self, repository: str) -> None:
        """Prove the right to remove tags, before anything is removed.

        Raises:
            RegistryError: there is no such right, or the registry can't.
        """
        ...

    async def remove(self, repository: str, tag: str) -> None:
        """Remove a tag alone, never a manifest that another tag names.

        Raises:
            RegistryError
        """
        ...


async def nobody_knows(owner: Owner) -> bool:  # noqa: ARG001 (a Liveness)
    """A ``Liveness`` without a source."""
    return False


class Driver:
    """Runs one transaction's rules against a store.

    ``repository`` is the metadata repository. ``jobs`` bounds concurrent writes of tags, ``reads`` concurrent reads.
    ``monotonic`` and ``sleep`` are the local clock, replaced by a virtual one in simulations. ``stop`` is asked before
    the first tag moves. ``work`` does what an entry's batch says, until a time of the local clock. ``pace`` is how many
    tags may be written in a second, None for as many as ``jobs`` allows.
    """

    def __init__(
        self,
        store: TransactionStore,
        repository: str,
        *,
        make_metadata: MakeMetadata | None = None,
        compare: Callable[[Mark], Awaitable[Standing]] | None = None,
        emit: Emit,
        jobs: int = 8,
        reads: int = 64,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        stop: Callable[[], bool] = lambda: False,
        alive: Liveness = nobody_knows,
        untagger: Untagger | None = None,
        work: Callable[[float], Awaitable[bool]] | None = None,
        metadata_type: str = "",
        pace: float | None = None,
    ) -> None:
        self._store, self._repository = store, repository
        self._alive, self._untagger, self._metadata_type = alive, untagger, metadata_type
        self._work = work
        self._interval, self._next_write = 0.0 if pace is None else 1.0 / pace, 0.0
        self._make_metadata, self._compare = make_metadata, compare
        self._emit, self._monotonic, self._sleep, self._stop = emit, monotonic, sleep, stop
        self._writes, self._reads = anyio.CapacityLimiter(jobs), anyio.CapacityLimiter(reads)
        self._manifests: dict[tuple[str, Digest], ImageManifest | ImageIndex] = {}

    async def run(self, rules: Steps[T]) -> T:
        """Carry out actions until the rules end; their errors are the caller's."""
        answer: Any = None
        while True:
            try:
                action = rules.send(answer)
            except StopIteration as end:
                result: T = end.value
                return result
            answer = await self._do(action)

    async def prefetch(self, contents: Sequence[tuple[str, Digest]]) -> None:
        """Read manifests that will be PUT under tags, so that the transaction itself needs no reads for them."""
        await self._all([partial(self._manifest, *key) for key in contents])

    async def _do(self, action: act.Action) -> Any:  # noqa: C901 (one case for each action, and no more)
        match action:
            case act.ReadJournal(tag):
                return await self._readable(partial(self._journal, tag))
            case act.ReadMetadata(digest):
                return await self._readable(partial(self._metadata, digest))
            case act.ReadSet(digests):
                return await self._readable(partial(self._set, digests))
            case act.AskAlive(owner):
                return await self._alive(owner)
            case act.ReadTags(tags):
                return tuple(await self._all([partial(self._readable, partial(self._tag, *tag)) for tag in tags]))
            case act.CheckDigests(digests):
                return tuple(
                    await self._all([partial(self._readable, partial(self._there, *pair)) for pair in digests])
                )
            case act.Together(parts):
                return tuple(await gather([partial(self._do, part) for part in parts]))
            case act.Compare(mark):
                assert self._compare is not None  # noqa: S101 (only releases are compared)
                return await self._compare(mark)
            case act.Now():
                return await self._readable(self._times)
            case act.LocalTime():
                return self._monotonic()
            case act.StopAsked():
                return self._stop()
            case act.MakeMetadata(serial, at, moving_tags, renews):
                assert self._make_metadata is not None  # noqa: S101 (an adopter makes none)
                digest = await self._make_metadata(serial, at, moving_tags, renews)
                await self._manifest(self._repository, digest)
                return digest
            case act.Push(documents):
                return await self._readable(partial(self._push, documents))
            case act.PutTags(puts, deadline):
                puttings = [partial(self._put, put, deadline) for put in puts]
                return tuple(await gather(puttings, limiter=self._writes))
            case act.Untag(tags):
                return await self._untag(tags)
            case act.Work(deadline):
                assert self._work is not None  # noqa: S101 (only a clean-up has a batch)
                return await self._work(deadline)
            case act.Sleep(seconds, why):
                if seconds >= 1:
                    self._emit(Note(f"{why} ({seconds:.1f} s)"))
                return await self._sleep(seconds)
            case act.Say(text, warning):
                return self._emit(Note(text, warning))

    async def _readable(self, read: Callable[[], Awaitable[R]]) -> R | act.Unreadable:
        try:
            return await read()
        except ShipgraphError as error:
            return act.Unreadable(error)

    async def _journal(self, tag: str) -> act.JournalSeen:
        found = await self._store.resolve(self._repository, tag)
        if found is None:
            return act.JournalSeen(None, None)
        try:
            document = await read_document(self._store, self._repository, found.digest, JOURNAL_TYPE)
        except NotFound as error:  # the tag is there, so it is lag
            raise RegistryUnavailable(f"{self._repository}:{tag} can't be read yet: {error}") from error
        self._manifests[self._repository, found.digest] = document.manifest
        return act.JournalSeen(found.digest, decode_entry(document.content, where=f"{self._repository}:{tag}"))

    async def _metadata(self, digest: Digest) -> ChannelMetadata:
        document = await read_document(self._store, self._repository, digest, self._metadata_type)
        self._manifests[self._repository, digest] = document.manifest
        return decode_metadata(document.content, where=f"{self._repository}@{digest}")

    async def _set(self, digests: Sequence[tuple[str, Digest]]) -> tuple[tuple[str, Digest], ...]:
        found = await self._all([partial(self._manifest, *pair) for pair in digests])
        parts = [
            (repository, child.digest)
            for (repository, _), manifest in zip(digests, found, strict=True)
            if isinstance(manifest, ImageIndex)
            for child in manifest.manifests
        ]
        return (*digests, *parts)

    async def _untag(self, tags: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        assert self._untagger is not None  # noqa: S101 (only `repair --untag` removes tags)
        for repository, tag in tags:
            await self._untagger.remove(repository, tag)
        return tuple(tags)

    async def _tag(self, repository: str, tag: str) -> Digest | None:
        found = await self._store.resolve(repository, tag)
        return None if found is None else found.digest

    async def _there(self, repository: str, digest: Digest) -> bool:
        return await self._store.has_manifest(repository, digest)

    async def _times(self) -> act.Times:
        before = self._monotonic()
        return act.Times(await self._store.now(), before)

    async def _push(self, documents: Sequence[Document]) -> None:
        for document in documents:
            self._manifests[self._repository, document.manifest.digest] = document.manifest
        await self._all([partial(push_document, self._store, self._repository, document) for document in documents])

    async def _manifest(self, repository: str, digest: Digest) -> ImageManifest | ImageIndex:
        found = self._manifests.get((repository, digest))
        if found is None:
            found = self._manifests[repository, digest] = await self._store.manifest(repository, digest)
        return found

    async def _put(self, put: act.Put, deadline: float) -> act.PutAnswer:
        try:
            manifest = await self._manifest(put.repository, put.digest)
        except RegistryUnavailable as error:
            return act.Unknown(error)
        except ShipgraphError as error:
            return act.Declined(error)
        await self._paced()
        left = deadline - self._monotonic()
        if left <= 0:
            return act.NotSent()
        with anyio.move_on_after(left):  # whatever waits below, nothing is sent after the deadline
            return await self._send(put, manifest)
        return act.Unknown(RegistryUnavailable(f"{put.repository}:{put.tag}: no answer before the lease was over"))

    async def _send(self, put: act.Put, manifest: ImageManifest | ImageIndex) -> act.PutAnswer:
        try:
            await self._store.tag(put.repository, put.tag, manifest, expect=put.expect, once=True)
        except TagMoved as error:
            return await self._moved(put, error)
        except RegistryUnavailable as error:
            return act.Throttled(error) if error.status in _TOO_MANY else act.Unknown(error)
        except ShipgraphError as error:
            return act.Declined(error)
        return act.Landed()

    async def _paced(self) -> None:
        """Wait until the registry takes another write."""
        if self._interval:
            now = self._monotonic()
            turn = max(now, self._next_write)
            self._next_write = turn + self._interval
            if turn > now:
                await self._sleep(turn - now)

    async def _moved(self, put: act.Put, error: TagMoved) -> act.PutAnswer:
        """A conditional PUT was refused; where the tag is ours already, an earlier PUT of ours has landed."""
        if put.expect is ANY:
            return act.Declined(error)
        try:
            there = await self._tag(put.repository, put.tag)
        except ShipgraphError as unclear:
            return act.Unknown(unclear)
        return act.Landed() if there == put.digest else act.Declined(error)

    async def _all(self, calls: Sequence[Callable[[], Awaitable[R]]]) -> list[R]:
        return await gather(calls, limiter=self._reads)
