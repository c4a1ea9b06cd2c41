"""Histories that are pushed once and copied for each test."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import anyio
import pytest
from tests.e2e.retention.world import world

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RELEASES = 6


@pytest.fixture(scope="session")
def ghcr_history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six releases, a day between them, the last one 34 days ago, on a registry with GHCR's habits."""
    return make_history(tmp_path_factory.mktemp("ghcr"), ghcr=True)


@pytest.fixture(scope="session")
def plain_history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same on a plain registry, which tells no time."""
    return make_history(tmp_path_factory.mktemp("plain"), ghcr=False)


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[Path], Path]:
    """Copies a history's folder for one test."""

    def copy(history: Path) -> Path:
        return shutil.copytree(history, tmp_path / "registry")

    return copy


def make_history(folder: Path, *, ghcr: bool) -> Path:
    """A registry's folder with six releases."""

    async def make() -> None:
        with pytest.MonkeyPatch.context() as patch:
            async with world(folder, patch, ghcr=ghcr) as w:
                for number in range(1, RELEASES + 1):
                    w.days_ago(40 - number)
                    release = await w.release(number)
                    async with w.store() as store:
                        for name in ("app", "base"):
                            repository = f"acme/demo-{name}"
                            found = await store.resolve(repository, release.immutable_tag(1))
                            assert found is not None
                            await w.attach(store, repository, found.digest, "bom")

    anyio.run(make)
    return folder / "registry"
