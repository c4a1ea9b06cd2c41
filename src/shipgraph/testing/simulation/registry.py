"""A simulated registry: the truth about every tag over time, and connections that see and change it imperfectly."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shipgraph.channel.journal import JOURNAL
from shipgraph.errors import Denied, NotFound, RegistryUnavailable, TagMoved
from shipgraph.store.content import from_bytes
from shipgraph.store.protocols import ANY
from shipgraph.testing.simulation.clock import EPOCH

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Callable

    from shipgraph.oci.descriptor import Descriptor
    from shipgraph.oci.digest import Digest
    from shipgraph.oci.manifest import ImageIndex, ImageManifest
    from shipgraph.promote.timing import Timing
    from shipgraph.store.protocols import BlobSource, Expect


@dataclass(frozen=True, slots=True)
class Weather:
    """How likely each fault is: for one PUT of a tag, ``unread`` for one read."""

    lost_before: float = 0.0
    lost_after: float = 0.0
    late: float = 0.0
    slow: float = 0.0
    throttled: float = 0.0
    refused: float = 0.0
    unread: float = 0.0


CALM = Weather()


@dataclass(slots=True)
class Process:
    """One process as the simulation sees it. ``lives`` counts down its awaits; at 0 it is killed."""

    name: str
    rng: random.Random
    weather: Weather
    lives: int | None = None
    skew: float = 0.0
    dead: bool = False
    claims: int = 0
    over: asyncio.Future[None] | None = None


@dataclass(slots=True)
class Session:
    """The time in which one claim's owner wrote: from its first PUT sent to the last one's effect."""

    process: str
    number: int
    first: float
    last: float
    closed_at: float | None = None


@dataclass(slots=True)
class Registry:
    """Tags as lists of (time, digest), oldest first; ``watch`` is told of every PUT as it takes effect."""

    timing: Timing
    loop: asyncio.AbstractEventLoop
    watch: Callable[[Process, int, str, str, Digest, Digest | None], None]
    note: Callable[[str, str], None]
    tags: dict[tuple[str, str], list[tuple[float, Digest]]] = field(default_factory=dict)
    manifests: dict[tuple[str, Digest], ImageManifest | ImageIndex] = field(default_factory=dict)
    blobs: dict[tuple[str, Digest], bytes] = field(default_factory=dict)
    sessions: dict[tuple[str, int], Session] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    under_way: int = 0

    def current(self, repository: str, tag: str) -> Digest | None:
        """The truth."""
        history = self.tags.get((repository, tag))
        return history[-1][1] if history else None

    def read(self, repository: str, tag: str, age: float) -> Digest | None:
        """What the tag was ``age`` seconds ago."""
        history = self.tags.get((repository, tag))
        if not history:
            return None
        position = bisect_right(history, self.loop.time() - age, key=lambda entry: entry[0])
        return history[position - 1][1] if position else None

    def send(
        self,
        process: Process,
        repository: str,
        tag: str,
        manifest: ImageManifest | ImageIndex,
        expect: Expect,
        at: float,
    ) -> asyncio.Future[Digest | None]:
        """A PUT that takes effect at a time to come, whoever is still alive then; gives what was there before.

        The future fails with ``TagMoved`` where a condition does not hold then.
        """
        done: asyncio.Future[Digest | None] = self.loop.create_future()
        number, sent = process.claims, self.loop.time()
        self.under_way += 1

        def effect() -> None:
            self.under_way -= 1
            there = self.current(repository, tag)
            if self.timing.conditional and expect is not ANY and expect != there:
                self.note(process.name, f"   412 {tag}")
                done.set_exception(TagMoved(f"{repository}:{tag} is {there}, not {expect}"))
                done.exception()  # whoever asked may be dead
                return
            self.manifests[repository, manifest.digest] = manifest
            self.tags.setdefault((repository, tag), []).append((self.loop.time(), manifest.digest))
            self.note(process.name, f"   landed {tag} = {manifest.digest.hex[:8]}")
            self._inside(process, number, sent, tag)
            self.watch(process, number, repository, tag, manifest.digest, there)
            done.set_result(there)

        self.loop.call_at(at, effect)
        return done

    def _inside(self, process: Process, number: int, sent: float, tag: str) -> None:
        if tag == JOURNAL:
            return
        session = self.sessions.setdefault(
            (process.name, number), Session(process.name, number, sent, self.loop.time())
        )
        session.first, session.last = min(session.first, sent), max(session.last, self.loop.time())


class Connection:
    """What one process has of the registry: a store."""

    def __init__(self, registry: Registry, process: Process) -> None:
        self._registry, self._process = registry, process

    async def sleep(self, seconds: float) -> None:
        """The process's own waiting: it may be killed before and after."""
        await self.alive()
        await asyncio.sleep(seconds)
        await self.alive()

    def monotonic(self) -> float:
        """The process's own clock."""
        return self._registry.loop.time() + self._process.skew

    async def alive(self) -> None:
        """A point at which the process may be killed; a dead one never comes back from it."""
        process = self._process
        if not process.dead and process.lives is not None:
            process.lives -= 1
            if process.lives < 0:
                process.dead = True
                self._registry.counts["deaths"] += 1
                self._registry.note(process.name, "KILLED")
                if process.over is not None and not process.over.done():
                    process.over.set_result(None)
        if process.dead:
            await self._registry.loop.create_future()

    async def tag(
        self,
        repository: str,
        tag: str,
        manifest: ImageManifest | ImageIndex,
        *,
        expect: Expect = ANY,
        once: bool = False,  # noqa: ARG002 (nothing is repeated here)
    ) -> None:
        """See ``Tagger``."""
        registry, process, rng = self._registry, self._process, self._process.rng
        await self.alive()
        fate = self._fate()
        what = f"PUT {repository.rpartition('/')[2]}:{tag} = {manifest.digest.hex[:8]}"
        registry.note(process.name, what + (f" ({fate})" if fate else ""))
        registry.counts["puts"] += 1
        if fate:
            registry.counts[fate] += 1
        now, latency = registry.loop.time(), self._latency()
        match fate:
            case "refused":
                await asyncio.sleep(latency)
                await self.alive()
                raise Denied("no right", method="PUT", status=403)
            case "throttled":
                await asyncio.sleep(latency)
                await self.alive()
                raise RegistryUnavailable("too many requests", status=429)
            case "lost before":
                await asyncio.sleep(rng.choice((latency, 3.0)))
                await self.alive()
                raise RegistryUnavailable("cut before it was done")
            case "late":
                margin = registry.timing.margin
                landing = rng.choice((rng.uniform(0, margin), rng.uniform(0.9 * margin, 0.99 * margin)))
                registry.send(process, repository, tag, manifest, expect, now + landing)
                await asyncio.sleep(rng.choice((latency, 1.0, 3.0)))
                await self.alive()
                raise RegistryUnavailable("no answer; it may land later")
            case "slow":
                latency = rng.uniform(0.5, 3.0) * registry.timing.gap
            case _:
                pass
        try:
            await registry.send(process, repository, tag, manifest, expect, now + latency)
        except TagMoved:
            await self._answer(latency)
            raise
        await self._answer(latency)
        if fate == "lost after":
            raise RegistryUnavailable("the answer was lost", status=rng.choice((None, 502)))

    def _fate(self) -> str:
        dice, weather = self._process.rng.random(), self._process.weather
        for name, chance in (
            ("lost before", weather.lost_before),
            ("lost after", weather.lost_after),
            ("late", weather.late),
            ("slow", weather.slow),
            ("throttled", weather.throttled),
            ("refused", weather.refused),
        ):
            dice -= chance
            if dice < 0:
                return name
        return ""

    def _latency(self) -> float:
        return 0.01 + 0.2 * self._process.rng.random() ** 3

    async def _answer(self, latency: float) -> None:
        await asyncio.sleep(latency / 2)
        await self.alive()

    async def _read(self, what: str) -> None:
        await self.alive()
        await asyncio.sleep(self._latency())
        await self.alive()
        if self._process.rng.random() < self._process.weather.unread:
            self._registry.note(self._process.name, f"GET {what}: no answer")
            self._registry.counts["unread"] += 1
            raise RegistryUnavailable(f"{what}: no answer", status=503)

    async def resolve(self, repository: str, tag: str) -> Descriptor | None:
        """See ``Resolver``; any connection may show what was up to ``lag`` seconds ago."""
        await self._read(tag)
        lag, rng = self._registry.timing.lag, self._process.rng
        age = rng.uniform(0, lag) if lag and rng.random() < 0.5 else 0.0
        digest = self._registry.read(repository, tag, age)
        stale = digest != self._registry.current(repository, tag)
        if stale:
            self._registry.counts["stale reads"] += 1
        text = digest.hex[:8] if digest else "absent"
        self._registry.note(self._process.name, f"GET {tag}: {text}{' (stale)' if stale else ''}")
        return None if digest is None else self._registry.manifests[repository, digest].descriptor

    async def manifest(self, repository: str, digest: Digest) -> ImageManifest | ImageIndex:
        """See ``Fetcher``."""
        await self._read(str(digest)[:15])
        try:
            return self._registry.manifests[repository, digest]
        except KeyError:
            raise NotFound(f"{repository}@{digest} is not there") from None

    @asynccontextmanager
    async def blob(self, repository: str, descriptor: Descriptor) -> AsyncIterator[AsyncIterator[bytes]]:
        """See ``Fetcher``."""
        async with from_bytes(self._registry.blobs[repository, descriptor.digest])() as pieces:
            yield pieces

    async def has_blob(self, repository: str, digest: Digest) -> bool:
        """See ``Prober``."""
        return (repository, digest) in self._registry.blobs

    async def has_manifest(self, repository: str, digest: Digest) -> bool:
        """See ``Prober``."""
        await self._read(str(digest)[:15])
        return (repository, digest) in self._registry.manifests

    async def push_blob(
        self,
        repository: str,
        descriptor: Descriptor,
        source: BlobSource,
        *,
        mount_from: str | None = None,  # noqa: ARG002 (a hint)
    ) -> bool:
        """See ``Pusher``."""
        async with source() as pieces:
            self._registry.blobs[repository, descriptor.digest] = b"".join([piece async for piece in pieces])
        return True

    async def push_manifest(self, repository: str, manifest: ImageManifest | ImageIndex) -> None:
        """See ``Pusher``."""
        await self._read("push")
        self._registry.manifests[repository, manifest.digest] = manifest

    async def conditional(self) -> bool:
        """See ``Tagger``."""
        return self._registry.timing.conditional

    async def now(self) -> float:
        """See ``Clock``: whole seconds, as the ``Date`` header has them."""
        await self._read("now")
        return float(int(EPOCH + self._registry.loop.time()))
