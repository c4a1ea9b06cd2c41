"""A small world for the transaction: a store in memory, a virtual clock, and releases made of one-layer images."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shipgraph.channel.journal import JOURNAL, JOURNAL_TYPE, HeadRelease, JournalEntry, Kind, Mark, Owner, decode_entry
from shipgraph.events import silent
from shipgraph.project.versions import Version
from shipgraph.promote.driver import Driver
from shipgraph.promote.order import Standing, compare
from shipgraph.promote.protocol import Settled, Target, Unchanged
from shipgraph.promote.releases import Request, release
from shipgraph.promote.terms import Terms
from shipgraph.promote.timing import Timing
from shipgraph.records.document import build_document, push_document, read_document
from shipgraph.records.sets import immutable_tag
from shipgraph.store.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shipgraph.oci.digest import Digest
    from shipgraph.store.protocols import Store

META = "acme/app-metadata"
IMAGES = ("acme/app-base", "acme/app", "acme/app-tool")
WITHOUT_IF_MATCH = Timing(lag=0, gap=1, settle=1.5, margin=5)
WITH_IF_MATCH = Timing(lag=0, gap=1, settle=1.5, margin=5, conditional=True)


@dataclass
class Clock:
    """Virtual time; sleeping moves it."""

    seconds: float = 1_700_000_000.0
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds


@dataclass
class World:
    """Commits are numbers on one line of history: a higher one descends from a lower one."""

    clock: Clock = field(default_factory=Clock)
    timing: Timing = WITH_IF_MATCH
    owners: int = 0

    def __post_init__(self) -> None:
        self.store: Store = MemoryStore(clock=self.clock)

    async def release(
        self, number: int, *, channel: str = "dev", version: str | None = None, revision: int = 1
    ) -> Request:
        commit = f"{number:040x}"
        targets: list[Target] = []
        contents: list[tuple[str, Digest]] = []
        for name in IMAGES:
            document = build_document("application/vnd.test.v1+json", {"image": name, "n": number}, title="x")
            await push_document(self.store, name, document)
            digest = document.manifest.digest
            contents.append((name, digest))
            targets.append(Target(name, channel, digest))
            if version:
                targets.append(Target(name, version, digest, own=True))
        return Request(
            kind=Kind.RELEASE,
            channel=channel,
            release=HeadRelease(
                immutable_tag=immutable_tag(commit, revision),
                version=version or channel,
                commit=commit,
                revision=revision,
                serial=0,
                metadata="",
                settled_at="",
            ),
            targets=tuple(targets),
            contents=tuple(contents),
            version_tag=version,
        )

    def terms(self, *, project: str = "app", wait: bool = False) -> Terms:
        self.owners += 1
        owner = Owner(run=f"run-{self.owners}", attempt=1, nonce=f"{self.owners:032x}")
        return Terms(project, META, ("dev", "prod"), owner, self.timing, wait=wait)

    def driver(self, request: Request, *, store: Store | None = None) -> Driver:
        async def make(serial: int, at: float, moving_tags: Sequence[str], renews: object) -> Digest:
            value = {"release": request.release.immutable_tag, "serial": serial, "tags": list(moving_tags), "at": at}
            document = build_document("application/vnd.test.metadata.v1+json", value, title="channels.json")
            await push_document(self.store, META, document)
            return document.manifest.digest

        async def ancestry(commit: str, other: str) -> Standing:
            return Standing.AHEAD if int(commit, 16) > int(other, 16) else Standing.BEHIND

        async def judge(mark: Mark) -> Standing:
            parse = Version.parse if request.version_tag is not None else None
            return await compare(request.mark, mark, parse=parse, ancestry=ancestry)

        return Driver(
            store or self.store,
            META,
            make_metadata=make,
            compare=judge,
            emit=silent,
            monotonic=self.clock,
            sleep=self.clock.sleep,
        )

    async def ship(
        self, request: Request, *, store: Store | None = None, terms: Terms | None = None
    ) -> Settled | Unchanged:
        return await self.driver(request, store=store).run(release(terms or self.terms(), request))

    async def journal(self) -> JournalEntry:
        found = await self.store.resolve(META, JOURNAL)
        assert found is not None
        document = await read_document(self.store, META, found.digest, JOURNAL_TYPE)
        return decode_entry(document.content, where="journal")

    async def tags(self, tag: str) -> list[str | None]:
        """Where every image's tag points, as the number that is in the image."""
        out: list[str | None] = []
        for name in IMAGES:
            found = await self.store.resolve(name, tag)
            out.append(None if found is None else str(found.digest))
        return out
