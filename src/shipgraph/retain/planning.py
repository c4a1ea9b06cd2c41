"""The plan of a clean-up: everything that was read goes in, and comes out with whether it stays, and why.

1. Tags are read: what forbids to delete a version, and which release it is part of.
2. Everything that needs something else is connected with it.
3. Releases are ranked, and the roots found: what stays for itself.
4. What the roots reach stays. If anything that stays needs a manifest of which nobody knows whether it is there, there
   is no plan: what that manifest needs would seem to be needed by nobody.
5. The rest goes, in an order in which stopping anywhere leaves only garbage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shipgraph.channel.metadata import rfc3339
from shipgraph.errors import ContentUnknown, ForeignJournal
from shipgraph.retain.inventory import UNTIMED
from shipgraph.retain.plan import Fate, PackagePlan, PrunePlan, Reason, ReleaseFate
from shipgraph.retain.reach import WORDS, Reached, connect
from shipgraph.retain.reading import read_tags
from shipgraph.retain.roots import OutsideRoot, RootFinder
from shipgraph.retain.seen import digest_of
from shipgraph.retain.standing import rank_releases
from shipgraph.retain.sweep import find_turns, freed_blobs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from shipgraph.retain.history import History
    from shipgraph.retain.inventory import Inventory
    from shipgraph.retain.policy import Policy
    from shipgraph.retain.standing import Standing

SHOWN: Final = 20
"""Notes of one kind that are written out; the rest is counted."""


def make_plan(
    inventory: Inventory, history: History, policy: Policy, *, now: float, outside: Sequence[OutsideRoot] = ()
) -> PrunePlan:
    """Decide about every version that was read.

    Args:
        inventory: all versions of the policy's repositories, and of others that metadata or open transactions name.
            The metadata's repository is to be listed before the others, so that it names nothing that came after.
        history: every entry of the journal that there is, the newest too.
        now: the registry's time, in seconds since the epoch.
        outside: what is used elsewhere.

    Raises:
        ContentUnknown: a manifest could not be read, the journal is missing, or something that stays needs a manifest
            that wasn't listed and of which the registry didn't say for certain that it isn't there. Whoever lists can
            ask for the error's ``missing``, ``add`` or ``mark_absent`` each, and plan again.
        ForeignJournal: the journal is another project's.
    """
    if inventory.unreadable:
        raise ContentUnknown("manifests could not be read, so what they need is not known", inventory.unreadable)
    if history.newest is not None and history.newest.project != policy.project:
        raise ForeignJournal(
            f"the journal in {policy.metadata} is that of {history.newest.project}, not of {policy.project}",
            hint="give the metadata of each project a repository of its own",
        )
    if history.newest is None and inventory.release:
        raise ContentUnknown(
            f"{policy.metadata} has channel metadata but no journal, so which releases were settled is not known",
            hint="`shipgraph repair --journal` builds it anew from the metadata",
        )
    return _Planner(inventory, history, policy, now, outside).plan()


class _Planner:
    """One plan in the making."""

    def __init__(
        self, inventory: Inventory, history: History, policy: Policy, now: float, outside: Sequence[OutsideRoot]
    ) -> None:
        self.inventory, self.history, self.policy, self.now, self.outside = inventory, history, policy, now, outside
        self.reading = read_tags(inventory, policy, history)
        self.graph = connect(inventory, self.reading)
        self.standings = rank_releases(inventory, self.reading, self.graph, history, policy)
        self.roots = RootFinder(inventory, self.reading, policy, now).find(history, self.standings, outside)
        self.reached = Reached(self.graph)
        self.turns: Sequence[int] = ()
        self.labels: dict[int, str] = {}

    def plan(self) -> PrunePlan:
        self.reached.extend(self.roots.reasons)
        self.keep_last_tagged()
        broken = self.check_known()
        self.turns = find_turns(self.graph, self.reached.stays)
        freed = freed_blobs(self.inventory, self.reached.stays)
        numbers: list[list[int]] = [[] for _ in self.inventory.repositories]
        for number, place in enumerate(self.inventory.repository):
            numbers[place].append(number)
        packages = [
            PackagePlan(repository=name, versions=self.fates(numbers[place]), freed=freed[place])
            for place, name in enumerate(self.inventory.repositories)
            if numbers[place]
        ]
        return PrunePlan(
            project=self.policy.project,
            registry=self.policy.registry,
            made_at=rfc3339(self.now),
            policy=self.policy.digest,
            seen=digest_of(self.inventory, self.history, self.outside),
            rules=self.policy.rules,
            packages=tuple(sorted(packages, key=lambda package: package.repository)),
            releases=tuple(map(self.release, self.standings)),
            notes=tuple(self.notes(broken)),
        )

    def keep_last_tagged(self) -> None:
        """GitHub refuses to delete the last tagged version of a package: so it stays by plan, with what it needs."""
        inventory, stays = self.inventory, self.reached.stays
        attached = {number for number, _ in self.reading.attached}  # a release says more to people than a signature
        while True:
            newest: dict[int, tuple[bool, float, str, int]] = {}
            safe: set[int] = set()
            for number, tags in enumerate(inventory.tags):
                place = inventory.repository[number]
                if stays[number] and tags:
                    safe.add(place)
                elif tags and place not in safe:
                    age = max(inventory.created[number], inventory.updated[number])
                    mine = (number not in attached, age, inventory.digests[inventory.digest[number]], number)
                    newest[place] = max(newest.get(place, mine), mine)
            bare = [place for place in newest if place not in safe]
            if not bare:
                return
            # One at a time, the metadata's first: what it needs are tagged versions of the others.
            place = min(bare, key=lambda one: (inventory.repositories[one] != self.policy.metadata, one))
            self.roots.reasons[newest[place][-1]] = (Reason.LAST, inventory.repositories[place])
            self.reached.extend([newest[place][-1]])

    def check_known(self) -> list[str]:
        """What stays and lacks something that is gone for certain.

        Raises:
            ContentUnknown: what stays needs something of which that isn't known.
        """
        inventory = self.inventory
        unknown = list(self.roots.unknown)
        gone = list(self.roots.gone)
        for number, wanted in self.graph.missing.items():
            if self.reached.stays[number]:
                for place, digest in wanted:
                    name, text = inventory.repositories[place], inventory.digests[digest]
                    where = gone if inventory.is_absent(name, text) else unknown
                    where.append((name, text, self.label(number)))
        if unknown:
            raise ContentUnknown(
                "something that stays needs manifests that were not listed, and of which nobody knows whether they are"
                " there",
                [f"{name}@{digest}, needed by {by}" for name, digest, by in unknown],
                missing=tuple(dict.fromkeys((name, digest) for name, digest, _ in unknown)),
                hint="list the registry again: it may have been read while a release was under way",
            )
        return [f"{by} needs {name}@{digest}, which is not in the registry any more" for name, digest, by in gone]

    def fates(self, numbers: list[int]) -> tuple[Fate, ...]:
        """What becomes of the versions of one repository, the newest first."""
        inventory = self.inventory
        created, digest, digests = inventory.created, inventory.digest, inventory.digests
        numbers.sort(key=lambda number: (-created[number], digests[digest[number]]))
        return tuple(map(self.fate, numbers))

    def fate(self, number: int) -> Fate:
        inventory = self.inventory
        reason, because = self.why(number)
        created, updated, identifier = inventory.created[number], inventory.updated[number], inventory.id[number]
        return Fate(
            digest=inventory.digests[inventory.digest[number]],
            reason=reason,
            because=because,
            turn=self.turns[number],
            tags=inventory.tags[number],
            id=None if identifier < 0 else identifier,
            created_at=None if created == UNTIMED else created,
            updated_at=None if updated == UNTIMED else updated,
            size=inventory.size[number],
        )

    def why(self, number: int) -> tuple[Reason, str]:
        """Why a version stays or goes."""
        root = self.roots.reasons.get(number)
        if root is not None:
            return root
        via = self.reached.because(number)
        if via is not None:
            return Reason.REACHED, f"{WORDS[via[1]]} {self.label(via[0])}"
        reading = self.reading
        if number in reading.records:
            return Reason.RECORD, reading.records[number]
        releases = reading.releases_of.get(number)
        if releases:
            settled = [one for one in releases if one in self.history.releases]
            if settled:
                return Reason.OLD, max(settled, key=lambda one: self.history.releases[one].order)
            return Reason.ABANDONED, releases[0]
        if number in reading.disposable:
            return Reason.DISPOSABLE, reading.disposable[number]
        return Reason.UNREACHED, ""

    def label(self, number: int) -> str:
        """A version for people, by a tag if it has one."""
        label = self.labels.get(number)
        if label is None:
            inventory = self.inventory
            tags = inventory.tags[number]
            name = inventory.repositories[inventory.repository[number]]
            label = f"{name}:{tags[0]}" if tags else inventory.name(number)
            self.labels[number] = label
        return label

    def release(self, standing: Standing) -> ReleaseFate:
        """What becomes of a release."""
        inventory, stays = self.inventory, self.reached.stays
        settled = standing.settled
        kept = set(standing.kept)
        documents = self.reading.metadata.get(settled.immutable_tag, [])
        if any(stays[document] for document in documents):
            whole = [*documents, *self.reading.members.get(settled.immutable_tag, ())]
            kept.update(inventory.repositories[inventory.repository[number]] for number in whole if stays[number])
        return ReleaseFate(
            immutable_tag=settled.immutable_tag,
            names=tuple(sorted(settled.names)),
            settled_at=settled.at,
            rank=standing.rank,
            lacks=standing.lacks,
            kept=tuple(sorted(kept)),
        )

    def notes(self, broken: list[str]) -> Iterator[str]:
        """What somebody should look at."""
        for low, high in self.history.missing:
            yield f"the journal's entries {low} to {high} are missing; what they alone tell of stays"
        lacking = [
            f"release {one.settled.immutable_tag} doesn't count, since it lacks {one.lacks}"
            for one in self.standings
            if one.lacks
        ]
        yield from _capped(lacking)
        yield from _capped(broken)
        listed = {self.inventory.repositories[place] for place in set(self.inventory.repository)}
        for name in sorted(listed - self.policy.roles.keys()):
            yield f"nothing goes in {name}: it is no image's repository, and not in [retired]"
        known = set(self.inventory.digest)
        lost = [str(root) for root in self.outside if self.inventory.digest_number(root.digest) not in known]
        yield from _capped([f"{root} is used outside, and is not in the registry" for root in lost])


def _capped(notes: list[str]) -> Iterator[str]:
    yield from notes[:SHOWN]
    if len(notes) > SHOWN:
        yield f"… and {len(notes) - SHOWN} more of these"
