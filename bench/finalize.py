"""How long moving all tags takes: ``python -m bench.finalize``.

1. 9 repositories × 3 tags at 50 ms a round trip: sequential round trips from the claim's PUT to the journal's closing,
   and the time, against a loop of ``crane tag`` over the same tags in the same run.
2. 1,000 images × 3 tags against GHCR's write limit (2,000 a minute, in any minute), on virtual time.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shipgraph.channel.journal import HeadRelease, Kind, Owner
from shipgraph.channel.metadata import ChannelMetadata, encode_metadata, rfc3339
from shipgraph.engine.opening import WRITES
from shipgraph.errors import RegistryUnavailable
from shipgraph.events import silent
from shipgraph.promote.driver import Driver
from shipgraph.promote.order import Standing
from shipgraph.promote.protocol import Settled, Target
from shipgraph.promote.releases import Request, release
from shipgraph.promote.terms import Terms
from shipgraph.promote.timing import Timing, default_timing
from shipgraph.records.document import Document, build_document, push_document
from shipgraph.remote.manners import GHCR_WRITES
from shipgraph.remote.store import RemoteStore
from shipgraph.testing.simulation.clock import VirtualLoop
from shipgraph.testing.simulation.registry import CALM, Connection, Process, Registry

if TYPE_CHECKING:
    import random

    from shipgraph.oci.digest import Digest

ROUND_TRIP = 0.05
META = "acme/metadata"
TAGS = ("v1.0.0", "prod", "stable")
METADATA_TYPE = "application/vnd.bench.metadata.v1+json"
COMMIT = "c" * 40


def image(number: int, commit: str = COMMIT) -> tuple[str, Document]:
    """An image of one layer."""
    name = f"acme/image-{number}"
    return name, build_document("application/vnd.bench.image.v1+json", {"name": name, "commit": commit}, title="x")


def request_for(images: list[tuple[str, Document]]) -> Request:
    """All images under three tags."""
    known = HeadRelease(
        immutable_tag=f"sha-{COMMIT}", version=TAGS[0], commit=COMMIT, revision=1, serial=0, metadata="", settled_at=""
    )
    targets = tuple(Target(name, tag, one.manifest.digest) for name, one in images for tag in TAGS)
    return Request(
        Kind.RELEASE, "prod", known, targets, tuple((name, one.manifest.digest) for name, one in images), TAGS[0]
    )


def driver_for(store: Any, **more: Any) -> Driver:
    """The real driver; its metadata names nothing, which changes no request."""

    async def make(
        serial: int,
        at: float,
        moving_tags: tuple[str, ...],
        renews: ChannelMetadata | None,  # noqa: ARG001 (a release is new)
    ) -> Digest:
        metadata = ChannelMetadata(
            channel="prod",
            version=TAGS[0],
            immutable_tag=f"sha-{COMMIT}",
            moving_tags=moving_tags,
            images=(),
            payload=None,
            generated_at=rfc3339(at),
            serial=serial,
            commit=COMMIT,
            expires_at="",
        )
        document = encode_metadata(metadata, METADATA_TYPE)
        await push_document(store, META, document)
        return document.manifest.digest

    async def ahead(_: object) -> Standing:
        return Standing.AHEAD

    return Driver(store, META, make_metadata=make, compare=ahead, emit=silent, metadata_type=METADATA_TYPE, **more)


def terms_for(timing: Timing) -> Terms:
    """Of nobody in particular."""
    return Terms("bench", META, ("prod",), Owner(run="bench", attempt=1, nonce="bench"), timing)


def sequential(spans: list[tuple[float, float, str]]) -> int:
    """How many requests followed one another: the most that don't overlap in time."""
    count, free = 0, 0.0
    for began, ended, _ in sorted(spans, key=lambda span: span[1]):
        if began >= free:
            count, free = count + 1, ended
    return count


async def over_http(host: str, control: Any, jobs: int) -> tuple[int, float, int, list[tuple[str, str]]]:
    """Round trips, seconds and requests from the claim's PUT on, and the tags that moved."""
    images = [image(number) for number in range(8)]
    async with RemoteStore(host, concurrency=64, writes=jobs) as store:
        for name, document in images:
            await push_document(store, name, document)
            await store.tag(name, f"sha-{COMMIT}", document.manifest)
        timing = default_timing(host, conditional=await store.conditional())
        driver = driver_for(store, jobs=jobs)
        request = request_for(images)
        await driver.prefetch(list(request.contents))
        control.say(hold=0, delay=ROUND_TRIP)
        outcome = await driver.run(release(terms_for(timing), request))
    assert isinstance(outcome, Settled)
    spans = [tuple(span) for span in control.state()["spans"]]
    control.say(hold=0, delay=0.0)
    journal = [n for n, (_, _, what) in enumerate(spans) if what == f"PUT /v2/{META}/manifests/journal"]
    inside = spans[journal[0] : journal[-1] + 1]
    inside = [span for span in spans if span[0] >= inside[0][0]]
    seconds = max(ended for _, ended, _ in inside) - inside[0][0]
    return sequential(inside), seconds, len(inside), [(move.repository, move.tag) for move in outcome.moves]


def crane_loop(host: str, control: Any, crane: Path, moves: list[tuple[str, str]]) -> float:
    """Seconds of ``crane tag`` for each of the same tags."""
    control.say(delay=ROUND_TRIP)
    began = time.perf_counter()
    for repository, tag in moves:
        source = "prod-1" if repository == META else f"sha-{COMMIT}"
        subprocess.run(
            [crane, "tag", "--insecure", f"{host}/{repository}:{source}", tag], check=True, capture_output=True
        )
    seconds = time.perf_counter() - began
    control.say(delay=0.0)
    return seconds


class Limited(Connection):
    """A connection to a registry that takes 2,000 writes in any minute, and answers 429 to more."""

    recent: deque[float]
    refused = 0

    async def tag(self, *arguments: Any, **more: Any) -> None:
        """Count, then refuse or carry out."""
        now = self._registry.loop.time()
        while self.recent and self.recent[0] <= now - 60:
            self.recent.popleft()
        if len(self.recent) >= 2000:
            self.refused += 1
            raise RegistryUnavailable("retry-after: 12.5ms, allowed: 2000/minute", status=429)
        self.recent.append(now)
        await super().tag(*arguments, **more)

    def _latency(self) -> float:
        return ROUND_TRIP


def thousand(images: int = 1000) -> tuple[float, int, float]:
    """Virtual seconds without ``settle``, refused requests, and the seconds that the limit allows for the writes."""
    loop = VirtualLoop()
    timing = default_timing("ghcr.io")
    registry = Registry(timing, loop, lambda *_: None, lambda *_: None)
    rng: random.Random = __import__("random").Random(1)
    connection = Limited(registry, Process("bench", rng, CALM))
    connection.recent = deque()
    made = [image(number) for number in range(images)]
    for name, document in made:
        registry.manifests[name, document.manifest.digest] = document.manifest
    driver = driver_for(
        connection,
        jobs=4,
        pace=timing.writes_per_second,
        monotonic=connection.monotonic,
        sleep=connection.sleep,
    )

    async def run() -> float:
        request = request_for(made)
        await driver.prefetch(list(request.contents))
        began = loop.time()
        outcome = await driver.run(release(terms_for(timing), request))
        assert isinstance(outcome, Settled)
        return loop.time() - began - timing.settle

    asyncio.set_event_loop(loop)
    seconds = loop.run_until_complete(run())
    loop.close()
    return seconds, connection.refused, 3 * images / timing.writes_per_second


def main() -> int:
    """Print all figures; 1 if one of them is not what it should be."""
    from tests.e2e.transaction.project import registry
    from tests.real.tools import pinned

    good = True
    with tempfile.TemporaryDirectory() as folder:
        for jobs in (WRITES, GHCR_WRITES):
            with registry(Path(folder) / f"registry-{jobs}", Path(folder) / "log") as control:
                trips, seconds, requests, moves = asyncio.run(over_http(control.host, control, jobs))
                loop = crane_loop(control.host, control, pinned("crane"), moves)
            print(
                f"{len({name for name, _ in moves})} repositories, {len(moves)} tags, {jobs} writes at a time: "
                f"{trips} sequential round trips, {requests} requests, {seconds:.2f} s from the claim's PUT "
                f"(+ settle: 0 s with If-Match, 1.5 s without, 13 s on GHCR); "
                f"crane tag, one by one: {loop:.2f} s, {loop / seconds:.1f}x"
            )
            if jobs == WRITES:
                good = good and trips <= 10 and loop / seconds >= 10
    seconds, refused, allowed = thousand()
    print(
        f"1,000 images x 3 tags under 2,000 writes a minute: {seconds:.1f} s + 13 s settle, {refused} refused; "
        f"the limit allows {allowed:.1f} s, {seconds / allowed:.2f}x"
    )
    good = good and refused == 0 and seconds <= 1.2 * allowed
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
