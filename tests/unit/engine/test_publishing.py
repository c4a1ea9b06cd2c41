"""The whole release over a store in memory: what is built, what is reused, what moves."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import pytest
from tests.unit.engine import world as world_module
from tests.unit.engine.world import (
    FILE,
    IMAGES,
    REQUIRED,
    TIMING,
    FakeWorkshop,
    World,
    make_signed_world,
    make_world,
)

from shipgraph.build.builder import Cache
from shipgraph.channel.journal import Kind
from shipgraph.cli.show import platforms_json, release_text
from shipgraph.engine import bases
from shipgraph.engine.building import assemble_built, build_images
from shipgraph.engine.caches import image_caches
from shipgraph.engine.finalizing import Transacting, finish
from shipgraph.engine.planning import make_plan
from shipgraph.engine.workspace import Workspace
from shipgraph.errors import (
    BuildFailed,
    ChannelAhead,
    ConfigurationError,
    EvidenceMissing,
    ImmutableTagConflict,
    Refused,
    UnpinnedBase,
)
from shipgraph.events import silent
from shipgraph.oci.platform import Platform
from shipgraph.promote.protocol import Settled
from shipgraph.promote.stage import Wishes
from shipgraph.records.sets import ResolvedBase, SetRecord
from shipgraph.store.decorators.counted import Counted
from shipgraph.store.decorators.read_only import ReadOnly
from shipgraph.tasks import gather

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path / "demo")


async def test_a_plan_reads_alone(world: World) -> None:
    release = await world.release(view=True)
    counted = Counted(world.store)
    plan = await make_plan(release, counted, Workspace.of(world.folder), emit=silent)
    assert counted.writes == []
    assert await world.tags() == {}
    assert not (world.folder / ".shipgraph").exists()
    assert [build.action for build in plan.builds] == ["build"] * 8
    assert {build.why for build in plan.builds} == {"it was never built", "base is built", "app is built"}
    await world.publish()
    counted = Counted(world.store)
    plan = await make_plan(release, counted, Workspace.of(world.folder), emit=silent)
    assert counted.writes == []
    assert {(build.action, build.why) for build in plan.builds} == {("reuse", "nothing has changed")}
    assert plan.immutable_tag == f"sha-{release.commit}"


def test_a_read_only_store_has_no_way_to_write() -> None:
    for name in ("push_blob", "push_manifest", "tag", "delete_manifest", "delete_tag"):
        assert not hasattr(ReadOnly, name)


async def test_everything_twice_does_nothing_the_second_time(world: World) -> None:
    first = await world.publish()
    assert not first.unchanged
    before = await world.tags()
    counted, workshop = Counted(world.store), world.workshop()
    second = await world.publish(target=counted, workshop=workshop)
    assert second.unchanged
    assert workshop.fake.requests == []
    assert [call for call in counted.writes if call.method != "push_blob"] == []
    assert await world.tags() == before


async def test_children_get_their_parents_digest_on_each_platform(world: World) -> None:
    workshop = world.workshop()
    published = await world.publish(workshop=workshop)
    digests = {
        (image.key, child.platform): child.digest for image in published.found.images for child in image.index.manifests
    }
    for request in workshop.fake.requests:
        parent = {"app": "base", "tool": "app", "side": "base"}.get(request.image)
        if parent is None:
            assert request.base is None
        else:
            assert request.base is not None
            assert request.base.digest == digests[parent, request.platform]
            assert "127.0.0.1" not in request.base.reference


async def test_builds_are_bounded_and_siblings_overlap(world: World) -> None:
    alone, both = world.workshop(jobs=1), world.workshop(jobs=2)
    await world.publish(workshop=alone)
    assert alone.fake.most == 1
    world.store = type(world.store)()
    await world.publish(workshop=both)
    assert both.fake.most == 2


async def test_a_change_rebuilds_the_image_and_what_is_built_from_it(world: World) -> None:
    first = await world.publish()
    world.edit("docker/app/hello", "hello", "hallo")
    world.commit()
    workshop = world.workshop()
    second = await world.publish(workshop=workshop)
    assert sorted(workshop.fake.built) == ["app", "app", "tool", "tool"]
    before = {image.key: image.index.digest for image in first.found.images}
    after = {image.key: image.index.digest for image in second.found.images}
    assert {key for key in IMAGES if before[key] != after[key]} == {"app", "tool"}
    tags = await world.tags()
    assert tags[f"base:{second.found.immutable_tag}"] == tags[f"base:{first.found.immutable_tag}"]


async def test_an_age_that_has_passed_is_a_new_revision(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await world.publish()
    week = 7 * 86400
    monkeypatch.setattr(time, "time", lambda: 10 * week + 1.0)
    release = await world.release()
    assert bases.age_epochs(release, 10 * week - 1.0) == {"side": 9}
    assert bases.age_epochs(release, 10 * week + 1.0) == {"side": 10}
    plan = await make_plan(release, world.store, Workspace.of(world.folder), emit=silent)
    assert plan.immutable_tag == f"sha-{release.commit}-r2"
    whys = {build.image: (build.action, build.why) for build in plan.builds}
    assert whys["side"] == ("build", "its maximum age")
    assert {whys[key][0] for key in ("base", "app", "tool")} == {"reuse"}
    workshop = world.workshop()
    second = await world.publish(workshop=workshop)
    assert second.revision == 2
    assert sorted(workshop.fake.built) == ["side", "side"]
    assert second.found.immutable_tag == f"{first.found.immutable_tag}-r2"
    assert second.found.images[0].index.digest == first.found.images[0].index.digest


async def test_a_failing_build_moves_nothing_and_the_next_run_goes_on(world: World) -> None:
    await world.publish()
    before = await world.moving()
    for key in ("app", "side"):
        world.edit(f"docker/{key}/hello", "hello", "hallo")
    world.commit()
    workshop = world.workshop(jobs=1)
    workshop.fake.failing = {"tool"}
    with pytest.raises(BuildFailed, match="building tool failed"):
        await world.publish(workshop=workshop)
    assert await world.moving() == before
    workshop = world.workshop()
    await world.publish(workshop=workshop)
    built = workshop.fake.built
    assert "tool" in built
    assert built.count("app") <= 1, "what was finished is not built again"
    assert await world.moving() != before


async def test_missing_evidence_refuses(tmp_path: Path) -> None:
    world = make_signed_world(tmp_path / "demo")
    world.edit("shipgraph.toml", REQUIRED, 'require = ["gate", "test", "provenance"]')
    world.commit()
    plan = await make_plan(await world.release(view=True), world.store, Workspace.of(world.folder), emit=silent)
    assert any("no test of base, " in note for note in plan.notes), "known before anything is built"
    workshop = world.workshop()
    with pytest.raises(EvidenceMissing, match="test of base, app, "):
        await world.publish(workshop=workshop)
    assert workshop.fake.requests == [], "it is refused before anything is built"
    assert await world.moving() == {}


async def test_what_requires_evidence_is_refused_before_a_build_where_nothing_signs(tmp_path: Path) -> None:
    world = make_world(tmp_path / "demo", FILE.replace("require = []", REQUIRED))
    workshop = world.workshop()
    with pytest.raises(ConfigurationError, match="nothing to sign with"):
        await world.publish(workshop=workshop)
    assert workshop.fake.requests == []


async def test_an_older_commit_is_refused(world: World) -> None:
    older = world.git("rev-parse", "HEAD")
    world.edit("docker/side/hello", "hello", "newer")
    world.commit()
    await world.publish()
    before = await world.moving()
    world.git("checkout", "--quiet", older)
    with pytest.raises(ChannelAhead):
        await world.publish()
    assert await world.moving() == before


async def test_an_occupied_immutable_tag_is_refused(world: World) -> None:
    first = await world.publish()
    world.edit("docker/side/hello", "hello", "other")
    commit = world.commit()
    await world.store.tag("acme/demo-side", f"sha-{commit}", first.found.images[2].index)
    before = await world.moving()
    with pytest.raises(ImmutableTagConflict) as caught:
        await world.publish()
    assert caught.value.there == str(first.found.images[2].index.digest)
    assert caught.value.ours in str(caught.value)
    assert await world.moving() == before


async def test_an_image_that_has_lost_a_platform_is_not_adopted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the release would go on with an image that nobody can pull."""
    side = (await world.publish()).found.images[-2]
    assert side.key == "side"
    await world.store.delete_manifest(side.repository, side.index.manifests[0].digest)
    layer = world_module._layer
    monkeypatch.setattr(world_module, "_layer", lambda image, context: layer(image, context) + bytes(512))
    with pytest.raises(ImmutableTagConflict) as caught:
        await world.publish()
    assert "its linux/amd64 is gone" in caught.value.hint


async def test_two_runs_at_once_agree(world: World) -> None:
    one, two = await gather([partial(world.publish), partial(world.publish)])
    assert one.found == two.found
    assert len({published.metadata for published in (one, two)}) == 1
    assert sorted(isinstance(published.outcome, Settled) for published in (one, two)) == [False, True]


async def test_a_pull_request_publishes_nothing(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    event = tmp_path / "event.json"
    event.write_text('{"number": 7, "pull_request": {"number": 7}, "repository": {"full_name": "acme/demo"}}')
    for name, value in {
        "GITHUB_EVENT_NAME": "pull_request", "GITHUB_REF": "refs/pull/7/merge", "GITHUB_REPOSITORY": "acme/demo",
        "GITHUB_SHA": world.git("rev-parse", "HEAD"), "GITHUB_SERVER_URL": "https://github.com",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    published = await world.publish(channel=None, event=event)
    assert published.outcome is None
    assert "nothing is published" in release_text(
        published.release, published.found, None, published.evidence, published.images
    )
    assert await world.moving() == {}
    release = await world.release(channel=None, event=event)
    world.edit("shipgraph.toml", "[evidence]", '[build]\ncache = "registry"\n\n[evidence]')
    assert image_caches(release, release.project.graph["side"], "r:1") == ()
    pull = await world.release(channel=None, event=event)
    (cache,) = image_caches(pull, pull.project.graph["side"], "r:1")
    assert cache == Cache("registry", "r:1/acme/demo-cache/runtime-side", read=True, write=False)


async def test_caches(world: World) -> None:
    world.edit("shipgraph.toml", "[evidence]", '[build]\ncache = "registry"\n\n[evidence]')
    world.edit("shipgraph.toml", 'max-age = "7d"', 'cache-scope = "Runtime.Side_2"')
    world.commit()
    workshop = world.workshop()
    await world.publish(workshop=workshop)
    places = {request.image: request.caches for request in workshop.fake.requests}
    assert places["app"] == (Cache("registry", "registry.example/acme/demo-cache/runtime-app"),)
    assert places["side"] == (Cache("registry", "registry.example/acme/demo-cache/runtime-side-2"),)
    assert not any(request.fresh for request in workshop.fake.requests)
    world.edit("shipgraph.toml", 'cache = "registry"', 'cache = "none"')
    world.edit("docker/base/hello", "hello", "hallo")
    world.commit()
    workshop = world.workshop()
    await world.publish(workshop=workshop)
    assert all(request.fresh and not request.caches for request in workshop.fake.requests)


async def test_platforms_of_a_rehearsal_may_be_narrowed_and_that_is_said(world: World) -> None:
    with pytest.raises(ConfigurationError, match="a release without linux/arm64 would be incomplete"):
        await world.publish(platforms=(AMD64,))
    workshop = world.workshop()
    published = await world.publish(workshop=workshop, platforms=(AMD64,), rehearsal=True)
    assert {str(request.platform) for request in workshop.fake.requests} == {"linux/amd64"}
    text = release_text(published.release, published.found, published.outcome, published.evidence, published.images)
    assert "not built: linux/arm64" in text
    whole = await world.publish(rehearsal=True)
    assert whole.revision == 2, "other platforms are another set"


async def test_platforms_one_after_the_other_on_machines_of_their_own(world: World) -> None:
    release = await world.release()
    workspace = Workspace.of(world.folder)

    async def build(platform: Platform) -> FakeWorkshop:
        workshop = world.workshop()
        record, images = await build_images(
            release, ("tool",), platforms=(platform,), target=world.store, workshop=workshop,  # type: ignore[arg-type]
            timing=TIMING, signing=None, emit=silent,
        )  # fmt: skip
        document = platforms_json(release, record, images)
        assert [image["key"] for image in document["images"]] == ["base", "app", "tool"]
        assert all(image["digest"] is None for image in document["images"])
        return workshop

    with pytest.raises(Refused, match="the registry has no release of commit"):
        await assemble_built(release, ("tool",), target=world.store, workspace=workspace, timing=TIMING, emit=silent)
    await build(AMD64)
    assert not [name for name in await world.tags() if not name.startswith("metadata:")]
    with pytest.raises(BuildFailed, match=r"base linux/arm64 is not in the registry") as caught:
        await assemble_built(release, ("tool",), target=world.store, workspace=workspace, timing=TIMING, emit=silent)
    assert "shipgraph build base --platform linux/arm64" in caught.value.hint
    assert len((await build(ARM64)).fake.requests) == 3
    record, assembled = await assemble_built(
        release, ("tool",), target=world.store, workspace=workspace, timing=TIMING, emit=silent
    )
    assert list(assembled) == ["base", "app", "tool"]
    assert {str(child.platform) for child in assembled["tool"].index.manifests} == {"linux/amd64", "linux/arm64"}
    tags = await world.tags()
    assert tags[f"tool:sha-{record.commit}"] == str(assembled["tool"].index.digest)
    with pytest.raises(ConfigurationError, match="not built for linux/s390x"):
        await build(Platform("linux", "s390x"))


async def test_prod_refuses_a_substitute_and_a_rehearsal_does_not(tmp_path: Path) -> None:
    text = FILE.replace('base = "scratch"', f'base = "debian:bookworm-slim@sha256:{"0" * 64}"')
    world = make_world(tmp_path / "demo", text)
    release = await world.release(channel="prod", version="v1.0.0")
    base = str(release.project.graph["base"].base)
    pulled = ResolvedBase(name=base, key="sha256:" + "0" * 64, platforms={})
    made = ResolvedBase(name=base, key="k", platforms={}, recipe="mmdebstrap:bookworm?variant=minbase")

    def record(resolved: ResolvedBase) -> SetRecord:
        return SetRecord(
            project="demo", commit=release.commit, revision=1, tree=release.tree, platforms=(), bases={base: resolved}
        )

    bases.check_pinned(release, record(pulled))
    with pytest.raises(UnpinnedBase, match="stands in for it"):
        bases.check_pinned(release, record(made))
    bases.check_pinned(await world.release(channel="prod", version="v1.0.0", rehearsal=True), record(made))
    bases.check_pinned(await world.release(channel="dev"), record(made))
    prod = await world.release(channel="prod", version="v1.0.0")
    with pytest.raises(UnpinnedBase, match="stands in for it"):  # what a release to dev has claimed and built
        await finish(
            prod, record(made), target=world.store, host="registry.example", signing=None, timing=TIMING,
            transacting=Transacting(Wishes()), kind=Kind.RELEASE, emit=silent,
        )  # fmt: skip
    unpinned = make_world(tmp_path / "other", FILE.replace('base = "scratch"', 'base = "debian:bookworm-slim"'))
    with pytest.raises(UnpinnedBase, match="channel prod takes only bases pinned by digest, and base has none"):
        await unpinned.release(channel="prod", version="v1.0.0")
    await unpinned.release(channel="dev")
