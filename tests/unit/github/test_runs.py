"""Workflow runs over a rehearsal of GitHub's API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.ghcr.conftest import ACCOUNTS, STARTER, Ticking

from shipgraph.embedded.ghcr.accounts import Accounts, Pat, Workflow
from shipgraph.embedded.ghcr.habits import Habits
from shipgraph.embedded.ghcr.state import Ghcr
from shipgraph.embedded.serving import serve
from shipgraph.errors import Denied, NotFound, RegistryError, RegistryUnavailable
from shipgraph.github.api import GitHubApi
from shipgraph.github.runs import RunAttempt, dispatch, find_attempt
from shipgraph.remote import RetryPolicy
from shipgraph.remote.transport import Headers, TransportFailure
from shipgraph.store.disk import DiskStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from shipgraph.remote.transport import Request

WEB = "https://github.com"
BLIND, OWNER, STRANGER = "ghs_blind", "ghp_owner", "ghp_stranger"
MORE = Accounts(
    {
        **ACCOUNTS.tokens,
        BLIND: Workflow("acme/app", actions="none"),
        OWNER: Pat("alice", frozenset({"repo"}), frozenset({"acme"})),
        STRANGER: Pat("dave", frozenset({"repo"})),
    },
    ACCOUNTS.repositories,
    ACCOUNTS.owners,
)


class GitHub:
    """The rehearsal and clients of it."""

    def __init__(self, address: str, ghcr: Ghcr) -> None:
        self.ghcr, self._base = ghcr, f"http://{address}/api/v3"

    def api(self, token: str | None, **more: Any) -> GitHubApi:
        return GitHubApi(token, base=self._base, retries=RetryPolicy(attempts=1), **more)


@pytest.fixture
async def github(tmp_path: Path) -> AsyncIterator[GitHub]:
    ghcr = Ghcr(tmp_path / ".shipgraph", MORE, habits=Habits(clock=Ticking()))
    async with serve(DiskStore(tmp_path), ghcr=ghcr) as address:
        yield GitHub(address, ghcr)


async def test_only_what_is_in_progress_is_proven_to_run(github: GitHub) -> None:
    for run, status, conclusion in (
        (1, "in_progress", None),
        (2, "completed", "success"),
        (3, "queued", None),
        (4, "waiting", None),
    ):
        await github.ghcr.runs.set("acme/app", run, status, conclusion=conclusion)
    async with github.api(None) as api:
        found = [await find_attempt(api, "acme/app", run, 1) for run in (1, 2, 3, 4, 5)]
    assert [one and one.is_running for one in found] == [True, False, False, False, None]


async def test_attempts_of_a_run_are_told_apart(github: GitHub) -> None:
    await github.ghcr.runs.set("acme/app", 7, "completed", conclusion="failure")
    await github.ghcr.runs.set("acme/app", 7, "in_progress", attempt=2)
    async with github.api(None) as api:
        first, second = [await find_attempt(api, "acme/app", 7, attempt) for attempt in (1, 2)]
    assert first is not None
    assert second is not None
    assert (first.is_running, second.is_running) == (False, True)


async def test_runs_of_a_private_repository_are_for_those_who_may_see_it(github: GitHub) -> None:
    await github.ghcr.runs.set("acme/secret", 7, "in_progress")
    seen = {}
    for token in (None, "ghs_private", "ghs_public", OWNER, STRANGER):
        async with github.api(token) as api:
            seen[token] = await find_attempt(api, "acme/secret", 7, 1) is not None
    assert seen == {None: False, "ghs_private": True, "ghs_public": False, OWNER: True, STRANGER: False}


async def test_a_job_without_the_permission_learns_nothing(github: GitHub) -> None:
    await github.ghcr.runs.set("acme/app", 7, "in_progress")
    async with github.api(BLIND) as api:
        with pytest.raises(Denied):
            await find_attempt(api, "acme/app", 7, 1)


async def test_an_answer_about_another_attempt_is_no_answer(github: GitHub) -> None:
    class Other:
        """A cache that answers with whatever it has."""

        def exchange(self, request: Request) -> Any:
            return Answer(b'{"id": 7, "run_attempt": 2, "html_url": "x", "status": "in_progress"}')

        def close(self) -> None:
            """Nothing to close."""

    async with github.api(None, transport=Other()) as api:
        assert await find_attempt(api, "acme/app", 7, 1) is None
        assert isinstance(await find_attempt(api, "acme/app", 7, 2), RunAttempt)


class Answer:
    """A good answer with a body."""

    status, headers = 200, Headers()

    def __init__(self, body: bytes) -> None:
        self._body = body

    def read(self, limit: int) -> bytes:
        piece, self._body = self._body[:limit], self._body[limit:]
        return piece

    def close(self) -> None:
        """It was read to its end."""


@pytest.mark.parametrize("token", [STARTER, OWNER])
async def test_a_run_is_started_with_its_inputs_and_its_page_is_known(github: GitHub, token: str) -> None:
    async with github.api(token) as api:
        started = await dispatch(api, "acme/app", "release.yml", "main", {"operation": "rollback"}, web=WEB)
    (run,) = await github.ghcr.runs.dispatched()
    assert (run.repository, run.workflow, run.ref) == ("acme/app", "release.yml", "main")
    assert run.inputs == {"operation": "rollback"}
    assert (started.run, started.page) == (run.id, f"{WEB}/acme/app/actions/runs/{run.id}")


@pytest.mark.parametrize(
    ("token", "workflow", "error"),
    [
        ("ghs_public", "release.yml", Denied),
        ("ghp_admin", "release.yml", Denied),
        (STARTER, "release", NotFound),
        (None, "release.yml", Denied),
    ],
)
async def test_nothing_is_started_without_the_right(
    github: GitHub, token: str | None, workflow: str, error: type[RegistryError]
) -> None:
    async with github.api(token) as api:
        with pytest.raises(error) as raised:
            await dispatch(api, "acme/app", workflow, "main", {}, web=WEB)
    assert "repo" in raised.value.hint
    assert await github.ghcr.runs.dispatched() == []


async def test_a_lost_answer_is_not_asked_for_again(github: GitHub) -> None:
    class Deaf:
        """Carries the request out and loses the answer."""

        def __init__(self) -> None:
            self.sent = 0

        def exchange(self, request: Request) -> Any:
            self.sent += 1
            raise TransportFailure("the connection was cut")

        def close(self) -> None:
            """Nothing to close."""

    deaf = Deaf()
    async with github.api(STARTER, transport=deaf) as api:
        with pytest.raises(RegistryError, match="unknown whether a run was started") as raised:
            await dispatch(api, "acme/app", "release.yml", "main", {}, web=WEB)
    assert not isinstance(raised.value, RegistryUnavailable), "that would say that trying again is safe"
    assert "actions/workflows/release.yml" in raised.value.hint
    assert deaf.sent == 1
