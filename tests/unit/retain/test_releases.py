"""Which releases count, and what stays and goes of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import msgspec
import pytest
from tests.unit.retain.world import METADATA, PAYLOAD, World, commit_of, digest_of, repository

from shipgraph.channel.journal import Kind, State
from shipgraph.errors import ContentUnknown, ForeignJournal
from shipgraph.evidence.requirements import Kind as Evidence
from shipgraph.retain.history import History
from shipgraph.retain.plan import PrunePlan, Reason, ReleaseFate
from shipgraph.retain.planning import make_plan

RUNBOOK = {"app": 15}


def plain(releases: int) -> World:
    world = World()
    for number in range(1, releases + 1):
        world.release(number)
        world.wait(1)
    return world


def releases_of(plan: PrunePlan) -> dict[str, ReleaseFate]:
    return {one.immutable_tag: one for one in plan.releases}


def tag(number: int, revision: int = 1) -> str:
    return f"sha-{commit_of(number)}" + (f"-r{revision}" if revision > 1 else "")


def left(world: World, image: str) -> list[int]:
    """The numbers of the releases whose tag an image still has."""
    return [int(one.removeprefix("sha-"), 16) for one in world.tagged(repository(image), "sha-") if len(one) == 44]


def test_the_runbooks_counts_on_twenty_releases() -> None:
    world = plain(20)
    world.wait(60)
    plan = world.plan(world.policy(RUNBOOK))
    reasons = Counter(fate.reason for one in plan.packages for fate in one.versions if fate.goes)
    assert reasons[Reason.OLD] == 5 + 10 + 10 + 10 + 10  # app; base, proxy; payload and metadata
    world.apply(plan)
    assert left(world, "app") == list(range(6, 21))
    assert left(world, "base") == left(world, "proxy") == list(range(11, 21))
    assert len(world.tagged(PAYLOAD, "sha-")) == 2 * 10  # each with and without its version
    assert len(world.tagged(METADATA, "dev-")) == 10
    assert len(world.tagged(METADATA, "journal-")) == 39, "the journal stays whole"


def test_a_clean_up_each_night_ends_where_one_at_the_end_does() -> None:
    nightly, once = World(), World()
    for number in range(1, 31):
        for world in (nightly, once):
            world.release(number)
            world.wait(1)
        nightly.apply(nightly.plan(nightly.policy(RUNBOOK)))
    for world in (nightly, once):
        world.wait(60)
        world.apply(world.plan(world.policy(RUNBOOK)))
    assert set(nightly.store) == set(once.store)
    assert left(nightly, "app") == list(range(16, 31))


def test_versions_stay_whole_beyond_every_count_and_can_be_promoted() -> None:
    world = World()
    world.release(1, "prod", "v1.0.0")
    for number in range(2, 20):
        world.release(number)
        world.wait(1)
    world.wait(60)
    plan = world.plan(world.policy(default=2))
    world.apply(plan)
    assert left(world, "app") == [1, 18, 19]
    assert world.resolve(PAYLOAD, tag(1)), "the payload's first manifest, which a promotion starts from"
    assert world.resolve(METADATA, f"set-{tag(1)}")
    assert releases_of(plan)[tag(1)].kept == tuple(sorted((*map(repository, world.images), METADATA, PAYLOAD)))


def test_the_release_before_the_current_one_stays_for_a_rollback() -> None:
    world = plain(5)
    world.release(6, "nightly")
    world.wait(60)
    plan = world.plan(world.policy(default=0))
    reasons = {
        (fate.reason, fate.because)
        for one in plan.packages
        for fate in one.versions
        if fate.reason in (Reason.CURRENT, Reason.PREDECESSOR)
    }
    assert reasons == {(Reason.CURRENT, "dev"), (Reason.CURRENT, "nightly"), (Reason.PREDECESSOR, "dev")}
    world.apply(plan)
    assert left(world, "app") == [4, 5, 6]
    assert world.rollback("dev")


def test_a_rollback_makes_the_old_release_the_newest_settlement() -> None:
    world = plain(4)
    world.rollback("dev")
    world.wait(60)
    plan = world.plan(world.policy(default=1))
    assert [one.immutable_tag for one in plan.releases] == [tag(3), tag(4), tag(2), tag(1)]


def test_a_refresh_doesnt_make_a_release_newer() -> None:
    world = World()
    world.release(1, "prod", "v1.0.0")
    world.wait(1)
    world.release(2)
    world.wait(20)
    world.refresh("prod")
    plan = world.plan(world.policy(default=1))
    assert [one.immutable_tag for one in plan.releases] == [tag(2), tag(1)]
    kept = {
        fate.digest for one in plan.packages if one.repository == METADATA for fate in one.versions if not fate.goes
    }
    assert {d for d, (about, _) in world.documents.items() if about == tag(1)} <= kept, "and both of its documents stay"


def test_a_promotion_counts_a_release_once() -> None:
    world = plain(3)
    world.promote(tag(1), "prod", "v1.0.0")
    world.wait(60)
    plan = world.plan(world.policy(default=2))
    assert [(one.immutable_tag, one.rank, one.names) for one in plan.releases] == [
        (tag(1), 0, ("dev", "prod", "v1.0.0")),
        (tag(3), 1, ("dev",)),
        (tag(2), 2, ("dev",)),
    ]


def test_many_tags_on_one_digest_count_as_releases_not_as_versions() -> None:
    world = World()
    for number in range(1, 13):
        world.release(number, contents={"base": "same", "app": number, "proxy": number})
        world.wait(1)
    world.wait(60)
    world.apply(world.plan(world.policy(default=3)))
    assert left(world, "app") == [10, 11, 12]
    assert left(world, "base") == list(range(1, 13)), "one digest, which the kept releases have"


def test_a_release_without_its_evidence_pushes_no_complete_one_out_and_stays_in_its_place() -> None:
    world = World()
    for number in range(1, 6):
        world.release(number, proven=number not in (4, 5))
        world.wait(1)
    world.wait(60)
    plan = world.plan(world.policy(default=2))
    ranks = {one.immutable_tag: (one.rank, one.complete) for one in plan.releases}
    assert ranks == {
        tag(5): (0, False), tag(4): (0, False), tag(3): (0, True), tag(2): (1, True), tag(1): (2, True),
    }  # fmt: skip
    assert "gate and provenance and test of acme/" in releases_of(plan)[tag(5)].lacks
    world.apply(plan)
    assert left(world, "app") == [2, 3, 4, 5]


def test_evidence_that_the_project_doesnt_require_may_be_missing() -> None:
    world = World()
    for number in range(1, 4):
        world.release(number, proven=False)
        world.wait(1)
    world.wait(60)
    plan = world.plan(world.policy(default=2, evidence=frozenset()))
    assert [one.rank for one in plan.releases] == [0, 1, 2]
    plan = world.plan(world.policy(default=2, evidence=frozenset({Evidence.GATE})))
    assert {one.lacks.partition(" ")[0] for one in plan.releases} == {"gate"}


def test_a_release_of_which_an_image_is_gone_doesnt_count() -> None:
    world = plain(4)
    world.wait(60)
    lost = world.shipped[tag(4)].images["proxy"]
    world.delete(repository("proxy"), lost)
    world.absent.add((repository("proxy"), lost))
    plan = world.plan(world.policy(default=2))
    assert releases_of(plan)[tag(4)].lacks == f"{repository('proxy')}@{lost}"
    assert [one.rank for one in plan.releases] == [0, 0, 1, 2]


def test_what_lacks_something_where_no_count_keeps_it_is_not_complete_either() -> None:
    world = World()
    for number in range(1, 6):
        world.release(number, proven=False)
        world.wait(1)
    for keep in ({"app": 0, "base": 0, "proxy": 0, "demo-metadata": 1}, {"app": 1, "demo-payload": 1}):
        plan = world.plan(world.policy(keep, default=0))
        assert all(not one.complete for one in plan.releases)


def test_unfinished_releases_stay_thirty_days_from_the_last_push() -> None:
    world = plain(2)
    world.begin(3, images=("base",), payload=None)
    world.wait(29)
    world.begin(3, images=("base", "app"), payload=None)
    world.wait(29)
    plan = world.plan(world.policy(default=1))
    assert tag(3) not in releases_of(plan)
    world.apply(plan)
    assert 3 in left(world, "base")
    assert world.resolve(METADATA, f"set-{tag(3)}")
    world.wait(2)
    plan = world.plan(world.policy(default=1))
    gone = {fate.reason for one in plan.packages for fate in one.versions if fate.goes and fate.tags}
    assert gone >= {Reason.ABANDONED, Reason.RECORD}
    world.apply(plan)
    assert 3 not in left(world, "base")
    assert world.resolve(METADATA, f"set-{tag(3)}") is None


def test_an_unfinished_release_is_not_kept_alive_by_images_it_shares_with_later_ones() -> None:
    world = World()
    world.begin(1, contents={"base": "same", "app": 1, "proxy": 1}, payload=None)
    for number in range(2, 6):
        world.wait(10)
        world.release(number, contents={"base": "same", "app": number, "proxy": number})
    world.apply(world.plan(world.policy(default=10)))
    assert 1 in left(world, "base"), "the digest is that of releases that stay"
    assert 1 not in left(world, "app")


def test_a_release_that_was_taken_back_counts_as_unfinished() -> None:
    world = plain(1)
    metadata = world.finalize(world.begin(2), end=State.ABORTED)
    world.wait(29)
    plan = world.plan(world.policy(default=1))
    assert tag(2) not in releases_of(plan)
    assert [f.reason for one in plan.packages for f in one.versions if tag(2) in f.tags] == [Reason.UNFINISHED] * 4
    assert [f.goes for one in plan.packages for f in one.versions if f.digest == metadata] == [True]


def test_both_ends_of_an_open_transactions_moves_stay() -> None:
    world = plain(3)
    world.wait(60)
    world.begin(4)
    world.wait(60)
    metadata = world.finalize(world.shipped[tag(4)], end=State.OPEN)
    world.wait(60)
    plan = world.plan(world.policy(default=0))
    opened = [fate for one in plan.packages for fate in one.versions if fate.reason is Reason.OPEN]
    assert {f"transaction {world.entries[-1].id}"} == {fate.because for fate in opened}
    assert metadata in {fate.digest for fate in opened}
    world.apply(plan)
    assert {3, 4} <= set(left(world, "app"))


def test_what_an_open_transaction_could_still_go_back_to_stays() -> None:
    """A release tag is being moved, and its own tag is the last that the old image had."""
    world = World()
    for number in (1, 2, 3):
        world.release(number, "prod", f"v{number}.0.0")
        world.wait(1)
    old = world.shipped[tag(1)].images["app"]
    world.finalize(world.begin(4), "prod", "v1.0.0", end=State.OPEN)
    for move in world.entries[-1].moves:
        world.tag(move.repository, move.after, move.tag)
    world.wait(60)
    plan = world.plan(world.policy(default=0))
    assert [one.fate.reason for one in plan.kept if one.fate.digest == old] == [Reason.OPEN]


def test_revisions_of_one_commit_are_releases_of_their_own() -> None:
    world = World()
    for revision in (1, 2, 3):
        world.release(1, revision=revision)
        world.wait(1)
    world.wait(60)
    plan = world.plan(world.policy(default=1))
    assert [one.immutable_tag for one in plan.releases] == [tag(1, 3), tag(1, 2), tag(1)]
    world.apply(plan)
    assert world.tagged(repository("app"), "sha-") == [tag(1, 2), tag(1, 3)]  # with the predecessor


def test_build_records_live_as_long_as_what_was_built() -> None:
    world = plain(3)
    world.wait(60)
    plan = world.plan(world.policy({"app": 3}, default=1))
    world.apply(plan)
    records = [world.resolve(METADATA, one) for one in world.tagged(METADATA, "build-")]
    named = [world.store[METADATA, digest].node.names[0] for digest in records if digest]
    assert {(name.repository, name.digest) in world.store for name in named} == {True}
    assert sum(name.repository == repository("app") for name in named) == 3 * 3  # two platforms and an index each
    assert sum(name.repository == repository("base") for name in named) == 2 * 3  # and the predecessor's


def test_a_set_record_stays_while_any_image_has_its_tag() -> None:
    """Without it, a rerun of that commit would begin the set anew, and meet the image under the same tag."""
    world = World()
    for number in range(1, 5):
        world.release(number, contents={"base": "same", "app": number, "proxy": number})
        world.wait(1)
    world.wait(60)
    world.apply(world.plan(world.policy(default=1)))
    assert world.tagged(METADATA, "set-") == [f"set-{tag(n)}" for n in range(1, 5)]


def test_old_journal_entries_keep_nothing_else_alive() -> None:
    world = plain(8)
    world.wait(60)
    plan = world.plan(world.policy(default=1))
    journal = [fate for one in plan.packages for fate in one.versions if fate.reason is Reason.JOURNAL]
    assert len(journal) == len(world.entries)
    world.apply(plan)
    assert left(world, "app") == [7, 8]


def test_a_few_lost_journal_entries_lose_no_release() -> None:
    world = plain(6)
    world.wait(60)
    history = History()
    for entry in world.entries:
        if entry.number not in (3, 4, 5, 6):
            history.add(entry)
    plan = make_plan(world.inventory(), history, world.policy(default=4), now=world.now)
    assert [one.immutable_tag for one in plan.releases] == [tag(n) for n in range(6, 0, -1)]
    assert plan.notes[0].startswith("the journal's entries 3 to 6 are missing")


def test_a_release_of_which_the_journal_doesnt_tell_the_end_stays() -> None:
    world = plain(30)  # more than a head remembers
    world.wait(60)
    history = History()
    for entry in world.entries:
        if entry.number == len(world.entries):
            history.add(entry)
    plan = make_plan(world.inventory(), history, world.policy(default=1), now=world.now)
    world.apply(plan)
    assert left(world, "app") == [*range(1, 11), 29, 30], "the head tells of 11 to 30, and of nothing before"


def test_metadata_without_a_journal_stops_everything() -> None:
    world = plain(2)
    with pytest.raises(ContentUnknown, match="no journal") as caught:
        make_plan(world.inventory(), History(), world.policy(), now=world.now)
    assert "repair --journal" in caught.value.hint


def test_another_projects_journal_stops_everything() -> None:
    world = plain(2)
    with pytest.raises(ForeignJournal, match="that of demo, not of other"):
        world.plan(replace(world.policy(), project="other"))


def test_a_project_that_was_never_released_has_nothing_but_beginnings() -> None:
    world = World()
    world.begin(1, payload=None)
    world.wait(60)
    plan = make_plan(world.inventory(), History(), world.policy(), now=world.now)
    kept = {(one.repository, fate.reason) for one in plan.packages for fate in one.versions if not fate.goes}
    assert {reason for _, reason in kept} == {Reason.LAST, Reason.REACHED}


def test_a_repair_or_a_clean_up_is_no_decision_about_its_channels_serial() -> None:
    world = plain(1)
    entry = msgspec.structs.replace(
        world.entries[-1], number=3, kind=Kind.PRUNE, release=None, moves=(), state=State.ABORTED
    )
    world.entries.append(entry)
    assert not world.history().taken_back
    assert world.history().decided == {("dev", 1)}


def test_a_lower_version_that_moved_only_its_own_tags_is_settled_too() -> None:
    world = plain(1)
    last = world.entries[-1]
    assert last.release is not None
    lower = msgspec.structs.replace(last.release, immutable_tag=tag(9), version="v0.9.0")
    world.entries.append(msgspec.structs.replace(last, number=3, channel="prod", serial=7, release=lower, moves=()))
    settled = world.history().releases[tag(9)]
    assert (settled.names, settled.at) == ({"prod", "v0.9.0"}, "2023-11-14T22:13:20Z")


def test_metadata_of_a_claim_that_was_lost_goes() -> None:
    world = plain(2)
    current = world.resolve(METADATA, "dev")
    assert current is not None
    lost = digest_of("a claim that was lost")
    world.push(METADATA, lost, world.store[METADATA, current].node)
    world.wait(60)
    plan = world.plan(world.policy(default=5))
    assert [fate.reason for one in plan.packages for fate in one.versions if fate.digest == lost] == [Reason.OLD]


def test_a_package_that_left_the_project_is_cleaned_up_with_its_releases() -> None:
    world = World(("base", "app", "proxy", "old"))
    for number in range(1, 4):
        world.release(number)
        world.wait(1)
    world.images = ("base", "app", "proxy")
    for number in range(4, 9):
        world.release(number)
        world.wait(1)
    world.wait(60)
    policy = world.policy(default=6, retired=("old",))
    world.apply(world.plan(policy))
    assert left(world, "old") == [3], "release 3 is among the six, and has the tag dev; what had others is gone"
