"""A rehearsal with something in it, and GitHub's description to hold it against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from tests.unit.ghcr.conftest import ADMIN, PRIVATE, PUBLIC, Rehearsal, Ticking, push, start

from .description import description

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ERRORS = ("400", "401", "403", "404", "422")


def refusals_described(document: dict[str, Any]) -> dict[str, Any]:
    """The description with the refusals that it leaves out, and that GitHub gives all the same.

    Of many operations it knows only the good answer (``GET`` of a package has no 404); a deletion's 400 is nowhere.
    """
    answer = {
        "description": "refused",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/basic-error"}}},
    }
    for path in document["paths"].values():
        for method, operation in path.items():
            if method != "parameters":
                for status in ERRORS:
                    operation["responses"].setdefault(status, answer)
    return document


RUN = 4711
"""A workflow run of acme/app."""
DOCUMENT = refusals_described(description())
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)


async def fill(server: Rehearsal) -> None:
    """Packages of both kinds of owner, public and private, deep names, versions with and without tags, deleted ones."""
    stores = {token: await server.store(token) for token in (PUBLIC, PRIVATE, ADMIN)}
    for token, name in (
        (PUBLIC, "acme/app"),
        (PRIVATE, "acme/deep/name"),
        (PUBLIC, "acme/gone"),
        (ADMIN, "alice/own"),
        (ADMIN, "alice/shown"),
        (ADMIN, "alice/gone"),
    ):
        for number in range(6):
            server.clock.now += 1
            await push(stores[token], name, str(number), *([f"v{number}"] if number % 2 else []))
        package = await server.ghcr.ledger.package(name)
        assert package is not None
        for version in (await server.ghcr.ledger.versions(package, deleted=False, limit=2, offset=0))[0]:
            await server.ghcr.ledger.delete_version(package, version.id)
        if name.endswith("/gone"):
            await server.ghcr.ledger.delete_package(package)
    await server.ghcr.set_visibility("alice/shown", "public")
    await server.ghcr.runs.set("acme/app", RUN, "in_progress")


@pytest.fixture
async def filled(tmp_path: Path) -> AsyncIterator[Rehearsal]:
    async with start(tmp_path, Ticking(), api_limit=10**9, api_limit_workflow=10**9, api_points=0) as server:
        await fill(server)
        yield server
