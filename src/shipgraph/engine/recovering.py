"""Going back and mending: rollback, the end of a hold, refresh, resume, repair; each under the transaction's rules."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from shipgraph.channel.journal import JOURNAL, JOURNAL_TYPE, JournalEntry, State, decode_entry
from shipgraph.channel.metadata import (
    ChannelMetadata,
    decode_metadata,
    encode_metadata,
    expiry,
    rfc3339,
    serial_tag,
)
from shipgraph.engine.opening import GitAncestry, owner
from shipgraph.engine.untagging import RegistryUntagger
from shipgraph.errors import ConfigurationError, Conflict, ContentError, RegistryError
from shipgraph.github.untagging import is_marker
from shipgraph.oci.digest import Digest
from shipgraph.promote.actions import JournalSeen, Renewed
from shipgraph.promote.adoption import adopt_lost, adopt_open
from shipgraph.promote.driver import Driver, Liveness, Untagger, nobody_knows
from shipgraph.promote.order import Standing, compare
from shipgraph.promote.protocol import Plan, Settled, Unchanged, transact
from shipgraph.promote.rebuild import Found, head_release, numbers, rebuild_head, serials
from shipgraph.promote.recovery import (
    Rollback,
    named_digests,
    plan_rebuild,
    plan_refresh,
    plan_repair,
    plan_rollback,
    plan_unhold,
    plan_untag,
)
from shipgraph.promote.releases import mark_of
from shipgraph.promote.terms import Terms
from shipgraph.records.document import push_document, read_document
from shipgraph.tasks import gather

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shipgraph.channel.journal import ChannelHead, Mark
    from shipgraph.engine.finalizing import Transacting
    from shipgraph.events import Emit
    from shipgraph.oci.manifest import ImageManifest
    from shipgraph.project.release import Release
    from shipgraph.promote.timing import Timing
    from shipgraph.store.protocols import Store

SignRenewed: TypeAlias = "Callable[[ChannelMetadata, ImageManifest, Digest], Awaitable[None]]"
"""Signs metadata that was made anew, given the digest of what it repeats: that has to be believed first."""
LOOK_BACK = 100
"""So many journal entries are searched for left-over tags."""


@dataclass(frozen=True, slots=True)
class Mended:
    """A tag that `repair` put back: what it was, which release that belongs to as far as anybody knows, what it is."""

    repository: str
    tag: str
    was: str | None
    belongs_to: str
    now: str

    def __str__(self) -> str:
        was = self.was or "absent"
        belongs = f" ({self.belongs_to})" if self.belongs_to else ""
        return f"{self.repository}:{self.tag} was {was}{belongs}, the metadata says {self.now}"


class Recovery:
    """Carries out recovery commands of one project on one registry."""

    def __init__(
        self,
        view: Release,
        store: Store,
        timing: Timing,
        transacting: Transacting,
        *,
        emit: Emit,
        alive: Liveness = nobody_knows,
        untagger: Untagger | None = None,
        sign: SignRenewed | None = None,
    ) -> None:
        self._view, self._store, self._timing = view, store, timing
        self._transacting, self._emit, self._alive = transacting, emit, alive
        self._untagger = untagger or RegistryUntagger(store)
        self._sign = sign
        self._repository = view.metadata_repository
        self._type = view.project.metadata.artifact_type

    async def rollback(self, wish: Rollback) -> Settled | Unchanged:
        """Move a channel back to an earlier release.

        Raises:
            Conflict: there is none, or the journal is busy; nothing moved.
            Refused, TransactionUnfinished, RegistryError: see ``transact``.
        """
        self._check_channel(wish.channel)
        return await self._transact(partial(plan_rollback, wish))

    async def unhold(self, channel: str) -> Settled | Unchanged:
        """Let a channel take releases again. Raises what ``rollback`` raises."""
        self._check_channel(channel)
        return await self._transact(partial(plan_unhold, channel))

    async def refresh(self, channel: str) -> Settled | Unchanged:
        """Sign a channel's metadata anew. Raises what ``rollback`` raises."""
        self._check_channel(channel)
        return await self._transact(partial(plan_refresh, self._terms(), channel))

    async def resume(self, *, abort: bool = False) -> State | None:
        """End whatever transaction is open in the journal, once its owner is dead; None if none is open.

        Raises:
            ForeignJournal, RegistryError, Stopped
            TransactionUnfinished: a move was refused, or the lease is over.
        """
        with self._transacting.protected():
            return await self._driver().run(adopt_open(self._terms(), abort=abort))

    async def repair(self) -> list[Mended]:
        """Put every channel's tags back to what the metadata says. Raises what ``rollback`` raises."""
        mended: list[Mended] = []
        for channel in self._view.project.channels:
            outcome = await self._transact(partial(plan_repair, self._terms(), channel))
            if isinstance(outcome, Settled):
                known = await self._known_digests()
                mended.extend(
                    Mended(move.repository, move.tag, move.before, known.get(move.before or "", ""), move.after)
                    for move in outcome.moves
                )
        return mended

    async def repair_journal(self) -> State | None:
        """Build a lost journal anew; None if it is there.

        The last entry that has a tag of its own counts; where there is none, the metadata under ``<channel>-<serial>``.

        Raises:
            Conflict: there is nothing to build it from, or another writer was faster.
        """
        names = await self._store.tags(self._repository)
        if JOURNAL in names:
            return None
        base = JournalSeen(None, None)
        for number in sorted(numbers(names), reverse=True)[:1]:
            base = await self._entry(f"{JOURNAL}-{number}")
        terms = self._terms()
        if base.entry is not None and base.entry.state is State.OPEN:
            with self._transacting.protected():
                state = await self._driver().run(adopt_lost(terms, base))
            if state is None:
                raise Conflict("another writer claimed the journal first", hint="run the same command again")
            return state
        heads = {} if base.entry is not None else await self._heads(names)
        if base.entry is None and not heads:
            raise Conflict(f"{self._repository} holds no metadata that a journal could be built from")
        await self._transact(partial(plan_rebuild, terms, base, heads), lost=True)
        return State.SETTLED

    async def untag(self) -> list[tuple[str, str]]:
        """Remove the tags that aborted transactions left over; which were removed.

        Raises:
            RegistryError: the registry can't, or there is no right to.
        """
        found = await self._left_over()
        for repository in dict.fromkeys(repository for repository, _ in found):
            await self._untagger.check(repository)
        await self._transact(partial(plan_untag, tuple(found), next(iter(self._view.project.channels))))
        return found

    async def read_metadata(self, digest: Digest) -> ChannelMetadata:
        """A channel's metadata, by digest.

        Raises:
            RegistryError, ContentError
        """
        document = await read_document(self._store, self._repository, digest, self._type)
        return decode_metadata(document.content, where=f"{self._repository}@{digest}")

    # --- inside -------------------------------------------------------------------------------------------------

    def _check_channel(self, channel: str) -> None:
        if channel not in self._view.project.channels:
            raise ConfigurationError(f"there is no channel {channel!r}", allowed=", ".join(self._view.project.channels))

    def _terms(self) -> Terms:
        return Terms.of(self._view, owner(), self._timing, wait=self._transacting.wishes.wait)

    def _driver(self) -> Driver:
        return Driver(
            self._store,
            self._repository,
            make_metadata=self._renew,
            emit=self._emit,
            jobs=self._transacting.jobs,
            stop=self._transacting.stop,
            alive=self._alive,
            untagger=self._untagger,
            metadata_type=self._type,
            pace=self._timing.writes_per_second if self._timing.paced else None,
        )

    async def _transact(self, plan: Plan, *, lost: bool = False) -> Settled | Unchanged:
        with self._transacting.protected():
            return await self._driver().run(transact(self._terms(), plan, lost=lost))

    async def _renew(
        self,
        serial: int,
        at: float,
        moving_tags: tuple[str, ...],  # noqa: ARG002 (the release's own stay)
        renews: Renewed | None,
    ) -> Digest:
        assert renews is not None  # noqa: S101 (nothing here makes a new release)
        lifetime = timedelta(seconds=self._view.project.metadata.expires_after)
        metadata = msgspec.structs.replace(
            renews.metadata, serial=serial, generated_at=rfc3339(at), expires_at=expiry(at, lifetime)
        )
        document = encode_metadata(metadata, self._type, source=self._view.source)
        await push_document(self._store, self._repository, document)
        if self._sign is not None:
            await self._sign(metadata, document.manifest, renews.digest)
        return document.manifest.digest

    async def _entry(self, tag: str) -> JournalSeen:
        found = await self._store.resolve(self._repository, tag)
        if found is None:
            return JournalSeen(None, None)
        return JournalSeen(found.digest, await self._decode_entry(found.digest))

    async def _decode_entry(self, digest: Digest) -> JournalEntry:
        document = await read_document(self._store, self._repository, digest, JOURNAL_TYPE)
        return decode_entry(document.content, where=f"{self._repository}@{digest}")

    async def _heads(self, names: list[str]) -> dict[str, ChannelHead]:
        heads: dict[str, ChannelHead] = {}
        for channel in self._view.project.channels:
            found = [await self._tagged(serial_tag(channel, serial)) for serial in serials(names, channel)]
            metadata = [one for one in found if one is not None]
            current = await self._store.resolve(self._repository, channel)
            if metadata:
                mark = await self._highest(channel, [mark_of(head_release(one)) for one in metadata])
                heads[channel] = rebuild_head(metadata, None if current is None else current.digest, mark)
        return heads

    async def _tagged(self, tag: str) -> Found | None:
        there = await self._store.resolve(self._repository, tag)
        return None if there is None else Found(there.digest, await self.read_metadata(there.digest))

    async def _highest(self, channel: str, marks: list[Mark]) -> Mark:
        spec = self._view.project.channels[channel]
        parse = spec.parse_version if spec.takes_versions else None
        ancestry = GitAncestry(self._view.project.folder)
        highest = marks[0]
        for mark in marks[1:]:
            if await compare(mark, highest, parse=parse, ancestry=ancestry) is Standing.AHEAD:
                highest = mark
        return highest

    async def _known_digests(self) -> dict[str, str]:
        """Which release every digest belongs to that the journal's releases name."""
        seen = await self._entry(JOURNAL)
        known: dict[str, str] = {}
        for channel, head in (seen.entry.heads if seen.entry else {}).items():
            for release in (*head.undone, *head.releases[::-1]):
                name = f"{channel} {release.version}, serial {release.serial}, {release.immutable_tag}"
                known[release.metadata] = name
                with suppress(RegistryError, ContentError):
                    metadata = await self.read_metadata(Digest.parse(release.metadata))
                    known.update((str(digest), name) for _, digest in named_digests(metadata))
        return known

    async def _left_over(self) -> list[tuple[str, str]]:
        """Tags that an aborted transaction made and could not take back, and that nothing has used since."""
        found: dict[tuple[str, str], str] = {}
        used: set[tuple[str, str]] = set()
        entry = (await self._entry(JOURNAL)).entry
        for _ in range(LOOK_BACK):
            if entry is None:
                break
            for move in entry.moves:
                tag = (move.repository, move.tag)
                if entry.state is State.ABORTED and move.before is None and tag not in used:
                    found.setdefault(tag, move.after)
                elif entry.state is State.SETTLED:
                    used.add(tag)
            entry = None if entry.previous is None else await self._decode_entry(Digest.parse(entry.previous))
        there = await gather([partial(self._store.resolve, *tag) for tag in found])
        return [
            tag
            for (tag, after), now in zip(found.items(), there, strict=True)
            # the marker of a removal that died half-way is as good as what the transaction left
            if now and (str(now.digest) == after or await is_marker(self._store, tag[0], now.digest))
        ]
