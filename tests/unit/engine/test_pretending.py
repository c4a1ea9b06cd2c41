"""Who a rehearsal over GHCR's habits is, and which folders are served that way."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from shipgraph.engine.pretending import Pretence, pretend
from shipgraph.remote.credentials import find_credentials, lent

if TYPE_CHECKING:
    from pathlib import Path

    from shipgraph.project.release import Release


def release(namespace: str, source: str) -> Release:
    return cast("Release", SimpleNamespace(namespace=namespace, source=source, project=SimpleNamespace(name="demo")))


@pytest.mark.parametrize(
    ("namespace", "source", "repository"),
    [
        ("acme", "https://github.com/Acme/app", "Acme/app"),
        ("acme/team", "https://github.com/acme/app", "acme/app"),
        ("fork", "https://github.com/acme/app", "fork/demo"),
        ("demo", "", "demo/demo"),
    ],
)
def test_it_is_the_workflow_of_the_repository_that_may_write_to_the_namespace(
    namespace: str, source: str, repository: str
) -> None:
    assert Pretence.of(release(namespace, source)).repository == repository


async def test_a_plain_folder_stays_plain_and_a_rehearsals_is_known_again(tmp_path: Path) -> None:
    assert await pretend(tmp_path, None) is None
    made = await pretend(tmp_path, Pretence("acme/app", lag=2.0))
    assert made is not None
    ghcr, _ = made
    await ghcr.ledger.create("acme/one", "public", "acme/app")
    ghcr.ledger.close()
    again = await pretend(tmp_path, None)
    assert again is not None
    ghcr, credentials = again
    identity = ghcr.accounts().identity(credentials.password)
    assert getattr(identity, "repository", None) == "acme/app"
    assert ghcr.habits.lag == 0.0
    ghcr.ledger.close()


async def test_credentials_of_an_own_registry_are_found_only_while_it_is_served(tmp_path: Path) -> None:
    made = await pretend(tmp_path, Pretence("acme/app"))
    assert made is not None
    credentials = made[1]
    assert credentials.password not in repr(credentials)
    with lent("127.0.0.1:5", credentials):
        assert await find_credentials("127.0.0.1:5") is credentials
        assert await find_credentials("127.0.0.1:6") is None
    assert await find_credentials("127.0.0.1:5") is None
