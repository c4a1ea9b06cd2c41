"""Packages ahead of the first release."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.unit.ghcr.conftest import ADMIN, PUBLIC, READER, Rehearsal, Ticking, push, start

from shipgraph.errors import Denied
from shipgraph.oci.manifest import ImageManifest
from shipgraph.setup.bootstrap import PLACEHOLDER, TAG, Outcome, bootstrap

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NAMES = ("acme/app", "acme/app-payload", "acme/app-metadata")
SOURCE = "https://github.com/acme/app"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Rehearsal]:
    async with start(tmp_path, Ticking()) as started:
        yield started


async def nobody_knows_it(repository: str) -> bool:
    return False


async def run(server: Rehearsal, token: str, *, dry_run: bool = False) -> list[Outcome]:
    made = await bootstrap(await server.store(token), NAMES, source=SOURCE, exists=nobody_knows_it, dry_run=dry_run)
    assert [one.repository for one in made] == list(NAMES)
    return [one.outcome for one in made]


async def test_a_public_repositorys_workflow_makes_public_packages_that_are_connected(server: Rehearsal) -> None:
    assert await run(server, PUBLIC) == [Outcome.MADE] * 3
    for name in NAMES:
        package = await server.ghcr.ledger.package(name)
        assert package is not None
        assert (package.visibility, package.repository) == ("public", "acme/app")
    nobody = await server.store(None)
    there = await nobody.resolve("acme/app", TAG)
    assert there is not None
    manifest = await nobody.manifest("acme/app", there.digest)
    assert isinstance(manifest, ImageManifest)
    assert manifest.artifact_type == PLACEHOLDER


async def test_a_persons_packages_are_connected_too_by_what_the_placeholder_says(server: Rehearsal) -> None:
    await run(server, ADMIN)
    package = await server.ghcr.ledger.package("acme/app")
    assert package is not None
    assert (package.visibility, package.repository) == ("private", "acme/app")


async def test_a_second_time_nothing_is_pushed(server: Rehearsal) -> None:
    await run(server, PUBLIC)
    package = await server.ghcr.ledger.package("acme/app")
    assert package is not None
    assert await run(server, PUBLIC) == [Outcome.THERE] * 3
    assert await server.ghcr.ledger.count(package) == 1


async def test_what_is_there_is_never_touched(server: Rehearsal) -> None:
    store = await server.store(PUBLIC)
    await push(store, "acme/app", "a release", "v1")
    assert await run(server, PUBLIC) == [Outcome.THERE, Outcome.MADE, Outcome.MADE]
    assert await store.tags("acme/app") == ["v1"]


async def test_a_package_that_only_github_knows_of_is_there_too(server: Rehearsal) -> None:
    store = await server.store(PUBLIC)
    await push(store, "acme/app", "a manifest without a tag")

    async def known(repository: str) -> bool:
        return repository == "acme/app"

    made = await bootstrap(store, NAMES, source=SOURCE, exists=known, dry_run=False)
    assert made[0].outcome is Outcome.THERE
    assert await store.tags("acme/app") == []


async def test_a_dry_run_makes_nothing(server: Rehearsal) -> None:
    assert await run(server, PUBLIC, dry_run=True) == [Outcome.WANTED] * 3
    assert [await server.ghcr.ledger.package(name) for name in NAMES] == [None] * 3


async def test_without_the_right_it_is_refused(server: Rehearsal) -> None:
    with pytest.raises(Denied):
        await run(server, READER)
