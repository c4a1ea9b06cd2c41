"""What else starts the workflow: the schedule, a version's tag, and each operation that somebody may start by hand.

They follow one another on one registry. Nothing is built in any of them, for the commit is the first release's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from shipgraph.oci.manifest import ImageIndex
from shipgraph.remote.credentials import Credentials
from shipgraph.remote.store import RemoteStore

from . import events
from .conftest import copied
from .github import ADMIN
from .test_first_release import RELEASE
from .workflow import SAYS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .act import Event, Run
    from .conftest import First, World

pytestmark = pytest.mark.real

IMAGES = ("base", "app", "side")
SIGNS = ("contents", "packages", "id-token", "attestations")
PERMISSIONS = {
    "refresh-expiring": SIGNS,
    "promote": SIGNS,
    "rollback": SIGNS,
    "refresh": SIGNS,
    "resume-open": ("contents",),
    "repair": ("contents", "packages"),
    "prune": ("contents",),
    "bootstrap": ("contents", "packages"),
}
"""Two of them find nothing to do here, so nothing is refused without the right to write packages. The same commands
are refused without it in ``resume`` and ``retention``: see the other releases."""
NEW_IMAGE = """
[images.new]
context = "docker/app"
parent = "base"
"""
FORGED = "repair"
"""Before it, somebody moves a tag by hand."""


@dataclass(frozen=True)
class Story:
    """Each run by its name, and the tags after it."""

    runs: dict[str, Run]
    tags: dict[str, dict[str, str]]
    commit: str
    verified: dict[str, bool]
    versions: dict[str, str]
    """The version in prod after each operation on it."""


async def move_by_hand(world: World, package: str, tag: str) -> None:
    """Let a tag point at one platform's image, as anybody with an account could."""

    async def login(host: str) -> Credentials:
        return Credentials("alice", ADMIN)

    async with RemoteStore(world.hub.registry, credentials=login) as store:
        found = await store.resolve(f"acme/{package}", tag)
        assert found is not None
        index = await store.manifest(f"acme/{package}", found.digest)
        assert isinstance(index, ImageIndex)
        await store.tag(f"acme/{package}", tag, await store.manifest(f"acme/{package}", index.manifests[0].digest))


@pytest.fixture(scope="module")
def story(first: First, tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[Story]:
    first.run.check()
    found = Story({}, {}, first.commit, {}, {})
    with copied(first, tmp_path_factory.mktemp("story"), port) as world:
        for tag in ("v1.0.0", "v1.1.0"):
            world.demo.git("tag", tag)
        world.demo.push("v1.0.0", "v1.1.0")
        by_hand = events.dispatched
        steps: list[tuple[str, Event, tuple[str, ...]]] = [
            ("nightly", events.scheduled("0 6 * * *", first.commit), ()),
            ("tag", events.tagged("v1.0.0", first.commit), ()),
            ("promote", by_hand(first.commit, channel="prod", version="v1.1.0"), ("promote",)),
            ("rollback", by_hand(first.commit, operation="rollback", channel="prod"), ("rollback",)),
            ("refresh", by_hand(first.commit, operation="refresh", channel="dev"), ("refresh",)),
            ("resume-open", by_hand(first.commit, operation="resume"), ("resume-open",)),
            ("repair", by_hand(first.commit, operation="repair"), ("repair",)),
            ("prune", by_hand(first.commit, operation="prune"), ("prune",)),
            ("bootstrap", by_hand(first.commit, operation="bootstrap"), ("bootstrap",)),
            ("refresh-expiring", events.scheduled("0 6 * * *", first.commit), ("refresh-expiring",)),
        ]
        for name, event, lacking in steps:
            if name == FORGED:
                world.hub.portal.call(move_by_hand, world, "demo-app", "dev")
            if name == "bootstrap":
                for channel in ("dev", "nightly", "prod"):
                    found.verified[channel] = json.loads(world.shipgraph("verify", channel, "--json"))["ok"]
                world.demo.write("shipgraph.toml", (world.demo.folder / "shipgraph.toml").read_text() + NEW_IMAGE)
                event = by_hand(world.push().commit, operation="bootstrap")
            only = None
            if name == "refresh-expiring":  # the release that comes before it on a schedule was run already
                only = lacking
                world.hub.ahead = 21 * 24 * 3600.0  # of the thirty days that metadata lives
            found.runs[name] = world.run(event, lacking=lacking, only=only)
            found.tags[name] = world.hub.tags()
            if name in ("promote", "rollback"):
                document = json.loads(world.shipgraph("resolve", "prod", "--json"))
                found.versions[name] = document["metadata"]["version"]
        yield found


def immutable(story: Story, step: str) -> dict[str, str]:
    """Each image's digest under the commit's own tag."""
    return {key: story.tags[step][f"demo-{key}:sha-{story.commit}"] for key in IMAGES}


def under(story: Story, step: str, tag: str) -> dict[str, str]:
    """Each image's digest under a moving tag."""
    return {key: story.tags[step].get(f"demo-{key}:{tag}", "") for key in IMAGES}


def test_the_schedule_publishes_nightly_and_looks_for_what_expires(story: Story) -> None:
    assert story.runs["nightly"].check().results == dict.fromkeys(RELEASE | {"refresh-expiring"}, "success")
    assert under(story, "nightly", "nightly") == immutable(story, "nightly") == under(story, "nightly", "dev")
    tags = story.tags["nightly"]
    assert tags["demo-metadata:nightly"] == tags["demo-metadata:channels"] != tags["demo-metadata:dev"]


def test_a_versions_tag_publishes_prod_and_the_release_tag(story: Story) -> None:
    assert story.runs["tag"].check().results == dict.fromkeys(RELEASE, "success")
    for tag in ("prod", "v1.0.0"):
        assert under(story, "tag", tag) == immutable(story, "tag")
    tags = story.tags["tag"]
    assert tags["demo-metadata:v1.0.0"] == tags["demo-metadata:prod"] == tags["demo-metadata:channels"]
    assert "demo-payload:v1.0.0" in tags


def test_what_was_built_for_a_commit_is_built_by_no_later_run_of_it(story: Story) -> None:
    for step in ("nightly", "tag"):
        for name, job in story.runs[step].jobs.items():
            if name.startswith("build-"):
                assert ": unchanged" in job.log
                assert ": built" not in job.log


def test_a_dispatch_with_a_version_promotes_and_builds_nothing(story: Story) -> None:
    assert "promote" in story.runs["promote"].results
    assert not RELEASE & set(story.runs["promote"].results)
    for tag in ("prod", "v1.1.0"):
        assert under(story, "promote", tag) == immutable(story, "promote")
    tags = story.tags["promote"]
    assert tags["demo-metadata:v1.1.0"] == tags["demo-metadata:prod"] != story.tags["tag"]["demo-metadata:prod"]


def test_a_rollback_goes_back_and_leaves_release_tags(story: Story) -> None:
    tags, before = story.tags["rollback"], story.tags["promote"]
    assert tags["demo-metadata:prod"] not in (before["demo-metadata:prod"], before["demo-metadata:v1.0.0"])
    assert tags["demo-metadata:v1.1.0"] == before["demo-metadata:v1.1.0"]
    assert story.versions == {"promote": "v1.1.0", "rollback": "v1.0.0"}


def test_a_refresh_moves_metadata_alone(story: Story) -> None:
    tags, before = story.tags["refresh"], story.tags["rollback"]
    changed = {name for name in tags if before.get(name) != tags[name] and not name.startswith("demo-metadata:journal")}
    moved = {name for name in changed if ":sha256-" not in name}
    assert moved == {"demo-metadata:dev", "demo-metadata:dev-2"}


def test_resume_without_anything_open_changes_nothing(story: Story) -> None:
    assert story.tags["resume-open"] == story.tags["refresh"]


def test_repair_puts_back_a_tag_that_somebody_moved(story: Story) -> None:
    assert under(story, "repair", "dev") == immutable(story, "repair")
    assert "demo-app" in story.runs["repair"].jobs["repair"].log


def test_prune_keeps_what_every_channel_needs(story: Story) -> None:
    assert story.verified == {"dev": True, "nightly": True, "prod": True}


def test_bootstrap_makes_the_package_of_a_new_image_and_leaves_the_others_alone(story: Story) -> None:
    tags, before = story.tags["bootstrap"], story.tags["prune"]
    assert set(tags) - set(before) == {"demo-new:bootstrap"}
    assert {name: tags[name] for name in before} == before


def test_the_schedule_signs_anew_what_expires_within_ten_days(story: Story) -> None:
    tags, before = story.tags["refresh-expiring"], story.tags["bootstrap"]
    for channel in ("dev", "nightly", "prod"):
        assert tags[f"demo-metadata:{channel}"] != before[f"demo-metadata:{channel}"]
        assert under(story, "refresh-expiring", channel) == immutable(story, "refresh-expiring")


@pytest.mark.parametrize("step", PERMISSIONS)
def test_each_operation_is_one_job_with_exactly_its_permissions(story: Story, step: str) -> None:
    run = story.runs[step].check(failed=tuple(f"{step}--without-{permission}" for permission in PERMISSIONS[step]))
    for permission in PERMISSIONS[step]:
        assert SAYS[permission] in run.jobs[f"{step}--without-{permission}"].log
    assert {name for name in run.results if "--without-" not in name} == {step}
