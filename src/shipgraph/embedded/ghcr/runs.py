"""Workflow runs as GitHub's API tells of them: what state an attempt is in, and the start of a run by hand.

Nothing is executed here. Whoever plays GitHub Actions says what becomes of a run (``Runs.set``); a dispatched run waits
(``queued``) until somebody does.
"""

from __future__ import annotations

import json
import re
import sqlite3
import zlib
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio.to_thread
import msgspec
from starlette.responses import Response

from shipgraph.embedded.ghcr import shapes
from shipgraph.embedded.ghcr.accounts import Pat, Workflow
from shipgraph.embedded.ghcr.api import NO_INTEGRATION, ApiRefusal, authenticated, base, document

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from starlette.requests import Request
    from starlette.routing import Route

    from shipgraph.embedded.ghcr.accounts import Identity
    from shipgraph.embedded.ghcr.api import Api
    from shipgraph.embedded.ghcr.state import State

T = TypeVar("T")

FILE: Final = "runs.sqlite"
DISPATCH: Final = "workflow_dispatch"
REPOSITORY: Final = "repo"
"""The scope that a classic token needs, for a private repository or to start a run."""
MAX_INPUTS: Final = 25
_FIRST: Final = 7_000_000_000
"""Runs are numbered from here, as large as GitHub's are."""
_WORKFLOW: Final = re.compile(r"[A-Za-z0-9._-]{1,100}\.ya?ml", re.ASCII)
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS runs (
  id INTEGER NOT NULL, attempt INTEGER NOT NULL, repository TEXT NOT NULL, workflow TEXT NOT NULL, event TEXT NOT NULL,
  ref TEXT NOT NULL, status TEXT NOT NULL, conclusion TEXT, inputs TEXT NOT NULL, PRIMARY KEY (id, attempt));
"""
_COLUMNS: Final = "id, attempt, repository, workflow, event, ref, status, conclusion, inputs"


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt of a run; ``status`` and ``conclusion`` in GitHub's words."""

    id: int
    attempt: int
    repository: str
    workflow: str
    event: str
    ref: str
    status: str
    conclusion: str | None
    inputs: Mapping[str, Any]


class Runs:
    """All runs: one file in the registry's state folder, for any number of processes."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE

    async def find(self, identifier: int, attempt: int) -> Run | None:
        """An attempt."""
        query = f"SELECT {_COLUMNS} FROM runs WHERE id = ? AND attempt = ?"  # noqa: S608 (constants)
        row = await self._run(lambda db: db.execute(query, (identifier, attempt)).fetchone())
        return None if row is None else _run(row)

    async def dispatched(self) -> list[Run]:
        """The runs that were started by hand, the oldest first."""
        query = f"SELECT {_COLUMNS} FROM runs WHERE event = ? ORDER BY id, attempt"  # noqa: S608 (constants)
        return [_run(row) for row in await self._run(lambda db: db.execute(query, (DISPATCH,)).fetchall())]

    async def set(
        self,
        repository: str,
        identifier: int,
        status: str,
        *,
        attempt: int = 1,
        conclusion: str | None = None,
        workflow: str = "release.yml",
    ) -> None:
        """What a run is doing now; it is made if nobody knew it."""

        def write(db: sqlite3.Connection) -> None:
            db.execute(
                "INSERT INTO runs VALUES (?, ?, ?, ?, 'push', 'main', ?, ?, '{}') "
                "ON CONFLICT DO UPDATE SET status = excluded.status, conclusion = excluded.conclusion",
                (identifier, attempt, repository, workflow, status, conclusion),
            )

        await self._run(write)

    async def start(self, repository: str, workflow: str, ref: str, inputs: Mapping[str, Any]) -> int:
        """Queue a run by hand; its id."""

        def write(db: sqlite3.Connection) -> int:
            highest = db.execute("SELECT max(id) FROM runs").fetchone()[0]
            identifier = max(_FIRST, (highest or 0) + 1)
            db.execute(
                "INSERT INTO runs VALUES (?, 1, ?, ?, ?, ?, 'queued', NULL, ?)",
                (identifier, repository, workflow, DISPATCH, ref, json.dumps(dict(inputs))),
            )
            return int(identifier)

        return await self._run(write)

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def done() -> T:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._path, timeout=60, isolation_level="IMMEDIATE")) as db, db:
                db.executescript(_SCHEMA)
                return work(db)

        return await anyio.to_thread.run_sync(done)


def _run(row: tuple[Any, ...]) -> Run:
    identifier, attempt, repository, workflow, event, ref, status, conclusion, inputs = row
    return Run(identifier, attempt, repository, workflow, event, ref, status, conclusion, json.loads(inputs))


class RunsApi:
    """The handlers over one state."""

    def __init__(self, state: State) -> None:
        self._state, self._runs = state, state.ghcr.runs

    def routes(self, api: Api) -> list[Route]:
        """The routes to the handlers."""
        return [
            *api.route("/repos/{owner}/{repo}/actions/runs/{run}/attempts/{attempt}", self.attempt),
            *api.route("/repos/{owner}/{repo}/actions/workflows/{workflow}/dispatches", self.dispatch, "POST"),
        ]

    async def attempt(self, request: Request) -> Response:
        """``GET …/actions/runs/{run_id}/attempts/{attempt_number}``: for everybody, where the repository is public."""
        repository = self._repository(request)
        self._check_read(request.state.identity, repository)
        found = await self._runs.find(_number(request, "run"), _number(request, "attempt"))
        if found is None or found.repository.lower() != repository.lower():
            raise ApiRefusal(404, "Not Found")
        return document(self._shape(request, found))

    async def dispatch(self, request: Request) -> Response:
        """``POST …/actions/workflows/{workflow_id}/dispatches``: start a run."""
        identity, repository = authenticated(request), self._repository(request)
        self._check_start(identity, repository)
        workflow = request.path_params["workflow"]
        if not _WORKFLOW.fullmatch(workflow):
            raise ApiRefusal(404, "Not Found")
        try:
            sent = msgspec.json.decode(await request.body())
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ApiRefusal(400, "Problems parsing JSON") from None
        ref = sent.get("ref") if isinstance(sent, dict) else None
        inputs = sent.get("inputs", {}) if isinstance(sent, dict) else {}
        if not isinstance(ref, str) or not ref:
            raise ApiRefusal(422, 'Invalid request.\n\n"ref" wasn\'t supplied.')
        if not isinstance(inputs, dict) or len(inputs) > MAX_INPUTS:
            raise ApiRefusal(422, f"you may only define up to {MAX_INPUTS} `inputs` for a `workflow_dispatch` event")
        run = await self._runs.start(repository, workflow, ref, inputs)
        if sent.get("return_run_details") is not True:
            return Response(status_code=204)
        api = base(request)
        return document(
            {
                "workflow_run_id": run,
                "run_url": f"{api}/repos/{repository}/actions/runs/{run}",
                "html_url": f"{shapes.WEB}/{repository}/actions/runs/{run}",
            }
        )

    def _repository(self, request: Request) -> str:
        asked = f"{request.path_params['owner']}/{request.path_params['repo']}"
        accounts = self._state.accounts()
        identity: Identity | None = request.state.identity
        own = isinstance(identity, Workflow) and identity.repository.lower() == asked.lower()
        ruled = isinstance(identity, Pat) and identity.rules(asked.partition("/")[0]) and REPOSITORY in identity.scopes
        # what somebody may not see does not exist for them
        if not accounts.knows(asked) or not (accounts.is_public(asked) or own or ruled):
            raise ApiRefusal(404, "Not Found")
        return asked

    def _check_read(self, identity: Identity | None, repository: str) -> None:
        foreign = isinstance(identity, Workflow) and identity.repository.lower() != repository.lower()
        if isinstance(identity, Workflow) and not foreign and identity.actions == "none":
            raise ApiRefusal(403, NO_INTEGRATION)

    def _check_start(self, identity: Identity, repository: str) -> None:
        if isinstance(identity, Workflow):
            if identity.actions != "write" or identity.repository.lower() != repository.lower():
                raise ApiRefusal(403, NO_INTEGRATION)
        elif REPOSITORY not in identity.scopes or not identity.rules(repository.partition("/")[0]):
            raise ApiRefusal(403, "Must have admin rights to Repository.")

    def _shape(self, request: Request, run: Run) -> dict[str, Any]:
        api, accounts = base(request), self._state.accounts()
        owner = run.repository.partition("/")[0]
        private = not accounts.is_public(run.repository)
        place = shapes.repository(api, run.repository, accounts.owner_type(owner) or "organization", private=private)
        url = f"{api}/repos/{run.repository}/actions/runs/{run.id}"
        workflow = zlib.crc32(run.workflow.encode())
        return {
            "id": run.id,
            "name": run.workflow,
            "node_id": f"WFR_{run.id:x}",
            "head_branch": run.ref,
            "head_sha": "0" * 40,
            "path": f".github/workflows/{run.workflow}",
            "run_number": 1,
            "run_attempt": run.attempt,
            "event": run.event,
            "display_title": run.workflow,
            "status": run.status,
            "conclusion": run.conclusion,
            "workflow_id": workflow,
            "url": url,
            "html_url": f"{shapes.WEB}/{run.repository}/actions/runs/{run.id}",
            "pull_requests": [],
            "created_at": "2026-01-01T00:00:00Z",
            "updated_at": "2026-01-01T00:00:00Z",
            "jobs_url": f"{url}/jobs",
            "logs_url": f"{url}/logs",
            "check_suite_url": f"{api}/repos/{run.repository}/check-suites/{run.id}",
            "artifacts_url": f"{url}/artifacts",
            "cancel_url": f"{url}/cancel",
            "rerun_url": f"{url}/rerun",
            "workflow_url": f"{api}/repos/{run.repository}/actions/workflows/{workflow}",
            "head_commit": None,
            "repository": place,
            "head_repository": place,
        }


def _number(request: Request, name: str) -> int:
    text: str = request.path_params[name]
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise ApiRefusal(404, "Not Found")
    return int(text)
