"""A real buildkitd and buildx, on a 1 MB busybox, and how a builder is found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.e2e.build.conftest import AMD64, ARM64, COMMIT, Log, OpenJob, image_build
from tests.real.buildkit import buildkitd
from tests.real.tools import enable_arm64, pinned

from shipgraph.build.builder import BaseImage, Cache
from shipgraph.build.buildx import BuildxBuilder
from shipgraph.build.select import select_builder
from shipgraph.build.stage import build_platform
from shipgraph.errors import BuildFailed, ToolMissing
from shipgraph.events import silent
from shipgraph.oci.manifest import ImageManifest
from shipgraph.store.content import read_blob

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.real, pytest.mark.anyio]

DOCKERFILE = """\
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
ARG BASE_IMAGE
ARG TARGETARCH
COPY file /file
RUN --mount=type=secret,id=ca,target=/run/secrets/ca \\
    mkdir -p /opt; echo "$TARGETARCH $BASE_IMAGE" >/opt/built; [ ! -s /run/secrets/ca ] || echo "has a ca"
"""


@pytest.fixture(scope="module")
def buildkit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with buildkitd(tmp_path_factory.mktemp("buildkit")) as address:
        yield address


@pytest.fixture
async def builder(buildkit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BuildxBuilder:
    monkeypatch.setenv("BUILDKIT_HOST", buildkit)
    monkeypatch.setenv("PATH", str(pinned("buildx").parent), prepend=":")
    found = await select_builder("auto", tmp_path / "state", emit=silent)
    assert isinstance(found, BuildxBuilder)
    assert found.description.startswith("buildkit ")
    assert not (Path.home() / ".docker" / "buildx" / "instances" / "shipgraph").exists()
    return found


async def test_same_inputs_through_two_ports_give_one_digest_without_an_address(
    tmp_path: Path, open_job: OpenJob, builder: BuildxBuilder
) -> None:
    digests = set()
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
                secrets={"ca": Path("/etc/ssl/certs/ca-certificates.crt")},
                emit=log,
            )
            digests.add(built.digest)
            manifest = await job.store.manifest("acme/tool", built.digest)
            assert isinstance(manifest, ImageManifest)
            base = await job.store.manifest("bases/busybox", job.bases[AMD64].digest)
            assert isinstance(base, ImageManifest)
            assert manifest.layers[:1] == base.layers
            config = await read_blob(job.store, "acme/tool", manifest.config)
            for content in (manifest.raw, config):
                assert b"127.0.0.1" not in content
            assert COMMIT.encode() in config
            assert COMMIT.encode() not in manifest.raw
            child = await image_build(
                tmp_path / "child",
                "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nRUN grep -q amd64 /opt/built\n",
                BaseImage("tool", "acme/tool", built.digest),
                image="child",
                parent=True,
            )
            await build_platform(
                child, builder=builder, job=job.store, job_address=job.address, logs=tmp_path, emit=silent
            )
    assert len(digests) == 1


async def test_other_platform_and_failure(tmp_path: Path, open_job: OpenJob, builder: BuildxBuilder) -> None:
    enable_arm64()
    async with open_job() as job:
        text = (
            'ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nARG TARGETARCH\nRUN [ "$TARGETARCH $(uname -m)" = "arm64 aarch64" ]\n'
        )
        build = await image_build(tmp_path / "context", text, job.bases[ARM64], platform=ARM64)
        await build_platform(build, builder=builder, job=job.store, job_address=job.address, logs=tmp_path, emit=silent)
        text = "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nRUN echo first the reason; exit 7\n"
        broken = await image_build(tmp_path / "context", text, job.bases[AMD64])
        with pytest.raises(BuildFailed, match="first the reason"):
            await build_platform(
                broken, builder=builder, job=job.store, job_address=job.address, logs=tmp_path, emit=silent
            )


async def test_own_storage_is_a_cache_until_the_maximum_age(
    tmp_path: Path, open_job: OpenJob, builder: BuildxBuilder
) -> None:
    async with open_job() as job:
        hits = []
        for epoch in (1, 1, 2):
            text = DOCKERFILE + "RUN echo aged\n"
            build = await image_build(tmp_path / "context", text, job.bases[AMD64], epoch=epoch)
            log = Log()
            await build_platform(
                build, builder=builder, job=job.store, job_address=job.address, logs=tmp_path, emit=log
            )
            hits.append(log.text.count("CACHED"))
        assert hits[0] < hits[1] == 3
        assert hits[2] <= 1  # the base itself


@pytest.mark.parametrize("kind", ["local", "registry"])
async def test_caches(tmp_path: Path, open_job: OpenJob, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cold storage and a cache: the second build hits, by its log."""
    monkeypatch.setenv("PATH", str(pinned("buildx").parent), prepend=":")
    async with open_job() as job:
        place = str(tmp_path / "cache") if kind == "local" else f"{job.address}/acme/cache"
        digests, logs = set(), []
        for number in range(2):
            with buildkitd(tmp_path / f"buildkit-{number}") as address:
                monkeypatch.setenv("BUILDKIT_HOST", address)
                builder = await select_builder("buildx", tmp_path / "state", emit=silent)
                build = await image_build(tmp_path / "context", DOCKERFILE, job.bases[AMD64])
                log = Log()
                built = await build_platform(
                    build,
                    builder=builder,
                    job=job.store,
                    job_address=job.address,
                    logs=tmp_path,
                    caches=[Cache(kind, place)],  # type: ignore[arg-type]
                    emit=log,
                )
                digests.add(built.digest)
                logs.append(log.text)
        assert "CACHED" not in logs[0]
        assert "CACHED" in logs[1]
        assert len(digests) == 1


async def test_no_builder_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("BUILDKIT_HOST", raising=False)
    with pytest.raises(ToolMissing, match="no builder works") as caught:
        await select_builder("auto", tmp_path / "state", emit=silent)
    assert "apt-get install buildah" in caught.value.hint


async def test_dead_buildkit_falls_back_to_buildah(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(pinned("buildx").parent), prepend=":")
    monkeypatch.setenv("BUILDKIT_HOST", f"unix://{tmp_path}/nobody")
    log = Log()
    found = await select_builder("auto", tmp_path / "state", emit=log)
    assert found.description.startswith("buildah ")
    assert log.events
