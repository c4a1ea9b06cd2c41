"""A batch of a clean-up is a transaction that moves nothing: claimed, written down before it is done, and exclusive."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.promote.test_adoption import LONG, driver
from tests.unit.promote.test_protocol import whole
from tests.unit.promote.world import META, WITH_IF_MATCH, WITHOUT_IF_MATCH, World

from shipgraph.channel.journal import JOURNAL, Batch, Kind, Removal, State
from shipgraph.errors import ChannelBusy
from shipgraph.promote.adoption import adopt_open
from shipgraph.promote.cleaning import plan_batch
from shipgraph.promote.protocol import Settled, Unchanged, transact

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shipgraph.promote.terms import Terms
    from shipgraph.promote.timing import Timing

pytestmark = pytest.mark.anyio
GONE = Removal(repository="acme/app", digest="sha256:" + "0" * 64, tags=("sha-1",), id=7)
BATCH = Batch(run="clean-1", removals=(GONE,))


@pytest.fixture(params=[WITH_IF_MATCH, WITHOUT_IF_MATCH], ids=["if-match", "settle"])
def world(request: pytest.FixtureRequest) -> World:
    timing: Timing = request.param
    return World(timing=timing)


async def clean(
    world: World, work: Callable[[float], Awaitable[bool]], *, since: Any = None, terms: Terms | None = None
) -> Settled | Unchanged:
    if since is None:
        found = await world.store.resolve(META, JOURNAL)
        since = None if found is None else found.digest
    terms = terms or world.terms()
    rules = transact(terms, partial(plan_batch, terms, BATCH, since, 50.0))
    return await driver(world, work=work).run(rules)


async def nothing(deadline: float) -> bool:
    return False


async def test_what_is_about_to_be_deleted_stands_in_the_open_journal_before_it_is(world: World) -> None:
    await world.ship(await world.release(1))
    seen: list[object] = []

    async def work(deadline: float) -> bool:
        entry = await world.journal()
        seen.extend([entry.state, entry.kind, entry.batch, deadline > world.clock.seconds])
        return False

    assert isinstance(await clean(world, work), Settled)
    assert seen == [State.OPEN, Kind.PRUNE, BATCH, True]
    entry = await world.journal()
    assert (entry.state, entry.batch) == (State.SETTLED, BATCH)
    assert (await whole(world)).endswith("1")


async def test_nobody_releases_while_something_is_deleted(world: World) -> None:
    await world.ship(await world.release(1))

    async def work(deadline: float) -> bool:
        with pytest.raises(ChannelBusy):
            await world.ship(await world.release(2))
        return False

    assert isinstance(await clean(world, work), Settled)
    await world.ship(await world.release(2))
    assert (await whole(world)).endswith("2")


async def test_nothing_is_deleted_once_somebody_has_decided_something_since(world: World) -> None:
    await world.ship(await world.release(1))
    found = await world.store.resolve(META, JOURNAL)
    assert found is not None
    await world.ship(await world.release(2))
    worked: list[float] = []

    async def work(deadline: float) -> bool:
        worked.append(deadline)
        return False

    assert isinstance(await clean(world, work, since=found.digest), Unchanged)
    assert worked == []


async def test_a_clean_ups_own_batches_are_no_decisions(world: World) -> None:
    await world.ship(await world.release(1))
    found = await world.store.resolve(META, JOURNAL)
    assert found is not None
    terms = world.terms()
    for _ in range(3):
        assert isinstance(await clean(world, nothing, since=found.digest, terms=terms), Settled)
    assert isinstance(await clean(world, nothing, since=found.digest), Unchanged)


async def test_a_request_that_may_still_land_is_waited_for_before_the_journal_is_closed(world: World) -> None:
    await world.ship(await world.release(1))

    async def work(deadline: float) -> bool:
        began.append(world.clock.seconds)
        return True

    began: list[float] = []
    await clean(world, work)
    assert world.clock.seconds - began[0] >= world.timing.margin


async def test_whoever_finds_a_dead_clean_up_ends_it_and_its_deletions_stay_known(world: World) -> None:
    await world.ship(await world.release(1))

    class Dies(Exception):
        pass

    async def work(deadline: float) -> bool:
        raise Dies

    with pytest.raises(Dies):
        await clean(world, work)
    assert (await world.journal()).state is State.OPEN
    world.clock.seconds += LONG
    assert await driver(world).run(adopt_open(world.terms())) is State.ABORTED
    assert (await world.journal()).batch == BATCH
    await world.ship(await world.release(2))
    assert (await whole(world)).endswith("2")
