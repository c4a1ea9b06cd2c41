"""The plan as a document, the order in which it is carried out, and the policy and the roots that it is made from."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.retain.world import METADATA, PAYLOAD, World, digest_of, repository

from shipgraph.errors import ConfigurationError, MalformedDocument
from shipgraph.oci import media_types
from shipgraph.retain.inventory import Inventory
from shipgraph.retain.plan import PLAN_TYPE, PrunePlan, decode_plan, encode_plan
from shipgraph.retain.planning import make_plan
from shipgraph.retain.roots import OutsideRoot, parse_outside
from shipgraph.retain.versions import Node, Version

APP = repository("app")


@pytest.fixture
def world() -> World:
    """Five releases, long ago."""
    made = World()
    for number in range(1, 6):
        made.release(number)
        made.wait(1)
    made.wait(60)
    return made


def test_a_plan_says_what_it_is_and_reads_back_the_same(world: World) -> None:
    plan = world.plan(world.policy(default=2))
    written = encode_plan(plan)
    assert json.loads(written)["mediaType"] == PLAN_TYPE
    assert decode_plan(written, where="plan") == plan
    assert decode_plan(written, where="plan").digest == plan.digest


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b'{"mediaType": "application/vnd.shipgraph.prune-plan.v2+json"}', b"\xff"]
)
def test_what_is_no_plan_is_refused(content: bytes) -> None:
    with pytest.raises(MalformedDocument, match=r"^here"):
        decode_plan(content, where="here")


def test_a_plan_of_a_kind_that_isnt_told_is_refused(world: World) -> None:
    document = json.loads(encode_plan(world.plan()))
    del document["mediaType"]
    with pytest.raises(MalformedDocument, match="prune-plan"):
        decode_plan(json.dumps(document).encode(), where="here")


def test_the_order_in_which_versions_are_listed_makes_no_difference(world: World) -> None:
    plan = world.plan(world.policy(default=2))
    shuffled = World()
    shuffled.__dict__.update(world.__dict__)
    items = list(world.store.items())
    random.Random(7).shuffle(items)
    shuffled.store = dict(items)
    again = shuffled.plan(world.policy(default=2))
    assert again.seen == plan.seen
    assert _reasons(again) == _reasons(plan)


def _reasons(plan: PrunePlan) -> dict[tuple[str, str], tuple[str, int]]:
    return {(one.repository, f.digest): (f.reason, f.turn) for one in plan.packages for f in one.versions}


def test_a_tag_that_moved_makes_what_was_seen_another(world: World) -> None:
    before = world.plan().seen
    assert world.plan().seen == before
    world.tag(APP, world.shipped[f"sha-{'0' * 39}1"].images["app"], "mine")
    assert world.plan().seen != before
    assert world.plan(outside=(OutsideRoot(digest_of("x")),)).seen != world.plan().seen


def test_what_needs_something_goes_before_it(world: World) -> None:
    plan = world.plan(world.policy(default=1))
    turns = {(one.repository, one.fate.digest): one.fate.turn for one in plan.deletions}
    assert min(turns.values()) == 1
    pairs = 0
    for (place, digest), turn in turns.items():
        node = world.store[place, digest].node
        first = [(place, child) for child in node.children]
        first += [(name.repository, name.digest) for name in node.names if "*" not in name.repository]
        for needed in first:
            if needed in turns:
                assert turn < turns[needed], "an index before its platforms, metadata and records before images"
                pairs += 1
        if (place, node.subject) in turns:
            assert turns[place, node.subject] < turn, "a subject before its evidence"
            pairs += 1
    assert pairs > 200
    members = [turns[at] for at in turns if any(tag.startswith("sha-") for tag in world.store[at].tags)]
    records = [turns[at] for at in turns if any(tag.startswith("set-") for tag in world.store[at].tags)]
    assert records
    assert max(members) < min(records)


def test_deletions_come_turn_by_turn(world: World) -> None:
    turns = [one.fate.turn for one in world.plan(world.policy(default=1)).deletions]
    assert turns == sorted(turns)
    assert not {one.fate.digest for one in world.plan(world.policy(default=1)).kept if one.fate.goes}


def test_the_policys_digest_changes_with_a_rule_and_not_with_a_new_image() -> None:
    world = World()
    policy = world.policy()
    other = World((*world.images, "fresh"))
    assert other.policy().digest == policy.digest
    for changed in (
        world.policy(default=9),
        world.policy({"app": 11}),
        world.policy(protect=("x",)),
        world.policy(retired=("old",)),
        world.policy(evidence=frozenset()),
    ):
        assert changed.digest != policy.digest


def test_a_digest_that_is_listed_twice_is_refused() -> None:
    inventory = Inventory()
    version, node = Version(repository=APP, digest=digest_of("x")), Node(media_type=media_types.IMAGE_MANIFEST, size=1)
    inventory.add(version, node)
    with pytest.raises(MalformedDocument, match="twice"):
        inventory.add(version, node)


def test_nothing_at_all_makes_an_empty_plan() -> None:
    world = World()
    plan = make_plan(Inventory(), world.history(), world.policy(), now=0)
    assert (plan.packages, plan.deletions, plan.notes, plan.made_at) == ((), (), (), "1970-01-01T00:00:00Z")


def test_digests_from_outside_are_read_with_or_without_a_place() -> None:
    digest = digest_of("x")
    text = f"""
# what runs in production
{digest}
ghcr.io/acme/app@{digest}   # the second
localhost:5000/acme/app:v1@{digest}
acme/app@{digest}
"""
    assert parse_outside(text, where="f") == (OutsideRoot(digest), *[OutsideRoot(digest, "acme/app")] * 3)


@pytest.mark.parametrize("line", ["ghcr.io/acme/app:v1", "sha256:123", "latest", "acme/app@sha256:zz", "A/b@c"])
def test_a_line_from_outside_that_names_no_digest_is_a_mistake(line: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^used\.txt:2: "):
        parse_outside(f"# first\n{line}\n", where="used.txt")


@given(st.text(max_size=200))
def test_a_file_from_outside_is_read_or_refused(text: str) -> None:
    try:
        roots = parse_outside(text, where="f")
    except ConfigurationError:
        return
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    assert len(roots) == sum(map(bool, lines)), "no line is passed over"


def test_freed_bytes_are_of_the_whole_plan(world: World) -> None:
    plan = world.plan(world.policy(default=1))
    assert plan.freed == sum(one.freed for one in plan.packages) > 0
    assert {one.repository for one in plan.packages} == {*map(repository, world.images), METADATA, PAYLOAD}
