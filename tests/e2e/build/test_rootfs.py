"""A real root file system from Debian's packages, as far as this machine's apt reaches the archive."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING, cast

import anyio
import pytest
from tests.e2e.build.conftest import AMD64, Log, OpenJob, image_build

from shipgraph.build.bases import base_image, base_origin, resolve_base
from shipgraph.build.buildah import BuildahBuilder
from shipgraph.build.rootfs import RootMaker
from shipgraph.build.stage import build_platform
from shipgraph.events import Started, silent
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import ImageManifest
from shipgraph.project.bases import RootRecipe, parse_base

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.real, pytest.mark.anyio]


async def test_a_root_is_made_once_repeats_to_the_byte_and_carries_a_build(tmp_path: Path, open_job: OpenJob) -> None:
    recipe = cast("RootRecipe", parse_base("mmdebstrap:bookworm?variant=essential"))
    log = Log()
    roots = RootMaker(tmp_path / "state", logs=tmp_path / "logs", emit=log)
    elsewhere = RootMaker(tmp_path / "elsewhere", logs=tmp_path / "other-logs", emit=silent)
    archive = await roots.look(recipe)
    others: list[ImageManifest] = []

    async def make_elsewhere() -> None:
        others.append(await elsewhere.make(recipe, AMD64, archive))

    async with anyio.create_task_group() as group:
        group.start_soon(make_elsewhere)
        resolved = await resolve_base(recipe, [AMD64], reader=None, roots=roots, emit=log)
    assert resolved is not None
    digest = Digest.parse(resolved.platforms["linux/amd64"])
    again = await roots.make(recipe, AMD64, await roots.look(recipe))
    assert again.digest == digest
    assert sum(isinstance(event, Started) for event in log.events) == 1

    assert [other.digest for other in others] == [digest]
    assert isinstance(again, ImageManifest)
    async with roots.store.blob(roots.repository(recipe), again.layers[0]) as pieces:
        layer = b"".join([piece async for piece in pieces])
    with tarfile.open(fileobj=io.BytesIO(layer), mode="r:gz") as tar:
        members = {member.name.removeprefix("./"): member for member in tar}
    assert "etc/os-release" in members
    assert not {"etc/resolv.conf", "etc/hostname"} & members.keys()
    assert not [name for name, member in members.items() if member.ischr() or member.isblk()]
    assert not [name for name in members if name.startswith(("var/lib/apt/lists/deb", "usr/share/man/"))]

    builder = await BuildahBuilder.open(tmp_path / "state", emit=silent)
    async with open_job() as job:
        text = "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nRUN grep -q bookworm /etc/os-release && ls /dev/null\n"
        build = await image_build(tmp_path / "context", text, base_image(recipe, resolved, AMD64))
        origin = await base_origin(recipe, resolved, AMD64, reader=None, roots=roots)
        await build_platform(
            build,
            builder=builder,
            job=job.store,
            job_address=job.address,
            logs=tmp_path / "logs",
            origin=origin,
            emit=silent,
        )
