"""GitHub's word about an owner: it proves life and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.unit.ghcr.conftest import ACCOUNTS

from shipgraph.channel.journal import Owner
from shipgraph.embedded.ghcr.state import Ghcr
from shipgraph.embedded.serving import serve
from shipgraph.engine.liveness import REMEMBERED, RunLiveness, run_liveness
from shipgraph.events import Note
from shipgraph.promote.driver import nobody_knows
from shipgraph.store.disk import DiskStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from shipgraph.events import Event

SOURCE = "https://github.com/acme/app"


def owner(run: str, attempt: int = 1) -> Owner:
    return Owner(run=run, attempt=attempt, nonce="0" * 32)


@pytest.fixture
async def ghcr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ghcr]:
    for name in ("GITHUB_TOKEN", "GH_TOKEN", "GITHUB_SERVER_URL"):
        monkeypatch.delenv(name, raising=False)
    made = Ghcr(tmp_path / ".shipgraph", ACCOUNTS)
    async with serve(DiskStore(tmp_path), ghcr=made) as address:
        monkeypatch.setenv("GITHUB_API_URL", f"http://{address}/api/v3")
        yield made


async def test_a_run_in_progress_is_alive_and_one_that_ended_is_not(ghcr: Ghcr) -> None:
    await ghcr.runs.set("acme/app", 11, "in_progress")
    await ghcr.runs.set("acme/app", 12, "completed", conclusion="cancelled")
    alive = run_liveness(SOURCE)
    assert await alive(owner("11"))
    assert not await alive(owner("12"))
    assert not await alive(owner("11", attempt=2))
    assert not await alive(owner("13"))


async def test_an_answer_counts_for_a_while_and_then_no_more(ghcr: Ghcr) -> None:
    now = [100.0]
    alive = RunLiveness("acme/app", clock=lambda: now[0])
    await ghcr.runs.set("acme/app", 11, "in_progress")
    assert await alive(owner("11"))
    await ghcr.runs.set("acme/app", 11, "completed", conclusion="success")
    assert await alive(owner("11")), "GitHub is not asked every few seconds"
    now[0] += REMEMBERED
    assert not await alive(owner("11"))


async def test_no_answer_proves_nothing(ghcr: Ghcr, monkeypatch: pytest.MonkeyPatch) -> None:
    await ghcr.runs.set("acme/app", 11, "in_progress")
    monkeypatch.setenv("GITHUB_API_URL", "http://127.0.0.1:9")
    told: list[Event] = []
    assert not await run_liveness(SOURCE, emit=told.append)(owner("11"))
    assert [isinstance(one, Note) and one.warning for one in told] == [True]


async def test_a_laptop_is_nobody_github_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_API_URL", "no address at all")
    assert not await RunLiveness("acme/app")(owner("local-12345678"))
    assert not await RunLiveness("acme/app")(owner("9" * 40))


@pytest.mark.parametrize("source", ["", "https://gitlab.example/acme/app", "https://github.com.example/acme/app"])
def test_github_is_not_asked_about_other_servers_repositories(source: str) -> None:
    assert run_liveness(source) is nobody_knows
