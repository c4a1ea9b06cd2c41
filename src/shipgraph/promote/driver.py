"""Carries the rules' actions out on a store: the thin, impure half of the transaction."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import anyio

from shipgraph.channel.journal import JOURNAL, JOURNAL_TYPE, Mark, decode_entry
from shipgraph.errors import RegistryError, RegistryUnavailable, ShipgraphError, TagMoved
from shipgraph.events import Emit, Note
from shipgraph.promote import actions as act
from shipgraph.records.document import push_document, read_document
from shipgraph.store.protocols import ANY, Clock, Fetcher, Prober, Pusher, Resolver, Tagger
from shipgraph.tasks import gather

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from shipgraph.oci.digest import Digest
    from shipgraph.oci.manifest import ImageIndex, ImageManifest
    from shipgraph.promote.order import Standing
    from shipgraph.promote.steps import Steps
    from shipgraph.records.document import Document

T = TypeVar("T")
R = TypeVar("R")


class TransactionStore(Fetcher, Prober, Resolver, Pusher, Tagger, Clock, Protocol):
    """What the transaction needs of a store: reading, pushing by digest, moving tags, and its clock."""


class MakeMetadata(Protocol):
    """Makes, signs and pushes (by digest) the metadata of a release."""

    async def __call__(self, serial: int, at: float, moving_tags: tuple[str, ...]) -> Digest:
        """The metadata's digest. ``at`` is in seconds since the epoch."""
        ...


class Driver:
    """Runs one transaction's rules against a store.

    ``repository`` is the metadata repository. ``jobs`` bounds concurrent requests. ``monotonic`` and ``sleep`` are the
    local clock, replaced by a virtual one in simulations. ``stop`` is asked before the first tag moves.
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
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._store, self._repository = store, repository
        self._make_metadata, self._compare = make_metadata, compare
        self._emit, self._monotonic, self._sleep, self._stop = emit, monotonic, sleep, stop
        self._limiter = anyio.CapacityLimiter(jobs)
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
            case act.ReadJournal():
                return await self._readable(self._journal)
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
            case act.MakeMetadata(serial, at, moving_tags):
                assert self._make_metadata is not None  # noqa: S101 (an adopter makes none)
                digest = await self._make_metadata(serial, at, moving_tags)
                await self._manifest(self._repository, digest)
                return digest
            case act.Push(documents):
                return await self._readable(partial(self._push, documents))
            case act.PutTags(puts, deadline):
                return tuple(await self._all([partial(self._put, put, deadline) for put in puts]))
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

    async def _journal(self) -> act.JournalSeen:
        found = await self._store.resolve(self._repository, JOURNAL)
        if found is None:
            return act.JournalSeen(None, None)
        document = await read_document(self._store, self._repository, found.digest, JOURNAL_TYPE)
        self._manifests[self._repository, found.digest] = document.manifest
        entry = decode_entry(document.content, where=f"{self._repository}:{JOURNAL}")
        return act.JournalSeen(found.digest, entry)

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
        if self._monotonic() >= deadline:
            return act.NotSent()
        try:
            await self._store.tag(put.repository, put.tag, manifest, expect=put.expect, once=True)
        except TagMoved as error:
            return await self._moved(put, error)
        except RegistryUnavailable as error:
            return act.Unknown(error)
        except RegistryError as error:
            return act.Declined(error)
        return act.Landed()

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
        return await gather(calls, limiter=self._limiter)
