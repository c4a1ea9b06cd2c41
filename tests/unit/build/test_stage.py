"""The stage's steps, over stores in memory and a builder that makes images out of nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.build.conftest import AMD64, ARM64, COMMIT, METADATA, FakeBuilder, no_sleep, planned, push_image

from shipgraph.build.assemble import assemble, read_index
from shipgraph.build.builder import BaseImage
from shipgraph.build.claims import find_build
from shipgraph.build.inputs import ANNOTATION_INPUTS
from shipgraph.build.stage import (
    Origin,
    PlatformBuild,
    build_platform,
    describe_image,
    plan_inputs,
    publish_platform,
)
from shipgraph.errors import BuildFailed, ConfigurationError
from shipgraph.events import Event, Failed, Finished, silent
from shipgraph.oci import media_types
from shipgraph.oci.manifest import ImageManifest
from shipgraph.store.memory import MemoryStore

if TYPE_CHECKING:
    from pathlib import Path

    from shipgraph.build.built import Built

pytestmark = pytest.mark.anyio
CLAIM: dict[str, Any] = {"metadata": METADATA, "settle": 0.0, "sleep": no_sleep}


async def built_by(builder: FakeBuilder, job: MemoryStore, build: PlatformBuild, logs: Path, **more: Any) -> Built:
    return await build_platform(
        build, builder=builder, job=job, job_address="127.0.0.1:1", logs=logs, **{"emit": silent, **more}
    )


async def published(built: Built, job: MemoryStore, target: MemoryStore) -> Built:
    return await publish_platform(built, job=job, target=target, emit=silent, **CLAIM)


async def test_a_base_is_made_available_and_the_request_says_everything(
    tmp_path: Path, job: MemoryStore, target: MemoryStore
) -> None:
    elsewhere = MemoryStore()
    base = await push_image(elsewhere, "library/debian", [b"debian"])
    secret = tmp_path / "npmrc"
    secret.touch()
    build = await planned(
        tmp_path / "context",
        base=BaseImage("docker.io/library/debian", "bases/debian", base.digest),
        base_name="debian:bookworm-slim",
        arguments={"FLAVOUR": "dark"},
        labels=describe_image("tool", source="https://github.com/acme/tool"),
        annotations=describe_image("tool", source="https://github.com/acme/tool"),
        secrets=("npmrc", "ca"),
    )
    events: list[Event] = []
    builder = FakeBuilder(job)
    built = await built_by(
        builder,
        job,
        build,
        tmp_path / "logs",
        origin=Origin(elsewhere, "library/debian"),
        secrets={"npmrc": secret, "other": secret},
        emit=events.append,
        run="7/1",
    )
    (request,) = builder.requests
    assert request.all_arguments == {
        "BASE_IMAGE": f"shipgraph.invalid/docker.io/library/debian@{base.digest}",
        "SOURCE_DATE_EPOCH": "1700000000",
        "FLAVOUR": "dark",
    }
    assert request.secrets == {"npmrc": secret}
    assert request.labels[media_types.ANNOTATION_REVISION] == COMMIT
    assert request.labels[media_types.ANNOTATION_CREATED] == "2023-11-14T22:13:20Z"
    manifest = await job.manifest("acme/tool", built.digest)
    assert dict(manifest.annotations) == {
        ANNOTATION_INPUTS: built.record.inputs,
        media_types.ANNOTATION_BASE_DIGEST: str(base.digest),
        media_types.ANNOTATION_BASE_NAME: "debian:bookworm-slim",
        media_types.ANNOTATION_SOURCE: "https://github.com/acme/tool",
        media_types.ANNOTATION_TITLE: "tool",
    }
    assert built.record.bases == {"debian:bookworm-slim": str(base.digest)}
    assert built.record.components == dict((await plan_inputs(build)).components)
    assert [type(event) for event in events if isinstance(event, Finished)] == [Finished]
    assert not await target.has_manifest("acme/tool", built.digest)


async def test_reuse_adoption_and_children(tmp_path: Path, job: MemoryStore, target: MemoryStore) -> None:
    """Two runs of one commit at the same time: both end with the first one's image, and children follow it."""
    build = await planned(tmp_path / "context")
    inputs = await plan_inputs(build)
    first = await published(await built_by(FakeBuilder(job, salt="1"), job, build, tmp_path), job, target)
    other_job = MemoryStore()
    ours = await built_by(FakeBuilder(other_job, salt="2"), other_job, build, tmp_path)
    assert ours.digest != first.digest
    second = await published(ours, other_job, target)
    assert second.digest == first.digest
    found = await find_build(target, METADATA, "acme/tool", inputs.hash)
    assert found == first.record

    child_build = await planned(
        tmp_path / "child", image="child", parent=True, base=BaseImage("tool", "acme/tool", second.digest)
    )
    child = await built_by(FakeBuilder(other_job), other_job, child_build, tmp_path, origin=Origin(target, "acme/tool"))
    assert child.record.parent == str(first.digest)
    assert child.record.bases == {}
    parent_image = await other_job.manifest("acme/tool", first.digest)
    child_image = await other_job.manifest("acme/child", child.digest)
    assert isinstance(parent_image, ImageManifest)
    assert isinstance(child_image, ImageManifest)
    assert child_image.layers[:-1] == parent_image.layers


async def test_failures_are_told(tmp_path: Path, job: MemoryStore) -> None:
    events: list[Event] = []
    nowhere = await push_image(MemoryStore(), "x", [])
    lost = await planned(tmp_path / "context", base=BaseImage("x", "bases/x", nowhere.digest))
    with pytest.raises(BuildFailed, match="nowhere to be had"):
        await built_by(FakeBuilder(job), job, lost, tmp_path, emit=events.append)
    assert any(isinstance(event, Failed) for event in events)
    build = await planned(tmp_path / "context")
    build.dockerfile.unlink()
    with pytest.raises(ConfigurationError, match="Dockerfile of image tool can't be read"):
        await plan_inputs(build)


async def assembled(builds: list[Built], target: MemoryStore, **more: Any) -> Built:
    settings = {"platforms": [AMD64, ARM64], "image": "tool", "repository": "acme/tool", "annotations": {"k": "v"}}
    return await assemble(builds, target=target, **{**settings, **CLAIM, **more})


async def test_an_index_is_the_same_in_any_order_and_run(tmp_path: Path, job: MemoryStore, target: MemoryStore) -> None:
    builds = []
    for platform in (ARM64, AMD64):
        build = await planned(tmp_path / "context", platform=platform)
        builds.append(await published(await built_by(FakeBuilder(job), job, build, tmp_path), job, target))
    first = await assembled(builds, target, parent="sha256:" + "1" * 64, commit=COMMIT)
    assert first.fresh
    index = await read_index(target, first)
    assert [str(entry.platform) for entry in index.manifests] == ["linux/amd64", "linux/arm64"]
    assert index.annotations == {"k": "v", ANNOTATION_INPUTS: first.record.inputs}
    assert COMMIT.encode() not in index.raw
    again = await assembled(list(reversed(builds)), target, commit="f" * 40)
    assert (again.digest, again.fresh) == (first.digest, False)
    # the index is gone: its record says nothing any more
    await target.delete_manifest("acme/tool", first.digest)
    once_more = await assembled(builds, target)
    assert once_more.digest == first.digest
    assert await target.has_manifest("acme/tool", first.digest)


async def test_a_missing_platform_fails(tmp_path: Path, job: MemoryStore, target: MemoryStore) -> None:
    build = await planned(tmp_path / "context")
    one = await published(await built_by(FakeBuilder(job), job, build, tmp_path), job, target)
    with pytest.raises(BuildFailed, match="linux/arm64 is missing"):
        await assembled([one], target)
    with pytest.raises(BuildFailed, match="every platform is missing"):
        await assembled([], target, platforms=[])


async def test_an_index_over_images_that_no_longer_count_is_replaced(
    tmp_path: Path, job: MemoryStore, target: MemoryStore
) -> None:
    build = await planned(tmp_path / "context")
    first = await published(await built_by(FakeBuilder(job, salt="1"), job, build, tmp_path), job, target)
    old = await assembled([first], target, platforms=[AMD64])
    await target.delete_manifest("acme/tool", first.digest)
    other_job = MemoryStore()
    second = await published(
        await built_by(FakeBuilder(other_job, salt="2"), other_job, build, tmp_path), other_job, target
    )
    new = await assembled([second], target, platforms=[AMD64])
    assert new.digest != old.digest
    assert [entry.digest for entry in (await read_index(target, new)).manifests] == [second.digest]
    assert (await assembled([second], target, platforms=[AMD64])).digest == new.digest
