"""The rehearsal's Packages API answers as GitHub's OpenAPI description says, whatever it is asked."""

from __future__ import annotations

import itertools
import json
import random
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import pytest
import requests
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.unit.evidence.made import AMD64, ARM64, good, new_signer
from tests.unit.ghcr.conftest import ADMIN, BAD, LOOKER, OTHER, PRIVATE, PUBLIC, READER, STARTER, STRANGER

from shipgraph.evidence.requirements import Kind

from .conftest import RUN, SCHEMA

if TYPE_CHECKING:
    from tests.unit.ghcr.conftest import Rehearsal

pytestmark = pytest.mark.real  # the description is fetched

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
THINGS: list[dict[str, Any]] = [
    {
        "org": "acme",
        "username": "alice",
        "package_type": "container",
        "package_name": name,
        "package_version_id": version,
        "owner": "acme",
        "repo": "app",
        "subject_digest": str(AMD64),
        "run_id": RUN,
        "attempt_number": 1,
        "workflow_id": "release.yml",
    }
    for names in (("app", "deep/name", "gone", "own", "shown", "gone"),)
    for place, name in enumerate(names)
    for version in range(1 + 6 * place, 7 + 6 * place)
]
"""What there is; the versions were numbered as they came."""
MORE: dict[str, list[Any]] = {
    "org": ["Acme", "alice", "nobody"],
    "username": ["acme", "bob", "nobody"],
    "package_type": ["npm", "container"],
    "package_name": ["absent", "app"],
    "package_version_id": [10**6, 0, -1],
    "owner": ["Acme", "nobody"],
    "repo": ["App", "secret", "absent"],
    "subject_digest": [str(ARM64), "sha256:", "sha512:00"],
    "run_id": [RUN + 1, 0],
    "attempt_number": [2, 0],
    "workflow_id": ["release.yaml", 17],
}
TOKENS = [*[ADMIN] * 8, PUBLIC, STARTER, PRIVATE, READER, OTHER, LOOKER, STRANGER, BAD, ""]
OPERATIONS: list[Any] = [result.ok() for result in SCHEMA.get_all_operations()]  # type: ignore[union-attr]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
async def test_answers_are_as_described(operation: Any, filled: Rehearsal) -> None:
    seen: set[int] = set()
    numbers = itertools.count()
    bundle = json.loads((await new_signer().sign([good(Kind.PROVENANCE)]))[0].raw)
    session = requests.Session()
    session.trust_env = False

    @settings(
        max_examples=80 if operation.method.upper() == "GET" else 250,  # deleting and restoring need luck
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        # Dice of our own: what Hypothesis draws depends on the constants of whatever modules happen to be loaded.
        dice = random.Random(f"{operation.label} {next(numbers)}")
        thing, token = dice.choice(THINGS), dice.choice(TOKENS)
        for name in case.path_parameters or {}:  # what exists is asked for more often than what was made up
            if (luck := dice.random()) < 0.95:
                case.path_parameters[name] = thing[name] if luck < 0.9 else dice.choice(MORE[name])
        if operation.path.endswith("/attestations") and dice.random() < 0.5:
            case.body = {"bundle": bundle}
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        base = f"http://{filled.address}" + dice.choice(("", "/api/v3"))
        answer = case.call(base_url=base, headers=headers, session=session)
        seen.add(answer.status_code)
        case.validate_response(answer, checks=CHECKS)

    with session:
        await anyio.to_thread.run_sync(ask)
    assert seen & {200, 201, 204}, f"it never went well: {sorted(seen)}"


async def test_every_operation_that_is_described_is_served(filled: Rehearsal) -> None:
    assert len(OPERATIONS) == 32
    for operation in OPERATIONS:
        path = operation.path.format(**THINGS[0])
        answer = await filled.send(operation.method.upper(), path, token="")
        assert answer.status in {200, 401, 404}, operation.label
        assert b"there is nothing" not in answer.data
