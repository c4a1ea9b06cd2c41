"""The final form of what a builder pushed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.unit.build.conftest import AMD64, ARM64, push_image

from shipgraph.build.finish import finish_image
from shipgraph.errors import BuildFailed
from shipgraph.oci import media_types
from shipgraph.oci.manifest import build_index

if TYPE_CHECKING:
    from shipgraph.store.memory import MemoryStore

pytestmark = pytest.mark.anyio
BASE, OWN = b"base" * 500, b"own" * 500


async def test_base_layers_become_the_bases_own(job: MemoryStore) -> None:
    base = await push_image(job, "bases/x", [BASE])
    finished = set()
    for level in (1, 6):
        built = await push_image(job, "acme/tool", [BASE, OWN], level=level)
        assert built.layers[0].digest != base.layers[0].digest
        final = await finish_image(
            job,
            "acme/tool",
            built.digest,
            platform=AMD64,
            annotations={"k": "v"},
            base_repository="bases/x",
            base=base.digest,
        )
        assert final.layers[0].digest == base.layers[0].digest
        assert final.annotations == {"k": "v"}
        assert await job.has_manifest("acme/tool", final.digest)
        assert await job.has_blob("acme/tool", base.layers[0].digest)
        finished.add(final.layers[0])
    assert len(finished) == 1


async def test_docker_types_and_a_builders_annotations_go(job: MemoryStore) -> None:
    built = await push_image(job, "acme/tool", [OWN], docker=True)
    final = await finish_image(job, "acme/tool", built.digest, platform=AMD64, annotations={})
    assert final.media_type == media_types.IMAGE_MANIFEST
    assert final.config.media_type == media_types.IMAGE_CONFIG
    assert [layer.media_type for layer in final.layers] == [media_types.LAYER_TAR_GZIP]
    assert not final.layers[0].annotations
    again = await finish_image(job, "acme/tool", final.digest, platform=AMD64, annotations={})
    assert again.raw == final.raw


async def test_wrong_images_are_refused(job: MemoryStore) -> None:
    base = await push_image(job, "bases/x", [BASE])
    arm_base = await push_image(job, "bases/x", [BASE], platform=ARM64)
    built = await push_image(job, "acme/tool", [OWN])
    with pytest.raises(BuildFailed, match="linux/amd64 instead of linux/arm64"):
        await finish_image(job, "acme/tool", built.digest, platform=ARM64, annotations={})
    with pytest.raises(BuildFailed, match="was not built from"):
        await finish_image(
            job, "acme/tool", built.digest, platform=AMD64, annotations={}, base_repository="bases/x", base=base.digest
        )
    with pytest.raises(BuildFailed, match="is an image for linux/arm64"):
        await finish_image(
            job,
            "acme/tool",
            built.digest,
            platform=AMD64,
            annotations={},
            base_repository="bases/x",
            base=arm_base.digest,
        )
    index = build_index([built.descriptor])
    await job.push_manifest("acme/tool", index)
    with pytest.raises(BuildFailed, match="is an index"):
        await finish_image(job, "acme/tool", index.digest, platform=AMD64, annotations={})
