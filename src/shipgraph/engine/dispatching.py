"""Starting the project's workflow where nothing here may sign for a channel: keyless signing happens in jobs alone.

A run that is started does what the command would have done. It is never started from within a job, never for a registry
that the workflow doesn't know, and never where a key on this machine may sign.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

import anyio

from shipgraph.attest.key import KEY_PLACE, load_key, parse_key
from shipgraph.engine.github_api import actions_api, first_of, source_repository
from shipgraph.engine.signing import ENVIRONMENT_KEY, KEY_VARIABLE, is_local
from shipgraph.engine.workspace import Workspace
from shipgraph.errors import ConfigurationError
from shipgraph.project.git import read_git

if TYPE_CHECKING:
    from shipgraph.attest.key import KeySigner
    from shipgraph.project.release import Release

TOKENS: Final = ("GITHUB_TOKEN", "GH_TOKEN", "GHCR_PAT")
FOLDER: Final = ".github/workflows"


@dataclass(frozen=True, slots=True)
class Operation:
    """What the workflow is asked to do: its inputs, and what can't be asked of it (``options``, as they were given)."""

    name: str
    channel: str
    version: str = ""
    options: tuple[str, ...] = ()

    @property
    def inputs(self) -> dict[str, str]:
        """The workflow's inputs."""
        return {"operation": self.name, "channel": self.channel, "version": self.version}


@dataclass(frozen=True, slots=True)
class Started:
    """A run that was started: where, at which ref, with what, and its page."""

    repository: str
    workflow: str
    ref: str
    operation: Operation
    page: str
    run: int | None

    def to_json(self) -> dict[str, Any]:
        """The document."""
        return {
            "dispatched": {
                "repository": self.repository,
                "workflow": self.workflow,
                "ref": self.ref,
                **self.operation.inputs,
                "page": self.page,
                "run": self.run,
            }
        }

    def __str__(self) -> str:
        return (
            f"nothing here may sign for {self.operation.channel or self.operation.version}, so {self.workflow} of "
            f"{self.repository} was started at {self.ref} with operation {self.operation.name}: {self.page}"
        )


async def start_instead(view: Release, operation: Operation, *, registry: str | None) -> Started | None:
    """Start the workflow, where that is who may sign; None where the command is to be carried out here.

    Args:
        registry: the one that was named on the command line, if any: the workflow knows only the project's own.

    Raises:
        ConfigurationError: the workflow can't be asked for this, or there is no token to start it with.
        NotFound, Denied, Rejected, RegistryError: see ``dispatch``.
    """
    if os.environ.get("GITHUB_ACTIONS") == "true" or registry is not None or view.rehearsal:
        return None
    known = operation.channel in view.project.channels
    if not known or not view.project.evidence or may_sign_here(view, operation.channel):
        return None
    repository, workflow = source_repository(view.source), view.project.workflow.file
    if repository is None or not await has_workflow(view):
        return None  # there is nobody to ask; that nothing here may sign is told where it is to be signed
    _check_options(operation)
    ref = ref_for(view, operation)
    if first_of(TOKENS) is None:
        raise ConfigurationError(
            f"only {workflow} of {repository} may sign for {operation.channel}, and no token is here to start it",
            hint=f"set one of {', '.join(TOKENS)} (for example GH_TOKEN=$(gh auth token)), or run it by hand at"
            f" {web()}/{repository}/actions/workflows/{workflow}",
        )
    from shipgraph.github.runs import dispatch
    from shipgraph.remote.retry import RetryPolicy

    async with actions_api(*TOKENS, retries=RetryPolicy(attempts=1)) as api:
        found = await dispatch(api, repository, workflow, ref, operation.inputs, web=web())
    return Started(repository, workflow, ref, operation, found.page, found.run)


async def has_workflow(view: Release) -> bool:
    """Whether the project's workflow is where GitHub looks for it.

    Raises:
        GitError
    """
    git = await read_git(view.project.folder)
    return await anyio.Path(git.root / FOLDER / view.project.workflow.file).is_file()


def may_sign_here(view: Release, channel: str) -> bool:
    """Whether this machine has something to sign a channel's metadata with that the channel accepts.

    Raises:
        ConfigurationError: the key can't be read.
    """
    from shipgraph.attest.keyless import has_token

    spec = view.project.signing
    if is_local(view, view.registry) or spec.by == "key":
        return True
    if has_token():
        return True
    key = None if spec.by == "keyless" else _key(Workspace.of(view.project.folder))
    if key is None:
        return False
    allowed = view.project.channels[channel].signer.keys if channel in view.project.channels else None
    return any(one.hint == key.public.hint and (allowed is None or one.name in allowed) for one in spec.keys)


def ref_for(view: Release, operation: Operation) -> str:
    """The ref at which the workflow must run for the channel to accept its signature: the default branch, or the tag.

    Raises:
        ConfigurationError: the channel accepts neither.
    """
    channel = view.project.channels.get(operation.channel)
    refs = channel.signer.refs if channel is not None else ()
    choices = [(f"refs/heads/{view.project.default_branch}", view.project.default_branch)]
    if operation.version:
        choices.append((f"refs/tags/{operation.version}", operation.version))
    for full, short in choices:
        if not refs or any(fnmatchcase(full, pattern) for pattern in refs):
            return short
    raise ConfigurationError(
        f"channel {operation.channel} accepts signatures of the workflow at {', '.join(refs)} alone",
        hint=f"start the workflow by hand at one of these, with operation {operation.name}",
    )


def web() -> str:
    """The address of the forge's pages."""
    return (os.environ.get("GITHUB_SERVER_URL") or "https://github.com").rstrip("/")


def _key(workspace: Workspace) -> KeySigner | None:
    place = workspace.root / KEY_PLACE
    if text := os.environ.get(KEY_VARIABLE):
        return parse_key(text.encode(), ENVIRONMENT_KEY, where=f"${KEY_VARIABLE}")
    return load_key(place) if place.exists() else None


def _check_options(operation: Operation) -> None:
    if operation.options:
        raise ConfigurationError(
            f"the workflow that would have to sign takes no {', '.join(operation.options)}",
            hint="leave it out, or run the command where it may sign (a key in [[signing.keys]], or a job)",
        )
