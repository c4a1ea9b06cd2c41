"""Who may end another's transaction, how, and what the driver makes of a registry's answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.promote.test_protocol import Dead, Saboteur, whole
from tests.unit.promote.world import IMAGES, META, WITH_IF_MATCH, WITHOUT_IF_MATCH, World

from shipgraph.channel.journal import Owner, State
from shipgraph.errors import ChannelBusy, ImmutableTagConflict, RegistryUnavailable, Stopped
from shipgraph.events import silent
from shipgraph.promote.actions import Declined, Landed, NotSent, Put, PutTags, Throttled, Unknown
from shipgraph.promote.adoption import adopt_open
from shipgraph.promote.driver import Driver
from shipgraph.promote.protocol import Settled, transact
from shipgraph.promote.recovery import plan_untag

if TYPE_CHECKING:
    from shipgraph.promote.timing import Timing
    from shipgraph.store.protocols import Store

pytestmark = pytest.mark.anyio
LONG = 10_000.0


@pytest.fixture(params=[WITH_IF_MATCH, WITHOUT_IF_MATCH], ids=["if-match", "settle"])
def world(request: pytest.FixtureRequest) -> World:
    timing: Timing = request.param
    return World(timing=timing)


def driver(world: World, *, store: Store | None = None, **more: Any) -> Driver:
    return Driver(store or world.store, META, emit=silent, monotonic=world.clock, sleep=world.clock.sleep, **more)


async def killed_at(world: World, put: int) -> None:
    await world.ship(await world.release(1))
    with pytest.raises(Dead):
        await world.ship(await world.release(2), store=Saboteur(world.store, {put: "die-after"}))


async def test_an_owner_that_is_proven_alive_is_left_alone(world: World) -> None:
    await killed_at(world, 5)
    world.clock.seconds += LONG
    asked: list[Owner] = []

    async def alive(owner: Owner) -> bool:
        asked.append(owner)
        return len(asked) < 3

    assert await driver(world, alive=alive).run(adopt_open(world.terms())) is State.SETTLED
    assert [owner.run for owner in asked] == ["run-2"] * 3


async def test_nothing_proves_a_dead_one_dead_before_its_lease_is_over(world: World) -> None:
    await killed_at(world, 5)
    with pytest.raises(ChannelBusy):
        await world.ship(await world.release(3))
    before = world.clock.seconds
    assert await driver(world).run(adopt_open(world.terms())) is State.SETTLED
    assert world.clock.seconds - before >= world.timing.lease(5)


@pytest.mark.parametrize("put", range(1, 11))
async def test_abort_goes_back_unless_it_was_committed(world: World, put: int) -> None:
    await killed_at(world, put)
    committed = await world.store.resolve(META, "dev")
    world.clock.seconds += LONG
    state = await driver(world).run(adopt_open(world.terms(), abort=True))
    assert committed is not None
    serial = (await world.journal()).head("dev").releases[0].serial
    assert (state, serial) in ((State.ABORTED, 1), (State.SETTLED, 2), (None, 2))
    assert (await whole(world)).endswith(str(serial))


async def test_stopping_while_waiting_for_an_owner_changes_nothing(world: World) -> None:
    await killed_at(world, 5)
    with pytest.raises(Stopped):
        await driver(world, stop=lambda: True).run(adopt_open(world.terms()))
    assert (await world.journal()).state is State.OPEN


async def test_a_claim_that_landed_on_a_journal_which_had_gone_on_is_not_believed() -> None:
    """The second writer reads the journal; the third one publishes; only then the second one's claim lands.

    A registry with If-Match refuses such a claim, so this one has none.
    """
    world = World(timing=WITHOUT_IF_MATCH)
    await world.ship(await world.release(1))
    late: list[Any] = []

    class Late(Saboteur):
        async def tag(self, repository: str, tag: str, manifest: Any, **more: Any) -> None:
            late.append((repository, tag, manifest))
            raise Dead

    with pytest.raises(Dead):
        await world.ship(await world.release(2), store=Late(world.store, {}))
    await world.ship(await world.release(3))
    ((repository, tag, manifest),) = late
    await world.store.tag(repository, tag, manifest)
    assert (await world.journal()).state is State.OPEN
    world.clock.seconds += LONG
    assert await driver(world).run(adopt_open(world.terms())) is State.SETTLED
    assert (await whole(world)).endswith("3")
    high = (await world.journal()).head("dev").high_water
    assert high
    assert int(high.commit, 16) == 3


async def test_a_taken_serial_tag_is_never_overwritten_and_the_next_one_is_free(world: World) -> None:
    await world.ship(await world.release(1))
    stranger = await world.store.resolve(META, "journal")
    assert stranger is not None
    await world.store.tag(META, "dev-2", await world.store.manifest(META, stranger.digest))
    with pytest.raises(ImmutableTagConflict):
        await world.ship(await world.release(2))
    outcome = await world.ship(await world.release(2))
    assert isinstance(outcome, Settled)
    assert outcome.serial == 3


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (None, Landed),
        (RegistryUnavailable("too many", status=429), Throttled),
        (RegistryUnavailable("secondary rate limit", status=403), Throttled),
        (RegistryUnavailable("bad gateway", status=502), Unknown),
        (RegistryUnavailable("cut"), Unknown),
        (ImmutableTagConflict("a", "b", there="c", ours="d"), Declined),
    ],
)
async def test_what_an_answer_means(world: World, error: Exception | None, answer: type) -> None:
    request = await world.release(1)

    class Answers(Saboteur):
        async def tag(self, repository: str, tag: str, manifest: Any, **more: Any) -> None:
            if error is not None:
                raise error

    put = Put(IMAGES[0], "dev", request.contents[0][1])

    def rules(deadline: float) -> Any:
        return (yield PutTags((put,), deadline))

    answers = driver(world, store=Answers(world.store, {}))
    (found,) = await answers.run(rules(world.clock.seconds + 100))
    assert isinstance(found, answer)
    (late,) = await answers.run(rules(world.clock.seconds))
    assert isinstance(late, NotSent)


async def test_a_put_that_hangs_is_given_up_at_the_deadline(world: World) -> None:
    import anyio

    request = await world.release(1)

    class Hangs(Saboteur):
        async def tag(self, *arguments: Any, **more: Any) -> None:
            await anyio.sleep_forever()

    def rules() -> Any:
        return (yield PutTags((Put(IMAGES[0], "dev", request.contents[0][1]),), world.clock.seconds + 0.05))

    (found,) = await driver(world, store=Hangs(world.store, {})).run(rules())
    assert isinstance(found, Unknown)


async def test_writes_are_paced(world: World) -> None:
    request = await world.release(1)
    puts = tuple(Put(name, f"t{n}", digest) for n in range(4) for name, digest in request.contents)

    def rules() -> Any:
        return (yield PutTags(puts, world.clock.seconds + 100))

    began = world.clock.seconds
    answers = await driver(world, pace=10).run(rules())
    assert all(isinstance(answer, Landed) for answer in answers)
    assert world.clock.seconds - began >= (len(puts) - 1) / 10 - 1e-3


async def test_untagging_is_a_transaction(world: World) -> None:
    await world.ship(await world.release(1))
    removed: list[tuple[str, str]] = []

    class Fake:
        async def check(self, repository: str) -> None:
            raise AssertionError

        async def remove(self, repository: str, tag: str) -> None:
            assert (await world.journal()).state is State.OPEN
            removed.append((repository, tag))

    left = ((IMAGES[0], "prod"),)
    outcome = await driver(world, untagger=Fake()).run(
        transact(world.terms(), lambda seen: plan_untag(left, "dev", seen))
    )
    assert isinstance(outcome, Settled)
    assert removed == list(left)
    assert (await world.journal()).state is State.SETTLED
    assert (await whole(world)).endswith("1")
