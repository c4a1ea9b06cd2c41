"""BuildKit and the Actions cache: an image's scope, and who reads what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.e2e.build.conftest import AMD64, Log, OpenJob, image_build
from tests.real.actions_cache import ActionsCache, actions_cache
from tests.real.buildkit import buildkitd
from tests.real.tools import pinned

from shipgraph.build.builder import Cache
from shipgraph.build.select import select_builder
from shipgraph.build.stage import build_platform
from shipgraph.events import silent

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.real, pytest.mark.anyio]
MAIN, OTHER, PULL = "refs/heads/main", "refs/heads/other", "refs/pull/7/merge"
DOCKERFILE = "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nRUN echo made >/made\n"


async def test_a_release_fills_its_scope_and_a_pull_request_reads_it_and_leaves_nothing(
    tmp_path: Path, open_job: OpenJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each build on a cold BuildKit of its own, as on a fresh runner."""
    monkeypatch.setenv("PATH", str(pinned("buildx").parent), prepend=":")
    with actions_cache() as service:

        async def build(name: str, ref: str, scope: str, *, write: bool, reads: tuple[str, ...] = ()) -> str:
            for variable, value in service.environment(ref, reads=reads).items():
                monkeypatch.setenv(variable, value)
            log = Log()
            async with open_job() as job:
                with buildkitd(tmp_path / f"buildkit-{name}") as address:
                    monkeypatch.setenv("BUILDKIT_HOST", address)
                    builder = await select_builder("buildx", tmp_path / f"state-{name}", emit=silent)
                    await build_platform(
                        await image_build(tmp_path / "context", DOCKERFILE, job.bases[AMD64]),
                        builder=builder,
                        job=job.store,
                        job_address=job.address,
                        logs=tmp_path / name,
                        caches=[Cache("gha", scope, write=write)],
                        emit=log,
                    )
            return log.text

        assert "CACHED" not in await build("release", MAIN, "containai-base", write=True)
        assert scopes(service) == {(MAIN, "containai-base-linux-amd64")}
        before = dict(service.entries)
        assert "CACHED" in await build("pull", PULL, "containai-base", write=False, reads=(MAIN,))
        assert "CACHED" not in await build("scope", PULL, "runtime-proxy", write=False, reads=(MAIN,))
        assert service.entries == before
        assert not service.refused
        assert "CACHED" not in await build("branch", OTHER, "containai-base", write=False)


def scopes(service: ActionsCache) -> set[tuple[str, str]]:
    """Ref and BuildKit's scope of each index."""
    return {(ref, key.removeprefix("index-").split("-1-")[0]) for ref, key in service.indexes()}
