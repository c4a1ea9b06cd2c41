"""Workflow runs, as a client: what an attempt is doing, and starting a run by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import msgspec

from shipgraph.errors import Denied, NotFound, RegistryError, RegistryUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shipgraph.github.api import GitHubApi

RUNNING: Final = "in_progress"
"""The one status that proves that something of an attempt runs: a queued or waiting one may be what nobody started."""


class RunAttempt(msgspec.Struct, frozen=True):
    """One attempt of a run."""

    id: int
    html_url: str
    status: str | None = None
    conclusion: str | None = None
    run_attempt: int = 1

    @property
    def is_running(self) -> bool:
        """Whether it is proven to run."""
        return self.status == RUNNING and self.conclusion is None


class _Started(msgspec.Struct, frozen=True):
    workflow_run_id: int
    html_url: str


@dataclass(frozen=True, slots=True)
class Dispatched:
    """A run that was asked for: its page; that of the workflow where GitHub did not say which run it is."""

    page: str
    run: int | None = None


async def find_attempt(api: GitHubApi, repository: str, run: int, attempt: int) -> RunAttempt | None:
    """An attempt; None if it is not there, or the token may not see it: GitHub doesn't tell which.

    Raises:
        RegistryError
    """
    what = f"attempt {attempt} of run {run} of {repository}"
    try:
        reply = await api.get(what, f"{_path(repository)}/actions/runs/{run}/attempts/{attempt}")
    except NotFound:
        return None
    found = reply.decode(RunAttempt, what)
    return found if (found.id, found.run_attempt) == (run, attempt) else None


async def dispatch(
    api: GitHubApi, repository: str, workflow: str, ref: str, inputs: Mapping[str, str], *, web: str
) -> Dispatched:
    """Start a workflow by hand, once: whoever asks twice gets two runs.

    Args:
        api: one that repeats nothing by itself.
        workflow: the file's name.
        ref: a branch's or tag's name.
        web: the address of the forge's pages.

    Raises:
        NotFound: there is no such workflow on the default branch, or the token may not see it.
        Denied: the token may not start it.
        Rejected: the workflow takes no such inputs, or there is no such ref.
        RegistryError: no answer: whether a run was started is unknown.
    """
    what = f"start {workflow} of {repository}"
    page = f"{web}/{repository}/actions/workflows/{workflow}"
    body = {"ref": ref, "inputs": dict(inputs), "return_run_details": True}
    try:
        reply = await api.send(
            what, "POST", f"{_path(repository)}/actions/workflows/{quote(workflow, safe='')}/dispatches", body
        )
    except Denied as refused:
        raise _again(refused, what, "the token needs the scope `repo` (classic), or Actions: write") from None
    except NotFound as refused:
        hint = f"is {workflow} on the default branch, and may the token (scope `repo`, or Actions: write) see it?"
        raise _again(refused, what, hint) from None
    except RegistryUnavailable as unclear:
        # not of the kind that says "trying again is safe": a second run would do it all once more
        raise RegistryError(
            f"{what}: it is unknown whether a run was started",
            method=unclear.method,
            url=unclear.url,
            status=unclear.status,
            detail=unclear.detail,
            hint=f"look at {page} before you try again",
        ) from None
    if reply.status != 200 or not reply.body.strip():
        return Dispatched(page)
    found = reply.decode(_Started, what)
    return Dispatched(found.html_url, found.workflow_run_id)


def _again(refused: RegistryError, what: str, hint: str) -> RegistryError:
    return type(refused)(
        what,
        method=refused.method,
        url=refused.url,
        status=refused.status,
        detail=refused.detail,
        hint=hint,
    )


def _path(repository: str) -> str:
    return f"/repos/{quote(repository, safe='/')}"
