"""Real parts for tests, started once for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .buildkit import Buildx, buildkitd
from .busybox import Layout, busybox_layout
from .registries import distribution_v3, docker_registry
from .tools import enable_arm64

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session", params=[docker_registry, distribution_v3], ids=lambda start: start.__name__)
def registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`127.0.0.1:PORT`; every test that asks for it runs against each of the two."""
    with request.param(tmp_path_factory.mktemp(request.param.__name__)) as address:
        yield address


@pytest.fixture(scope="session")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return busybox_layout(tmp_path_factory.mktemp("busybox"))


@pytest.fixture(scope="session")
def buildx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buildx]:
    enable_arm64()  # before buildkitd, which looks once for what the machine can run
    with buildkitd(tmp_path_factory.mktemp("buildkit")) as address:
        yield Buildx.at(address, tmp_path_factory.mktemp("buildx"))
