"""One run: a scenario drawn from a seed, carried out on virtual time, its promises checked."""

from __future__ import annotations

import asyncio
import random
import zlib
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Final

import msgspec

from shipgraph.channel.journal import HeadRelease, Kind, Mark, Owner
from shipgraph.channel.metadata import (
    ChannelMetadata,
    ImageEntry,
    PayloadEntry,
    encode_metadata,
    rfc3339,
)
from shipgraph.errors import ShipgraphError
from shipgraph.events import silent
from shipgraph.project.versions import Version
from shipgraph.promote.actions import Push
from shipgraph.promote.adoption import adopt_open
from shipgraph.promote.driver import Driver
from shipgraph.promote.order import Standing, compare
from shipgraph.promote.protocol import Settled, Target, transact
from shipgraph.promote.recovery import Rollback, plan_refresh, plan_repair, plan_rollback
from shipgraph.promote.releases import Request, release
from shipgraph.promote.terms import ALL, Parts, Terms
from shipgraph.promote.timing import Timing
from shipgraph.records.document import Document, build_document, push_document
from shipgraph.testing.simulation.clock import VirtualLoop
from shipgraph.testing.simulation.promises import META, METADATA_TYPE, Promises
from shipgraph.testing.simulation.registry import CALM, Connection, Process, Registry, Weather

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shipgraph.oci.digest import Digest
    from shipgraph.promote.actions import Renewed
    from shipgraph.promote.steps import Steps

IMAGES: Final = ("acme/base", "acme/tool")
PAYLOAD: Final = "acme/payload"
TIMINGS: Final = (
    Timing(lag=5, gap=2, settle=13, margin=60, writes_per_second=2000 / 60),
    Timing(lag=0, gap=1, settle=1.5, margin=5),
    Timing(lag=1, gap=1, settle=3.5, margin=10),
    Timing(lag=0, gap=1, settle=1.5, margin=5, conditional=True),
)
WEATHERS: Final = (
    CALM,
    Weather(lost_before=0.02, lost_after=0.02, throttled=0.03, unread=0.01),
    Weather(lost_before=0.02, lost_after=0.05, late=0.05, slow=0.03, unread=0.005),
    Weather(late=0.15, lost_after=0.05),
    Weather(late=0.03, refused=0.03, lost_after=0.03, slow=0.02),
    Weather(lost_after=0.2, throttled=0.05),
    Weather(lost_after=0.3),
)


@dataclass(slots=True)
class Outcome:
    """What one seed did."""

    seed: int
    broken: list[str]
    trace: list[tuple[float, str, str]]
    counts: Counter[str] = field(default_factory=Counter)
    order: int = 0

    def text(self) -> str:
        """The trace, to be read."""
        lines = [f"{when:10.3f}  {who:<10} {what}" for when, who, what in self.trace]
        return "\n".join([f"seed {self.seed}:", *lines, *(f"BROKEN: {fault}" for fault in self.broken)])


def run(seed: int, parts: Parts = ALL) -> Outcome:
    """Carry a seed out; the same seed and parts give the same outcome, to the last line of the trace."""
    loop = VirtualLoop()
    loop.set_exception_handler(lambda _loop, _context: None)  # whoever was killed leaves tasks behind
    world = World(seed, parts, loop)
    try:
        loop.run_until_complete(world.play())
    finally:
        world.noting = False
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
    writes = "\n".join(f"{who} {what}" for _, who, what in world.trace if what.startswith(("PUT", "   landed")))
    order = zlib.crc32(writes.encode())
    return Outcome(seed, world.promises.broken, world.trace, world.registry.counts, order)


@lru_cache(maxsize=256)
def _image(repository: str, number: int) -> Document:
    return build_document("application/vnd.simulation.image.v1+json", {"image": repository, "n": number}, title="x")


class World:
    """Everything in one run."""

    def __init__(self, seed: int, parts: Parts, loop: VirtualLoop) -> None:
        self.rng = random.Random(seed)  # noqa: S311 (reproducible on purpose)
        self.parts, self.loop = parts, loop
        self.timing = self.rng.choice(TIMINGS)
        self.versions = self.rng.random() < 0.25
        self.channels = ("dev", "prod")
        self.trace: list[tuple[float, str, str]] = []
        self.noting = True
        self.promises = Promises(self.channels)
        self.registry = Registry(self.timing, loop, self.promises.watch, self.note)
        self.promises.registry = self.registry

    def note(self, who: str, what: str) -> None:
        """A line of the trace."""
        if self.noting:
            self.trace.append((self.loop.time(), who, what))

    async def play(self) -> None:
        """The scenario, then the next command after it, then one more release."""
        if self.rng.random() < 0.8:
            await self._do(self._process("first", calm=True), partial(self._release, 0, "dev"))
        if self.rng.random() < 0.3:
            await self._do(self._process("second", calm=True), partial(self._release, 1, "dev"))
        await asyncio.sleep(self.rng.choice((0.0, self.timing.lag / 2, 2 * self.timing.settle)))
        spread = self.rng.choice((0.3, self.timing.settle, 5 * self.timing.settle))
        numbers = self.rng.sample(range(2, 9), 3)
        writers = self.rng.choice((1, 2, 2, 2, 3))
        players = [
            self._player(f"writer{n + 1}", self.rng.uniform(0, spread), self._job(numbers[n])) for n in range(writers)
        ]
        for n in range(self.rng.choice((0, 1, 1, 2, 2))):
            start = self.rng.uniform(0, self.rng.choice((spread, 4 * self.timing.settle)))
            abort = self.rng.random() < 0.3
            players.append(self._player(f"adopter{n + 1}", start, partial(self._adopt, abort=abort)))
        await asyncio.gather(*players)
        if self.rng.random() < 0.5:  # at once, or after a dead writer's last PUT has landed
            await self._do(self._process("closer1", calm=True), partial(self._adopt, abort=self.rng.random() < 0.3))
        await asyncio.sleep(2 * self.timing.lag + self.timing.margin)
        await self._do(self._process("closer2", calm=True), partial(self._adopt, abort=self.rng.random() < 0.3))
        await asyncio.sleep(2 * self.timing.lag)
        self.promises.at_end()
        if not self.promises.broken:
            await self._do(self._process("last", calm=True), partial(self._release, 99, "dev"))
            self.promises.at_end()
            if not any("last: Settled" in what for _, _, what in self.trace[-3:]):
                self.promises.broken.append("the next release did not settle")

    def _process(self, name: str, *, calm: bool = False) -> Process:
        rng = random.Random(self.rng.random())  # noqa: S311
        if calm:
            return Process(name, rng, CALM)
        lives = self.rng.randrange(1, self.rng.choice((40, 90, 150))) if self.rng.random() < 0.55 else None
        return Process(name, rng, self.rng.choice(WEATHERS), lives, self.rng.uniform(0, 1000))

    async def _player(self, name: str, start: float, job: Callable[[Process], Awaitable[object]]) -> None:
        process = self._process(name)
        await asyncio.sleep(start)
        await self._do(process, job)

    async def _do(self, process: Process, job: Callable[[Process], Awaitable[object]]) -> None:
        """Run a process until it ends or is killed."""
        process.over = self.loop.create_future()

        async def work() -> None:
            try:
                outcome: object = await job(process)
                text = type(outcome).__name__ if isinstance(outcome, Settled) else str(outcome)
                if isinstance(outcome, Settled):
                    self.promises.settled(process, outcome)
            except ShipgraphError as error:
                text = f"{type(error).__name__}: {error}"
            except Exception as bug:
                text = f"BUG {bug!r}"
                self.promises.broken.append(f"{process.name}: {bug!r}")
            self.note(process.name, f"{process.name}: {text}")
            self.registry.counts[text.partition(":")[0].partition("(")[0]] += 1
            if process.over is not None and not process.over.done():
                process.over.set_result(None)

        task = self.loop.create_task(work())
        await process.over
        del task

    def _terms(self, process: Process) -> Terms:
        owner = Owner(run=process.name, attempt=1, nonce=process.name)
        wait = process.rng.random() < 0.8
        return Terms("simulated", META, self.channels, owner, self.timing, wait=wait, parts=self.parts)

    def _driver(self, process: Process, kind: Kind, request: Request | None = None) -> Driver:
        connection = Connection(self.registry, process)

        async def make(serial: int, at: float, moving_tags: tuple[str, ...], renews: Renewed | None) -> Digest:
            metadata = renews.metadata if renews else self._metadata(request, moving_tags)
            document = encode_metadata(
                msgspec.structs.replace(metadata, serial=serial, generated_at=rfc3339(at)), METADATA_TYPE
            )
            await push_document(connection, META, document)
            self.promises.kinds[document.manifest.digest] = kind
            return document.manifest.digest

        async def judge(mark: Mark) -> Standing:
            assert request is not None  # noqa: S101 (only releases are compared)
            parse = Version.parse if request.channel == "prod" else None
            return await compare(request.mark, mark, parse=parse, ancestry=_ancestry)

        stops_at = process.rng.uniform(0, 60) if process.weather is not CALM and process.rng.random() < 0.05 else None

        def stop() -> bool:
            return stops_at is not None and self.loop.time() > stops_at

        driver = _Watched(
            connection,
            META,
            make_metadata=make,
            compare=judge,
            emit=silent,
            jobs=4,
            monotonic=connection.monotonic,
            sleep=connection.sleep,
            stop=stop,
            metadata_type=METADATA_TYPE,
        )
        driver.process = process
        return driver

    def _job(self, number: int) -> Callable[[Process], Awaitable[object]]:
        dice = self.rng.random()
        if self.versions and dice < 0.5:
            return partial(self._release, number, "prod")
        if dice < 0.75:
            return partial(self._release, number, "dev")
        channel = "dev"
        if dice < 0.88:
            return partial(self._plan, Kind.ROLLBACK, lambda _terms: partial(plan_rollback, Rollback(channel)))
        if dice < 0.95:
            return partial(self._plan, Kind.REFRESH, lambda terms: partial(plan_refresh, terms, channel))
        return partial(self._plan, Kind.REPAIR, lambda terms: partial(plan_repair, terms, channel))

    async def _release(self, number: int, channel: str, process: Process) -> object:
        request = self._request(number, channel)
        for repository, digest in request.contents:
            document = _image(repository, number)
            self.registry.manifests[repository, digest] = document.manifest
        return await self._driver(process, Kind.RELEASE, request).run(release(self._terms(process), request))

    async def _plan(
        self, kind: Kind, make: Callable[[Terms], Callable[..., Steps[object]]], process: Process
    ) -> object:
        terms = self._terms(process)
        return await self._driver(process, kind).run(transact(terms, make(terms)))  # type: ignore[arg-type]

    async def _adopt(self, process: Process, *, abort: bool = False) -> object:
        return await self._driver(process, Kind.RELEASE).run(adopt_open(self._terms(process), abort=abort))

    def _request(self, number: int, channel: str) -> Request:
        commit = f"{number:040x}"
        version = f"v{number}.0.0" if channel == "prod" else channel
        own = channel == "prod"
        digests = {repository: _image(repository, number).manifest.digest for repository in (*IMAGES, PAYLOAD)}
        targets = [Target(repository, channel, digests[repository]) for repository in IMAGES]
        if own:
            targets += [Target(repository, version, digests[repository], own=True) for repository in IMAGES]
        targets.append(Target(PAYLOAD, version, digests[PAYLOAD], own=own))
        known = HeadRelease(
            immutable_tag=f"sha-{commit}",
            version=version,
            commit=commit,
            revision=1,
            serial=0,
            metadata="",
            settled_at="",
        )
        contents = tuple(digests.items())
        return Request(Kind.RELEASE, channel, known, tuple(targets), contents, version if own else None)

    def _metadata(self, request: Request | None, moving_tags: tuple[str, ...]) -> ChannelMetadata:
        assert request is not None  # noqa: S101 (nothing else makes new metadata)
        found = dict(request.contents)
        version = request.release.version
        return ChannelMetadata(
            channel=request.channel,
            version=version,
            immutable_tag=request.release.immutable_tag,
            moving_tags=moving_tags,
            images=tuple(ImageEntry(image=name, repository=name, digest=str(found[name])) for name in IMAGES),
            payload=PayloadEntry(ref=f"{PAYLOAD}:{version}@{found[PAYLOAD]}", digest=str(found[PAYLOAD])),
            generated_at="",
            serial=0,
            commit=request.release.commit,
            expires_at="",
        )


class _Watched(Driver):
    """The real driver, whose process counts its claims."""

    process: Process

    async def _do(self, action: object) -> object:
        if isinstance(action, Push):  # the documents of a claim to come
            self.process.claims += 1
        return await super()._do(action)  # type: ignore[arg-type]


async def _ancestry(commit: str, other: str) -> Standing:
    return Standing.AHEAD if int(commit, 16) > int(other, 16) else Standing.BEHIND
