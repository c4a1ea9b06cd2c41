"""The transaction's straight path, refusals, going back and adoption, over a store in memory on a virtual clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.promote.world import IMAGES, META, WITH_IF_MATCH, WITHOUT_IF_MATCH, World

from shipgraph.channel.journal import State
from shipgraph.errors import (
    ChannelAhead,
    ChannelBusy,
    Denied,
    ForeignJournal,
    Refused,
    RegistryUnavailable,
    TagMoved,
    TransactionRefused,
    TransactionUnfinished,
)
from shipgraph.promote.protocol import Settled, Unchanged

if TYPE_CHECKING:
    from shipgraph.oci.manifest import ImageIndex, ImageManifest
    from shipgraph.promote.timing import Timing
    from shipgraph.store.protocols import Store

pytestmark = pytest.mark.anyio


class Dead(BaseException):
    """The process was killed."""


class Saboteur:
    """Passes everything on to a store; ``plan`` maps the n-th tag PUT (from 1) to what happens to it."""

    def __init__(self, inner: Store, plan: dict[int, Any]) -> None:
        self._inner, self._plan, self.puts = inner, plan, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def tag(self, repository: str, tag: str, manifest: ImageManifest | ImageIndex, **more: Any) -> None:
        self.puts += 1
        action = self._plan.get(self.puts)
        if action == "refuse":
            raise Denied("no right", method="PUT", url=f"/{repository}/{tag}", status=403)
        if action == "die-before":
            raise Dead
        if action == "lose-before":
            raise RegistryUnavailable("cut before")
        await self._inner.tag(repository, tag, manifest, **more)
        if action == "die-after":
            raise Dead
        if action == "lose-after":
            raise RegistryUnavailable("cut after")


@pytest.fixture(params=[WITH_IF_MATCH, WITHOUT_IF_MATCH], ids=["if-match", "settle"])
def world(request: pytest.FixtureRequest) -> World:
    timing: Timing = request.param
    return World(timing=timing)


async def whole(world: World) -> str:
    """All image tags, the metadata and the journal agree; the release that they agree on."""
    entry = await world.journal()
    release = entry.head("dev").releases[0]
    request = await world.release(int(release.commit, 16))
    assert await world.tags("dev") == [str(target.digest) for target in request.targets]
    for tag in ("dev", "channels"):
        found = await world.store.resolve(META, tag)
        assert found is not None
        assert str(found.digest) == release.metadata
    return release.immutable_tag


async def test_a_release_moves_every_tag_and_settles_the_journal(world: World) -> None:
    outcome = await world.ship(await world.release(1))
    assert isinstance(outcome, Settled)
    assert outcome.serial == 1
    assert (await world.journal()).state is State.SETTLED
    assert (await whole(world)).endswith("1")
    assert await world.store.tags(META) == ["channels", "dev", "dev-1", "journal", "journal-1"]


async def test_only_a_registry_without_if_match_costs_the_settle_wait(world: World) -> None:
    await world.ship(await world.release(1))
    assert (sum(world.clock.slept) >= 1.5) is not world.timing.conditional


async def test_the_same_release_again_changes_nothing(world: World) -> None:
    await world.ship(await world.release(1))
    before = await world.store.tags(META)
    assert isinstance(await world.ship(await world.release(1)), Unchanged)
    assert await world.store.tags(META) == before


async def test_an_older_release_that_ends_late_is_refused(world: World) -> None:
    await world.ship(await world.release(2))
    with pytest.raises(ChannelAhead):
        await world.ship(await world.release(1))
    assert (await whole(world)).endswith("2")


async def test_a_newer_revision_of_the_same_commit_is_ahead(world: World) -> None:
    await world.ship(await world.release(1))
    outcome = await world.ship(await world.release(1, revision=2))
    assert isinstance(outcome, Settled)
    assert outcome.serial == 2


async def test_another_projects_journal_is_refused(world: World) -> None:
    await world.ship(await world.release(1))
    with pytest.raises(ForeignJournal):
        await world.ship(await world.release(2), terms=world.terms(project="other"))


async def test_a_lost_journal_is_not_taken_for_a_new_project(world: World) -> None:
    await world.ship(await world.release(1))
    await world.store.delete_tag(META, "journal")
    with pytest.raises(RegistryUnavailable):
        await world.ship(await world.release(2))


async def test_a_lower_version_sets_its_own_tags_and_leaves_the_channel(world: World) -> None:
    await world.ship(await world.release(2, channel="prod", version="v2.0.0"))
    prod = await world.tags("prod")
    outcome = await world.ship(await world.release(1, channel="prod", version="v1.9.4"))
    assert isinstance(outcome, Settled)
    assert await world.tags("prod") == prod
    assert None not in await world.tags("v1.9.4")
    assert await world.store.resolve(META, "v1.9.4") is not None
    again = await world.ship(await world.release(1, channel="prod", version="v1.9.4"))
    assert isinstance(again, Unchanged)


async def test_a_release_tag_never_moves_by_itself(world: World) -> None:
    await world.ship(await world.release(1, channel="prod", version="v1.0.0"))
    other = await world.release(2, channel="prod", version="v1.0.0")
    with pytest.raises((TagMoved, ChannelAhead)):
        await world.ship(other)


async def test_an_open_transaction_is_busy_until_its_lease_and_margin_are_over(world: World) -> None:
    request = await world.release(1)
    with pytest.raises(Dead):
        await world.ship(request, store=Saboteur(world.store, {3: "die-before"}))
    with pytest.raises(ChannelBusy):
        await world.ship(await world.release(2))
    entry = await world.journal()
    world.clock.seconds = entry.opened_at + entry.lease_s + world.timing.margin + 1
    await world.ship(await world.release(2))
    assert (await whole(world)).endswith("2")


@pytest.mark.parametrize("how", ["die-before", "die-after"])
@pytest.mark.parametrize("number", range(1, 12))
async def test_killed_at_any_put_the_next_release_finds_or_makes_the_channel_whole(
    world: World, number: int, how: str
) -> None:
    await world.ship(await world.release(1))
    saboteur = Saboteur(world.store, {number: how})
    try:
        await world.ship(await world.release(2), store=saboteur)
    except Dead:
        world.clock.seconds += 10_000
    await world.ship(await world.release(3))
    assert (await whole(world)).endswith("3")
    assert (await world.journal()).state is State.SETTLED


@pytest.mark.parametrize("how", ["lose-before", "lose-after"])
@pytest.mark.parametrize("number", range(1, 12))
async def test_an_unknown_outcome_goes_forward(world: World, number: int, how: str) -> None:
    await world.ship(await world.release(1))
    await world.ship(await world.release(2), store=Saboteur(world.store, {number: how}))
    assert (await whole(world)).endswith("2")
    assert (await world.journal()).state is State.SETTLED


@pytest.mark.parametrize("number", range(2, 12))
async def test_a_definite_refusal_before_the_commit_takes_everything_back(world: World, number: int) -> None:
    await world.ship(await world.release(1))
    saboteur = Saboteur(world.store, {number: "refuse"})
    error: Exception | None = None
    try:
        await world.ship(await world.release(2), store=saboteur)
    except (Refused, TransactionRefused) as caught:
        error = caught
    if error is None:
        assert number > saboteur.puts
    elif isinstance(error, Refused):
        assert "all moving tags are as before" in str(error)
        assert (await world.journal()).state is State.ABORTED
        assert (await whole(world)).endswith("1")
    else:
        assert (await world.journal()).state is State.OPEN
    world.clock.seconds += 10_000
    await world.ship(await world.release(3))
    assert (await whole(world)).endswith("3")


async def test_a_first_release_that_is_refused_says_which_tags_stay(world: World) -> None:
    with pytest.raises(Refused, match="did not exist before and stays"):
        await world.ship(await world.release(1), store=Saboteur(world.store, {5: "refuse"}))
    assert (await world.journal()).state is State.ABORTED


async def test_a_tag_moved_by_somebody_else_aborts_before_anything_moves(world: World) -> None:
    await world.ship(await world.release(1))
    stranger = await world.release(9)

    class Intruder(Saboteur):
        async def tag(self, repository: str, tag: str, manifest: Any, **more: Any) -> None:
            await super().tag(repository, tag, manifest, **more)
            if self.puts == 1:  # right after the claim
                other = await self._inner.manifest(IMAGES[0], stranger.targets[0].digest)
                await self._inner.tag(IMAGES[0], "dev", other)

    with pytest.raises(TagMoved, match="acme/app-base:dev"):
        await world.ship(await world.release(2), store=Intruder(world.store, {}))
    assert (await world.journal()).state is State.ABORTED


async def test_a_registry_that_never_answers_leaves_the_journal_open(world: World) -> None:
    await world.ship(await world.release(1))
    deaf = Saboteur(world.store, dict.fromkeys(range(4, 10_000), "lose-before"))
    with pytest.raises(TransactionUnfinished):
        await world.ship(await world.release(2), store=deaf)
    world.clock.seconds += 10_000
    await world.ship(await world.release(3))
    assert (await whole(world)).endswith("3")
