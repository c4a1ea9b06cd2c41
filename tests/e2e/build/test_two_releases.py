"""Two releases of one commit at the same time, into a registry where the last writer wins."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anyio
import pytest
from tests.e2e.build.conftest import AMD64, COMMIT, OpenJob, image_build
from tests.real.registries import docker_registry

from shipgraph.build.assemble import assemble, read_index
from shipgraph.build.buildah import BuildahBuilder
from shipgraph.build.builder import BaseImage
from shipgraph.build.claims import claim_image_tag, find_build
from shipgraph.build.stage import Origin, build_platform, plan_inputs, publish_platform
from shipgraph.events import silent
from shipgraph.records.sets import immutable_tag
from shipgraph.remote.store import RemoteStore

if TYPE_CHECKING:
    from pathlib import Path

    from shipgraph.oci.digest import Digest

pytestmark = [pytest.mark.real, pytest.mark.anyio]

# never the same twice, so that the two releases really disagree about what they built
PARENT = "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nRUN cat /proc/sys/kernel/random/uuid >/id\n"
CHILD = "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nRUN cat /proc/sys/kernel/random/uuid >/id2\n"
SETTLE = 1.5


async def test_both_end_with_one_digest_for_each_image(tmp_path: Path, open_job: OpenJob) -> None:
    results: list[dict[str, Digest]] = []
    with docker_registry(tmp_path / "registry") as host:

        async def release(number: int) -> None:
            async with open_job() as job, RemoteStore(host) as target:
                builder = await BuildahBuilder.open(tmp_path / f"state-{number}", emit=silent)
                claim = {"metadata": "acme/metadata", "settle": SETTLE, "sleep": anyio.sleep}
                digests: dict[str, Digest] = {}
                base, parent, origin = job.bases[AMD64], False, None
                for image, text in (("parent", PARENT), ("child", CHILD)):
                    folder = tmp_path / f"{image}-{number}"
                    build = await image_build(folder, text, base, image=image, parent=parent)
                    built = await build_platform(
                        build,
                        builder=builder,
                        job=job.store,
                        job_address=job.address,
                        logs=tmp_path / f"logs-{number}",
                        origin=origin,
                        emit=silent,
                    )
                    mine = built.digest
                    built = await publish_platform(built, job=job.store, target=target, emit=silent, **claim)  # type: ignore[arg-type]
                    digests[f"{image} built"], digests[f"{image} platform"] = mine, built.digest
                    index = await read_index(
                        target,
                        await assemble(
                            [built],
                            platforms=[AMD64],
                            image=image,
                            repository=f"acme/{image}",
                            annotations={},
                            target=target,
                            **claim,  # type: ignore[arg-type]
                        ),
                    )
                    digests[image] = await claim_image_tag(
                        target, f"acme/{image}", immutable_tag(COMMIT, 1), index, settle=SETTLE, sleep=anyio.sleep
                    )
                    base, origin, parent = (
                        BaseImage(image, f"acme/{image}", built.digest),
                        Origin(target, f"acme/{image}"),
                        True,
                    )
                results.append(digests)

        async with anyio.create_task_group() as group:
            group.start_soon(release, 1)
            group.start_soon(release, 2)
        one, two = results
        assert one["parent built"] != two["parent built"]
        for image in ("parent", "child"):
            assert one[image] == two[image]
            assert one[f"{image} platform"] == two[f"{image} platform"]

        # a third run finds everything, and is quick about it
        async with RemoteStore(host) as target:
            began = time.monotonic()
            plan = await image_build(
                tmp_path / "child-1", CHILD, BaseImage("parent", "acme/parent", one["parent platform"]),
                image="child", parent=True,
            )  # fmt: skip
            inputs = await plan_inputs(plan)
            found = await find_build(target, "acme/metadata", "acme/child", inputs.hash)
            assert found is not None
            assert found.digest == str(one["child platform"])
            assert found.parent == str(one["parent platform"])
            assert time.monotonic() - began < 2.0
