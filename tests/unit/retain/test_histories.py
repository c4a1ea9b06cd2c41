"""Random histories: after a clean-up exactly what something needs is left, and stopping anywhere breaks nothing."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.retain import oracle
from tests.unit.retain.world import METADATA, World, repository

from shipgraph.channel.journal import Kind, State
from shipgraph.retain.plan import decode_plan, encode_plan
from shipgraph.retain.roots import OutsideRoot

IMAGES = ("base", "app")
CHANNELS = st.sampled_from(["dev", "nightly"])
CONTENTS = st.fixed_dictionaries({image: st.integers(0, 3) for image in IMAGES})
STEPS = st.one_of(
    st.tuples(st.just("release"), CHANNELS, CONTENTS, st.booleans()),
    st.tuples(st.just("revision"), CHANNELS, CONTENTS, st.integers(0, 9)),
    st.tuples(st.just("half"), st.sampled_from([(), ("base",), IMAGES]), CONTENTS),
    st.tuples(st.just("aborted"), CHANNELS, CONTENTS),
    st.tuples(st.just("promote"), st.integers(0, 9)),
    st.tuples(st.just("rollback"), CHANNELS),
    st.tuples(st.just("refresh"), CHANNELS),
    st.tuples(st.just("hand"), st.integers(0, 10_000), st.sampled_from(["mine", "pr-7", "sha-abc-amd64"])),
    st.tuples(st.just("sign"), st.integers(0, 10_000), st.sampled_from([".sig", ".att", ".sbom"])),
    st.tuples(st.just("orphan"), st.integers(0, 10_000)),
    st.tuples(st.just("wait"), st.sampled_from([0.5, 3, 20, 40])),
    st.just(("prune",)),
)


class Teller:
    """Makes a history out of steps."""

    def __init__(self, keep: dict[str, int], default: int) -> None:
        self.world = World(IMAGES)
        self.policy = self.world.policy(keep, default)
        self.number = self.versions = 0

    def tell(self, step: tuple[Any, ...]) -> None:
        world = self.world
        world.now += 60
        match step:
            case "release", channel, contents, proven:
                self.number += 1
                world.release(self.number, channel, contents=contents, payload=channel, proven=proven)
            case "revision", channel, contents, which if self.number:
                number = which % self.number + 1
                revision = 1 + sum(one.commit == f"{number:040x}" for one in world.shipped.values())
                world.release(number, channel, revision=revision, contents=contents, payload=channel)
            case "half", images, contents:
                self.number += 1
                world.begin(self.number, images=images, contents=contents, payload=None)
            case "aborted", channel, contents:
                self.number += 1
                shipped = world.begin(self.number, contents=contents, payload=channel)
                world.finalize(shipped, channel, end=State.ABORTED)
            case "promote", which if whole := sorted(filter(world.is_whole, world.settled)):
                self.versions += 1
                world.promote(whole[which % len(whole)], "prod", f"v1.{self.versions}.0")
            case "rollback", channel if self.heads(channel):
                world.rollback(channel)
            case "refresh", channel if self.heads(channel):
                world.refresh(channel)
            case _:
                self.meddle(step)

    def meddle(self, step: tuple[Any, ...]) -> None:
        """What isn't a release."""
        world = self.world
        match step:
            case "hand", which, tag if world.store:
                place, digest = sorted(world.store)[which % len(world.store)]
                world.tag(place, digest, tag)
            case "sign", which, ending if world.store:
                place, digest = sorted(world.store)[which % len(world.store)]
                world.manifest(place, ("signature", digest), digest.replace(":", "-") + ending)
            case "orphan", which:
                place = repository(IMAGES[which % 2])
                world.refer(place, f"sha256:{which:064x}", "of what was deleted long ago")
            case "wait", days:
                world.wait(days)
            case ("prune",):
                world.apply(world.plan(self.policy))

    def heads(self, channel: str) -> bool:
        entries = self.world.entries
        return bool(entries and channel in entries[-1].heads and entries[-1].heads[channel].releases)


LAST = st.sampled_from([("wait", days) for days in (0, 2, 40, 40)])
HISTORIES = st.tuples(st.lists(STEPS, min_size=6, max_size=40), LAST).map(lambda parts: [*parts[0], parts[1]])
COUNTS = st.fixed_dictionaries({}, optional={"base": st.integers(0, 4), "app": st.integers(0, 4)})


def tell(
    steps: list[tuple[Any, ...]], keep: dict[str, int] | None = None, default: int = 1, *, unsettled: bool = False
) -> World:
    teller = Teller(keep or {}, default)
    for step in steps:
        teller.tell(step)
    if unsettled:
        teller.number += 1
        shipped = teller.world.begin(teller.number)
        teller.world.finalize(shipped, kind=Kind.RELEASE, end=State.OPEN)
        teller.world.wait(40)  # a dead owner
    return teller.world


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(HISTORIES, COUNTS, st.integers(0, 3), st.booleans(), st.lists(st.integers(0, 10_000), max_size=2))
def test_exactly_what_something_needs_is_left(
    steps: list[tuple[Any, ...]], keep: dict[str, int], default: int, unsettled: bool, used: list[int]
) -> None:
    world = tell(steps, keep, default, unsettled=unsettled)
    policy = world.policy(keep, default)
    places = sorted(world.store)
    outside = tuple(OutsideRoot(places[one % len(places)][1]) for one in used if places)
    plan = world.plan(policy, outside)
    assert {(p.repository, f.digest) for p in plan.packages for f in p.versions} == set(world.store)
    wanted = oracle.remains(world, policy, outside)
    left = {(one.repository, one.fate.digest) for one in plan.kept}
    assert left == wanted
    assert decode_plan(encode_plan(plan), where="plan") == plan
    world.apply(plan)
    assert not world.plan(policy, outside).deletions, "a second clean-up finds nothing to do"


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(HISTORIES, st.integers(0, 2), st.floats(0, 1))
def test_stopping_anywhere_leaves_nothing_with_a_part_gone(
    steps: list[tuple[Any, ...]], default: int, share: float
) -> None:
    world = tell(steps, {}, default)
    policy = world.policy({}, default)
    dangling = _dangling(world)
    wanted = oracle.remains(world, policy)
    plan = world.plan(policy)
    world.apply(plan, round(len(plan.deletions) * share))
    assert _dangling(world) <= dangling
    world.apply(world.plan(policy))
    assert set(world.store) == wanted, "the next clean-up goes on to the same end"


def _dangling(world: World) -> set[tuple[str, str, str]]:
    """What needs something that isn't there: an index a child, metadata an image."""
    return {
        (place, digest, needed)
        for (place, digest), stored in world.store.items()
        for where, needed in [
            *((place, child) for child in stored.node.children),
            *((name.repository, name.digest) for name in stored.node.names if not name.repository.startswith("*/")),
        ]
        if (where, needed) not in world.store
    }


def test_the_histories_reach_every_kind_of_step() -> None:
    """A step that is never taken would make the tests above say less than they seem to."""
    world = tell(
        [
            *[("release", "dev", {}, True), ("release", "dev", {}, True), ("rollback", "dev"), ("promote", 0)],
            *[("refresh", "dev"), ("revision", "dev", {}, 0), ("half", ("base",), {}), ("aborted", "dev", {})],
        ],
        unsettled=True,
    )
    kinds = {entry.kind for entry in world.entries}
    states = {entry.state for entry in world.entries}
    assert kinds >= {Kind.RELEASE, Kind.ROLLBACK, Kind.PROMOTE, Kind.REFRESH}
    assert states == set(State)
    assert world.resolve(METADATA, "journal-1")
