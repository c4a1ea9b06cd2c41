"""The real buildah, on a 1 MB busybox: what an image is made of, and what never gets into it."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import anyio
import pytest
from tests.e2e.build.conftest import AMD64, ARM64, COMMIT, Log, OpenJob, image_build
from tests.real.tools import enable_arm64

from shipgraph.build.buildah import BuildahBuilder
from shipgraph.build.buildah_storage import BuildahStorage
from shipgraph.build.builder import BaseImage, Cache
from shipgraph.build.stage import build_platform
from shipgraph.errors import BuildFailed, DiskFull
from shipgraph.events import silent
from shipgraph.oci.manifest import ImageManifest
from shipgraph.store.content import read_blob
from shipgraph.store.copy import copy_manifest

pytestmark = [pytest.mark.real, pytest.mark.anyio]

DOCKERFILE = """\
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
ARG BASE_IMAGE
ARG TARGETARCH
ARG FLAVOUR=none
COPY file /file
RUN --mount=type=secret,id=ca,target=/run/secrets/ca \\
    mkdir -p /opt; echo "$TARGETARCH $FLAVOUR" >/opt/built; [ ! -s /run/secrets/ca ] || echo "has a ca"
"""


async def test_same_inputs_through_two_ports_give_one_digest_without_an_address(
    tmp_path: Path, open_job: OpenJob
) -> None:
    digests = set()
    builder = await BuildahBuilder.open(tmp_path / "state", emit=silent)
    for _ in range(2):
        async with open_job() as job:
            build = await image_build(tmp_path / "context", DOCKERFILE, job.bases[AMD64], secrets=("ca",))
            log = Log()
            built = await build_platform(
                build,
                builder=builder,
                job=job.store,
                job_address=job.address,
                logs=tmp_path / "logs",
                secrets={"ca": Path("/etc/ssl/certs/ca-certificates.crt"), "npmrc": Path("/nowhere")},
                emit=log,
            )
            digests.add(built.digest)
            assert (tmp_path / "logs" / "tool-linux-amd64.log").read_text().strip()
            manifest = await job.store.manifest("acme/tool", built.digest)
            assert isinstance(manifest, ImageManifest)
            base = await job.store.manifest("bases/busybox", job.bases[AMD64].digest)
            assert isinstance(base, ImageManifest)
            assert manifest.layers[:1] == base.layers
            config = await read_blob(job.store, "acme/tool", manifest.config)
            for content in (manifest.raw, config):
                assert b"127.0.0.1" not in content
                assert b"localhost" not in content
            assert COMMIT.encode() in config
            assert COMMIT.encode() not in manifest.raw
    assert len(digests) == 1


async def test_forgotten_layers_change_nothing(tmp_path: Path, open_job: OpenJob) -> None:
    """buildah packs layers anew once it forgot where they came from; the final image has the base's own."""
    digests = set()
    for number in range(2):
        # the second registry knows the base under another name, so nothing is remembered about it there
        async with open_job() as job:
            base = job.bases[AMD64]
            if number:
                await copy_manifest(job.store, base.repository, job.store, "other/name", base.digest)
                base = BaseImage(base.name, "other/name", base.digest)
            builder = await BuildahBuilder.open(tmp_path / "state", emit=silent)
            build = await image_build(tmp_path / "context", DOCKERFILE, base)
            built = await build_platform(
                build, builder=builder, job=job.store, job_address=job.address, logs=tmp_path / "logs", emit=silent
            )
            digests.add(built.digest)
    assert len(digests) == 1


async def test_child_is_built_from_the_parents_digest(tmp_path: Path, open_job: OpenJob) -> None:
    builder = await BuildahBuilder.open(tmp_path / "state", emit=silent)
    async with open_job() as job:
        parent_plan = await image_build(tmp_path / "parent", DOCKERFILE, job.bases[AMD64], image="parent")
        parent = await build_platform(
            parent_plan, builder=builder, job=job.store, job_address=job.address, logs=tmp_path, emit=silent
        )
        base = BaseImage("parent", "acme/parent", parent.digest)
        text = "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nRUN grep -q amd64 /opt/built && echo child >/opt/child\n"
        child_plan = await image_build(tmp_path / "child", text, base, image="child", parent=True)
        child = await build_platform(
            child_plan, builder=builder, job=job.store, job_address=job.address, logs=tmp_path, emit=silent
        )
        assert child.record.parent == str(parent.digest)
        manifests = [await job.store.manifest(f"acme/{n}", d.digest) for n, d in (("parent", parent), ("child", child))]
        assert all(isinstance(manifest, ImageManifest) for manifest in manifests)
        assert manifests[1].layers[: len(manifests[0].layers)] == manifests[0].layers  # type: ignore[union-attr]


async def test_other_platform(tmp_path: Path, open_job: OpenJob) -> None:
    enable_arm64()
    builder = await BuildahBuilder.open(tmp_path / "state", emit=silent)
    async with open_job() as job:
        text = (
            'ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nARG TARGETARCH\nRUN [ "$TARGETARCH $(uname -m)" = "arm64 aarch64" ]\n'
        )
        build = await image_build(tmp_path / "context", text, job.bases[ARM64], platform=ARM64)
        built = await build_platform(
            build, builder=builder, job=job.store, job_address=job.address, logs=tmp_path, emit=silent
        )
        assert built.record.platform == "linux/arm64"
        wrong = await image_build(tmp_path / "context", text.replace("RUN", "#"), job.bases[AMD64], platform=ARM64)
        with pytest.raises(BuildFailed, match="amd64"):
            await build_platform(
                wrong, builder=builder, job=job.store, job_address=job.address, logs=tmp_path, emit=silent
            )


async def test_failing_command_is_named_with_its_output(tmp_path: Path, open_job: OpenJob) -> None:
    builder = await BuildahBuilder.open(tmp_path / "state", emit=silent)
    async with open_job() as job:
        text = "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nRUN echo first the reason; exit 7\n"
        build = await image_build(tmp_path / "context", text, job.bases[AMD64])
        with pytest.raises(BuildFailed, match="first the reason") as caught:
            await build_platform(
                build, builder=builder, job=job.store, job_address=job.address, logs=tmp_path / "logs", emit=silent
            )
        assert caught.value.log == str(tmp_path / "logs" / "tool-linux-amd64.log")
        assert "first the reason" in await anyio.Path(caught.value.log).read_text()
        not_from_base = await image_build(tmp_path / "context", "FROM scratch\nCOPY file /\n", job.bases[AMD64])
        with pytest.raises(BuildFailed, match="was not built from"):
            await build_platform(
                not_from_base, builder=builder, job=job.store, job_address=job.address, logs=tmp_path, emit=silent
            )


async def test_scratch(tmp_path: Path, open_job: OpenJob) -> None:
    builder = await BuildahBuilder.open(tmp_path / "state", emit=silent)
    async with open_job() as job:
        build = await image_build(tmp_path / "context", "FROM scratch\nCOPY file /\n", None)
        built = await build_platform(
            build, builder=builder, job=job.store, job_address=job.address, logs=tmp_path, emit=silent
        )
        manifest = await job.store.manifest("acme/tool", built.digest)
        assert isinstance(manifest, ImageManifest)
        assert len(manifest.layers) == 1


async def test_registry_cache_is_hit_from_cold_storage(tmp_path: Path, open_job: OpenJob) -> None:
    """buildah 1.28 stops looking into a remote cache at the first ARG of a stage, so this one has none."""
    text = "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nENV A=b\nCOPY file /file\nRUN echo hello >/hello\n"
    async with open_job() as job:
        cache = Cache("registry", f"{job.address}/acme/cache")
        digests, logs = set(), []
        for number in range(2):
            builder = await BuildahBuilder.open(tmp_path / f"state-{number}", emit=silent)
            build = await image_build(tmp_path / "context", text, job.bases[AMD64])
            log = Log()
            built = await build_platform(
                build,
                builder=builder,
                job=job.store,
                job_address=job.address,
                logs=tmp_path,
                caches=[cache],
                emit=log,
            )
            digests.add(built.digest)
            logs.append(log.text)
        assert "Cache pulled from remote" not in logs[0]
        assert logs[1].count("Cache pulled from remote") >= 3
        assert len(digests) == 1


async def test_own_storage_is_a_cache_until_the_maximum_age(tmp_path: Path, open_job: OpenJob) -> None:
    async with open_job() as job:
        hits = []
        for epoch in (1, 1, 2):
            builder = await BuildahBuilder.open(tmp_path / "state", emit=silent)
            build = await image_build(tmp_path / "context", DOCKERFILE, job.bases[AMD64], epoch=epoch)
            log = Log()
            await build_platform(
                build, builder=builder, job=job.store, job_address=job.address, logs=tmp_path, emit=log
            )
            hits.append(log.text.count("Using cache"))
        assert hits[0] == hits[2] == 0
        assert hits[1] > 5


async def test_full_disk(tmp_path: Path, open_job: OpenJob) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    assert mount is not None
    assert umount is not None
    await anyio.run_process([mount, "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(small)])
    try:
        async with open_job() as job:
            builder = await BuildahBuilder.open(small / "state", emit=silent)
            text = "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nRUN dd if=/dev/urandom of=/big bs=1M count=30\n"
            build = await image_build(tmp_path / "context", text, job.bases[AMD64])
            with pytest.raises(DiskFull, match="no space left"):
                await build_platform(
                    build, builder=builder, job=job.store, job_address=job.address, logs=tmp_path, emit=silent
                )
    finally:
        await anyio.run_process([umount, "-l", str(small)])


async def test_full_disk_under_the_jobs_registry(tmp_path: Path, open_job: OpenJob) -> None:
    job_root = tmp_path / "job-1"
    job_root.mkdir()
    await anyio.run_process(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(job_root)])
    try:
        async with open_job() as job:
            builder = await BuildahBuilder.open(tmp_path / "state", emit=silent)
            text = "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nRUN dd if=/dev/urandom of=/big bs=1M count=8\n"
            build = await image_build(tmp_path / "context", text, job.bases[AMD64])
            with pytest.raises(DiskFull, match="no space left"):
                await build_platform(
                    build, builder=builder, job=job.store, job_address=job.address, logs=tmp_path, emit=silent
                )
    finally:
        await anyio.run_process(["umount", "-l", str(job_root)])


async def test_parallel_builds_and_leftovers(tmp_path: Path, open_job: OpenJob) -> None:
    builder = await BuildahBuilder.open(tmp_path / "state", emit=silent)
    async with open_job() as job:
        times: list[float] = []

        async def one(number: int) -> None:
            text = f"ARG BASE_IMAGE\nFROM ${{BASE_IMAGE}}\nRUN sleep 1; echo {number} >/number\n"
            build = await image_build(tmp_path / f"context-{number}", text, job.bases[AMD64], image=f"tool{number}")
            await build_platform(
                build, builder=builder, job=job.store, job_address=job.address, logs=tmp_path, emit=silent
            )
            times.append(time.monotonic())

        async with anyio.create_task_group() as group:
            for number in range(4):
                group.start_soon(one, number)
        assert max(times) - min(times) < 1.0

        # a build that is stopped in the middle leaves nothing that the next start doesn't remove
        text = "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nRUN sleep 60\n"
        build = await image_build(tmp_path / "context", text, job.bases[AMD64])
        with anyio.move_on_after(2.0):
            await build_platform(
                build, builder=builder, job=job.store, job_address=job.address, logs=tmp_path, emit=silent
            )
    storage = BuildahStorage(tmp_path / "state", buildah=shutil.which("buildah") or "buildah")
    await storage.prepare(emit=silent)
    left = await anyio.run_process(storage.command("containers", "--quiet"), env=storage.environment())
    assert left.stdout.strip() == b""
    assert list(storage.temporary.iterdir()) == []


async def test_a_killed_run_keeps_its_lock_until_its_builder_ends(tmp_path: Path, open_job: OpenJob) -> None:
    """SIGKILL gives nobody a chance to tidy up: the builder lives on for a while, and nothing of it is touched."""
    storage = BuildahStorage(tmp_path / "state", buildah=shutil.which("buildah") or "buildah")
    await storage.prepare(emit=silent)
    log = tmp_path / "log"
    async with open_job() as job:
        text = "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nRUN echo begun; sleep 6\n"
        build = await image_build(tmp_path / "context", text, job.bases[AMD64])
        script = f"""
import anyio
from pathlib import Path
from shipgraph.build.buildah import BuildahBuilder
from shipgraph.build.builder import BaseImage, BuildRequest
from shipgraph.events import silent
from shipgraph.oci.digest import Digest
from shipgraph.oci.platform import Platform

async def main():
    builder = await BuildahBuilder.open(Path({str(tmp_path / "state")!r}), emit=silent)
    await builder.build(BuildRequest(
        image="tool", platform=Platform("linux", "amd64"), context=Path({str(build.context.folder)!r}),
        dockerfile=Path({str(build.dockerfile)!r}), registry={job.address!r}, repository="acme/tool", epoch=1,
        base=BaseImage("busybox", "bases/busybox", Digest.parse({str(job.bases[AMD64].digest)!r})),
        log=Path({str(log)!r}),
    ), emit=silent)

anyio.run(main)
"""
        async with await anyio.open_process([sys.executable, "-c", script], stdin=None, stdout=None) as run:
            with anyio.fail_after(60):
                while not log.exists() or "begun" not in log.read_text():  # noqa: ASYNC110 (another process)
                    await anyio.sleep(0.1)
            run.kill()
        assert not await storage.clean()
        with anyio.fail_after(60):
            while not await storage.clean():  # noqa: ASYNC110 (another process)
                await anyio.sleep(0.5)
    left = await anyio.run_process(storage.command("containers", "--quiet"), env=storage.environment())
    assert left.stdout.strip() == b""
    assert list(storage.temporary.iterdir()) == []
