"""What clean-ups have broken for other people, each as it happened, and must not happen here."""

from __future__ import annotations

import pytest
from tests.unit.retain.world import METADATA, PAYLOAD, PLATFORMS, World, digest_of, repository

from shipgraph.errors import ContentUnknown
from shipgraph.evidence.requirements import Kind as Evidence
from shipgraph.oci import media_types
from shipgraph.retain.inventory import Inventory
from shipgraph.retain.plan import Fate, PrunePlan, Reason
from shipgraph.retain.planning import make_plan
from shipgraph.retain.roots import OutsideRoot
from shipgraph.retain.versions import Name, Node, Version

APP = repository("app")


@pytest.fixture
def world() -> World:
    """Two releases, the first of which is beyond every count but one; long ago."""
    made = World()
    for number in (1, 2, 3):
        made.release(number)
        made.wait(1)
    made.wait(60)
    return made


def fates(plan: PrunePlan, place: str) -> dict[str, Fate]:
    return {fate.digest: fate for one in plan.packages if one.repository == place for fate in one.versions}


def stays(plan: PrunePlan, place: str, *digests: str) -> bool:
    found = fates(plan, place)
    return not any(found[digest].goes for digest in digests)


def children(world: World, place: str, digest: str) -> tuple[str, ...]:
    return world.store[place, digest].node.children


def referrers(world: World, place: str, *subjects: str) -> list[str]:
    return [digest for (where, digest), one in world.store.items() if where == place and one.node.subject in subjects]


def latest(world: World, number: int = 3) -> str:
    return world.shipped[f"sha-{number:040x}"].images["app"]


def test_untagged_platforms_of_a_tagged_index_stay(world: World) -> None:
    plan = world.plan(world.policy(default=1))
    assert stays(plan, APP, *children(world, APP, latest(world)))


def test_what_an_index_within_an_index_lists_stays(world: World) -> None:
    leaves = tuple(world.manifest(APP, ("leaf", n)) for n in range(2))
    inner = world.index(APP, leaves)
    world.index(APP, (inner,), "nested")
    world.wait(60)
    plan = world.plan(world.policy(default=1))
    assert stays(plan, APP, inner, *leaves)


def test_evidence_of_the_platforms_stays_not_only_that_of_the_index(world: World) -> None:
    parts = (latest(world), *children(world, APP, latest(world)))
    found = referrers(world, APP, *parts)
    assert len(found) == 9
    assert stays(world.plan(world.policy(default=1)), APP, *found)


def test_evidence_goes_with_its_subject(world: World) -> None:
    old = latest(world, 1)
    found = fates(world.plan(world.policy(default=1)), APP)
    assert all(found[digest].goes for digest in referrers(world, APP, old, *children(world, APP, old)))


@pytest.mark.parametrize("ending", ["", ".sig", ".att", ".sbom"])
def test_what_is_attached_by_a_tag_lives_as_long_as_what_it_is_about(world: World, ending: str) -> None:
    kept, old = children(world, APP, latest(world))[0], children(world, APP, latest(world, 1))[0]
    made = [world.manifest(APP, (one, ending), one.replace(":", "-") + ending) for one in (kept, old)]
    world.wait(60)
    plan = world.plan(world.policy(default=1))
    assert [fates(plan, APP)[digest].goes for digest in made] == [False, True]


def test_signatures_in_a_package_of_their_own_live_as_long_as_the_image(world: World) -> None:
    place = repository("signatures")
    made = [world.manifest(place, number, latest(world, number).replace(":", "-") + ".sig") for number in (1, 3)]
    world.wait(60)
    plan = world.plan(world.policy(default=1, retired=("signatures",)))
    assert [fates(plan, place)[digest].goes for digest in made] == [True, False]


def test_a_shortened_tag_of_a_sha512_digest_is_still_its_referrers_list(world: World) -> None:
    digest = "sha512:" + "ab" * 64
    world.push(APP, digest, Node(media_type=media_types.IMAGE_MANIFEST, size=1), "mine")
    listed = world.index(APP, (), "sha512-" + "ab" * 32, label="list")
    world.wait(60)
    assert stays(world.plan(world.policy(default=1)), APP, listed)


def test_a_platform_that_two_indexes_share_goes_only_with_the_last(world: World) -> None:
    shared = world.manifest(APP, "shared")
    kept = world.index(APP, (shared, world.manifest(APP, "a")), "mine")
    gone = world.index(APP, (shared, world.manifest(APP, "b")), "pr-1")
    world.wait(60)
    policy = world.policy(default=1, disposable=("pr-*",))
    plan = world.plan(policy)
    assert stays(plan, APP, shared, kept)
    assert fates(plan, APP)[gone].goes
    world.apply(plan)
    assert stays(world.plan(policy), APP, shared), "and a second run doesn't take it either"


def test_one_tag_that_may_go_doesnt_take_another_with_it(world: World) -> None:
    old = latest(world, 1)
    world.tag(APP, old, "customer-7")
    world.wait(60)
    fate = fates(world.plan(world.policy(default=1)), APP)[old]
    assert (fate.goes, fate.reason, fate.because) == (False, Reason.TAG, "customer-7")


def test_a_pattern_for_disposable_tags_takes_nothing_that_an_index_needs(world: World) -> None:
    tagged = tuple(world.manifest(APP, platform, f"sha-1234-{platform}") for platform in PLATFORMS)
    world.index(APP, tagged, "mine")
    alone = world.manifest(APP, "alone", "sha-5678-amd64")
    world.wait(60)
    plan = world.plan(world.policy(default=1, disposable=("sha-*-amd64", "sha-*-arm64")))
    assert stays(plan, APP, *tagged)
    assert fates(plan, APP)[alone].reason is Reason.DISPOSABLE


def test_protected_patterns_hold_what_would_go(world: World) -> None:
    old = latest(world, 1)
    plan = world.plan(world.policy(default=1, protect=(f"sha-{'0' * 39}1",)))
    assert stays(plan, APP, old, *children(world, APP, old))


def test_an_old_digest_that_was_published_again_a_moment_ago_stays(world: World) -> None:
    old = latest(world, 1)
    assert fates(world.plan(world.policy(default=1)), APP)[old].goes
    world.tag(APP, old, f"sha-{4:040x}")  # a release that runs: nothing changed in this image
    assert stays(world.plan(world.policy(default=1)), APP, old, *children(world, APP, old))


def test_a_push_in_flight_is_not_taken_for_garbage(world: World) -> None:
    child = world.manifest(APP, "pushed a moment ago, before its index")
    world.wait(0.5)
    fate = fates(world.plan(world.policy(default=1)), APP)[child]
    assert (fate.goes, fate.reason) == (False, Reason.YOUNG)
    world.wait(1)
    assert fates(world.plan(world.policy(default=1)), APP)[child].goes


def test_what_nobody_tells_the_age_of_stays() -> None:
    inventory = Inventory()
    version = Version(repository=APP, digest=digest_of("x"))
    inventory.add(version, Node(media_type=media_types.IMAGE_MANIFEST, size=1))
    world = World()
    plan = make_plan(inventory, world.history(), world.policy(), now=world.now)
    assert not plan.deletions


def test_a_manifest_that_is_listed_and_cant_be_read_stops_everything(world: World) -> None:
    inventory = world.inventory()
    version = Version(repository=APP, digest=digest_of("unreadable"), created_at=0, updated_at=0)
    inventory.add_unreadable(version, "503")
    with pytest.raises(ContentUnknown, match=f"{APP}@{version.digest}: 503"):
        make_plan(inventory, world.history(), world.policy(default=1), now=world.now)


@pytest.mark.parametrize("what", ["platform", "image", "metadata"])
def test_a_list_that_leaves_something_out_stops_everything(world: World, what: str) -> None:
    """A page that was lost, or a list that is behind: what isn't listed is unknown, and not absent."""
    head = world.entries[-1].heads["dev"].releases[0].metadata
    place, digest = {
        "platform": (APP, children(world, APP, latest(world))[0]),
        "image": (APP, latest(world)),
        "metadata": (METADATA, head),
    }[what]
    world.delete(place, digest)
    with pytest.raises(ContentUnknown) as caught:
        world.plan(world.policy(default=1))
    assert (place, digest) in caught.value.missing
    assert f"{place}@{digest}" in str(caught.value)


def test_what_the_registry_says_is_gone_stops_nothing_and_is_told(world: World) -> None:
    lost = children(world, APP, latest(world))[0]
    world.delete(APP, lost)
    world.absent.add((APP, lost))
    plan = world.plan(world.policy(default=1))
    assert any(lost in note and "not in the registry any more" in note for note in plan.notes)
    assert plan.deletions
    assert stays(plan, APP, latest(world))


def test_garbage_that_needs_what_is_gone_stops_nothing(world: World) -> None:
    old = latest(world, 1)
    world.delete(APP, children(world, APP, old)[0])
    assert fates(world.plan(world.policy(default=1)), APP)[old].goes


def test_evidence_about_what_was_deleted_long_ago_goes(world: World) -> None:
    subject = digest_of("gone")
    orphan = world.refer(APP, subject, "orphan")
    listed = world.resolve(APP, subject.replace(":", "-"))
    world.wait(60)
    found = fates(world.plan(world.policy(default=1)), APP)
    assert listed is not None
    assert [found[orphan].goes, found[listed].goes] == [True, True]


def test_the_last_tagged_version_of_a_package_stays_with_what_it_needs(world: World) -> None:
    place = repository("old")
    tagged = []
    for number in (91, 92):
        tagged.append(world.build("old", number, f"sha-{number:040x}"))
        world.wait(60)
    plan = world.plan(world.policy(default=1, retired=("old",)))
    found = fates(plan, place)
    assert [found[digest].reason for digest in tagged] == [Reason.ABANDONED, Reason.LAST]
    assert stays(plan, place, *children(world, place, tagged[1]))


def test_images_in_other_packages_stay_as_long_as_the_metadata_that_names_them(world: World) -> None:
    plan = world.plan(world.policy({"base": 0, "app": 0, "proxy": 0}, default=2))
    for image in world.images:
        kept = [world.shipped[f"sha-{n:040x}"].images[image] for n in (2, 3)]
        assert stays(plan, repository(image), *kept)


def test_what_is_used_outside_stays_with_what_it_needs(world: World) -> None:
    old = latest(world, 1)
    platform, _ = children(world, APP, old)
    outside = (OutsideRoot(platform), OutsideRoot(digest_of("elsewhere")), OutsideRoot(old, "other/app"))
    plan = world.plan(world.policy(default=1), outside)
    found = fates(plan, APP)
    assert (found[platform].reason, found[old].goes) == (Reason.OUTSIDE, True)
    assert stays(plan, APP, *referrers(world, APP, platform))
    assert [note for note in plan.notes if digest_of("elsewhere") in note]


def test_all_packages_keep_what_a_channels_tag_points_at(world: World) -> None:
    """Keep nothing at all: of each package the channel's version stays."""
    plan = world.plan(world.policy(default=0))
    for place in (*map(repository, world.images), PAYLOAD):
        kept = world.resolve(place, "dev")
        assert kept is not None
        assert fates(plan, place)[kept].reason is Reason.TAG
    assert stays(plan, METADATA, *(world.resolve(METADATA, tag) or "" for tag in ("dev", "channels", "journal")))


def test_what_is_in_a_package_without_a_rule_stays(world: World) -> None:
    place = repository("somebody-elses")
    made = world.manifest(place, "x")
    world.wait(60)
    plan = world.plan(world.policy(default=1))
    assert fates(plan, place)[made].reason is Reason.UNCOVERED
    assert [note for note in plan.notes if place in note]


def test_a_release_that_failed_half_way_never_costs_a_channel_its_metadata(world: World) -> None:
    """The flagship's own clean-up after a failed release deleted the tags of the last good one."""
    before = {tag: world.resolve(METADATA, tag) for tag in ("dev", "channels")}
    world.begin(4, images=("base",), payload=None)
    world.wait(60)
    world.apply(world.plan(world.policy(default=1)))
    assert {tag: world.resolve(METADATA, tag) for tag in ("dev", "channels")} == before
    assert world.resolve(repository("base"), f"sha-{4:040x}") is None


def test_a_count_for_one_package_is_not_taken_for_the_next(world: World) -> None:
    """The flagship's script kept what it had learnt of one package for the others."""
    plan = world.plan(world.policy({"base": 3}, default=1))
    kept = {
        image: sum(world.shipped[f"sha-{n:040x}"].images[image] in _kept(plan, image) for n in (1, 2, 3))
        for image in world.images
    }
    assert kept == {"base": 3, "app": 2, "proxy": 2}  # the newest, and what would be rolled back to


def _kept(plan: PrunePlan, image: str) -> set[str]:
    return {digest for digest, fate in fates(plan, repository(image)).items() if not fate.goes}


def test_versions_with_the_same_digest_in_two_packages_are_told_apart(world: World) -> None:
    node = Node(media_type=media_types.IMAGE_MANIFEST, size=1)
    world.push(APP, digest_of("twin"), node, "mine")
    world.push(repository("base"), digest_of("twin"), node)
    world.wait(60)
    plan = world.plan(world.policy(default=1))
    assert stays(plan, APP, digest_of("twin"))
    assert fates(plan, repository("base"))[digest_of("twin")].goes


def test_tags_that_go_round_in_a_circle_are_planned_all_the_same(world: World) -> None:
    """A list that claims to be about something it lists itself: nobody's tool makes that, but anybody may push it."""
    child = world.manifest(APP, "in a circle")
    listed = world.index(APP, (child,), child.replace(":", "-"))
    world.wait(60)
    found = fates(world.plan(world.policy(default=1)), APP)
    assert found[child].goes
    assert found[listed].goes


def test_blobs_that_something_else_needs_are_not_counted_as_freed(world: World) -> None:
    plan = world.plan(world.policy(default=1))
    app = next(one for one in plan.packages if one.repository == APP)
    gone = [fate for fate in app.versions if fate.goes]
    assert gone
    own = {blob.digest for fate in gone for blob in world.store[APP, fate.digest].node.blobs}
    there = {blob.digest for fate in app.versions if not fate.goes for blob in world.store[APP, fate.digest].node.blobs}
    assert own & there, "layers are shared in this history"
    assert app.freed == 1000 * len(own - there)


def test_a_payload_is_kept_with_the_images_it_was_made_for(world: World) -> None:
    made = world.manifest(PAYLOAD, "by hand", "mine")
    world.store[PAYLOAD, made].node = Node(
        media_type=media_types.IMAGE_MANIFEST, size=1, names=(Name("*/app", latest(world, 1)),)
    )
    world.wait(60)
    assert stays(world.plan(world.policy(default=1)), APP, latest(world, 1))


def test_evidence_that_is_young_holds_what_it_is_about(world: World) -> None:
    old = latest(world, 1)
    world.prove(APP, old, Evidence.GATE)
    assert stays(world.plan(world.policy(default=1)), APP, old, *children(world, APP, old))


def test_a_build_record_that_stays_keeps_what_was_built(world: World) -> None:
    """Whoever finds the record may rely on it."""
    old = latest(world, 1)
    record = next(
        d
        for (place, d), one in world.store.items()
        if place == METADATA and Name(APP, old) in one.node.names and not one.node.release
    )
    world.tag(METADATA, record, "mine")
    world.wait(60)
    assert stays(world.plan(world.policy(default=1)), APP, old, *children(world, APP, old))


@pytest.mark.parametrize("ending", ["", ".sig"])
def test_a_signature_or_a_list_that_is_young_holds_what_its_tag_says_it_is_about(world: World, ending: str) -> None:
    old = latest(world, 1)
    world.manifest(APP, "signed a moment ago", old.replace(":", "-") + ending)
    assert stays(world.plan(world.policy(default=1)), APP, old, *children(world, APP, old))
