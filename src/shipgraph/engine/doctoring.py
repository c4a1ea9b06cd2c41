"""The doctor's round: every check, with what it needs of this machine, the registry and GitHub."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread

from shipgraph.build.emulation import can_run
from shipgraph.build.select import select_builder
from shipgraph.engine.dispatching import has_workflow
from shipgraph.engine.github_api import first_of, packages_api, source_repository
from shipgraph.engine.opening import MissingRoot, open_target
from shipgraph.engine.signing import ENVIRONMENT_KEY, KEY_VARIABLE, is_local
from shipgraph.engine.workspace import Workspace
from shipgraph.errors import ConfigurationError, ShipgraphError
from shipgraph.imagetest.select import find_engines
from shipgraph.imagetest.snapshots import open_snapshots
from shipgraph.oci.reference import is_loopback
from shipgraph.project.git import read_git
from shipgraph.remote.retry import RetryPolicy
from shipgraph.setup import doctor_machine as machine
from shipgraph.setup.doctor import Finding, State, examine, failed
from shipgraph.setup.doctor_registry import Belonging, check_clock, check_login, check_packages
from shipgraph.setup.doctor_token import check_token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from shipgraph.events import Emit
    from shipgraph.github.api import GitHubApi
    from shipgraph.github.packages import Packages
    from shipgraph.project.release import Release
    from shipgraph.remote.credentials import Credentials
    from shipgraph.remote.store import RemoteStore
    from shipgraph.setup.doctor import Check

_TOKENS: Final = ("GHCR_PAT", "GITHUB_TOKEN")
_KEYLESS: Final = "run it in a job with `permissions: id-token: write`, or sign with a key"


async def examine_project(view: Release, store: RemoteStore, *, emit: Emit) -> list[Finding]:
    """Everything that a release of this project needs, from here. Nothing is changed.

    Raises:
        ConfigurationError: docker's configuration can't be read.
    """
    project, workspace = view.project, Workspace.of(view.project.folder)
    tests = [test for image in project.graph for test in image.tests]
    apparmor = any(test.apparmor is not None for test in tests)
    checks: list[tuple[str, Check]] = [
        ("builder", partial(_builder, view, workspace, emit)),
        ("platforms", _aside(machine.check_platforms, project.platforms, can_run)),
        ("image tests", partial(_engines, workspace, store, tested=bool(tests))),
        ("kernel", _aside(machine.check_kernel, tested=bool(tests), apparmor=apparmor)),
        ("disk", _aside(machine.check_disk, workspace.root)),
        ("git history", partial(_history, view)),
        ("signing", partial(_signing, view, workspace, store.host)),
        ("docker configuration", _aside(machine.check_docker_config)),
    ]
    async with AsyncExitStack() as stack:
        checks += await _registry_checks(view, store, stack)
        return await examine(checks)


@asynccontextmanager
async def open_examined(view: Release, root: Path | None) -> AsyncIterator[RemoteStore]:
    """The registry as it is, even if it gives no answer: that is a row, and no end."""
    from shipgraph.remote.store import RemoteStore

    if root is None:
        async with RemoteStore(view.registry, retries=RetryPolicy(attempts=3)) as store:
            yield store
    else:
        async with open_target(view.registry, view.project, root, missing=MissingRoot.EMPTY) as (store, _, _):
            yield store


async def _registry_checks(view: Release, store: RemoteStore, stack: AsyncExitStack) -> list[tuple[str, Check]]:
    """What is asked of the registry and of GitHub; a registry that gives no answer is one row."""
    from shipgraph.remote.credentials import find_credentials

    try:
        manners = await store.manners()
    except ShipgraphError as error:
        return [_known("registry", error)]
    try:
        credentials = await find_credentials(store.host)
    except ConfigurationError as error:  # whatever comes after it would fail for the same reason
        return [_known("login", error)]
    api = await stack.enter_async_context(packages_api(store.host)) if manners.is_ghcr else None

    async def token() -> Finding | list[Finding]:
        assert api is not None  # noqa: S101 (asked on GHCR alone)
        return await _token(api, store.host, credentials)

    async def each() -> list[Finding]:
        packages = None if api is None else await open_packages(api, view.namespace)
        return await check_packages(store, view.repositories, packages, belonging(view, ghcr=manners.is_ghcr))

    checks: list[tuple[str, Check]] = [
        ("login", partial(check_login, store.host, manners.service, credentials)),
        ("clock", partial(check_clock, store)),
        ("packages", each),
    ]
    return [*checks, ("token", token)] if manners.is_ghcr else checks


# --- single checks ----------------------------------------------------------------------------------------------------


async def _builder(view: Release, workspace: Workspace, emit: Emit) -> Finding:
    workspace.prepare()
    builder = await select_builder(view.project.build.builder, workspace.builder, emit=emit)
    return Finding("builder", State.OK, builder.description)


async def _engines(workspace: Workspace, store: RemoteStore, *, tested: bool) -> Finding:
    name = "image tests"
    if not tested:
        return Finding(name, State.NOT_APPLICABLE, "the project has no image tests")
    workspace.prepare()
    async with open_snapshots(workspace.root / "tests") as snapshots:
        engines, problems = await find_engines(snapshots, store)
    if engines:
        return Finding(name, State.OK, ", ".join(engine.description for engine in engines))
    return Finding(name, State.FAILED, "; ".join(problems), "install docker or podman, or run as root with runc")


async def _history(view: Release) -> Finding:
    git = await read_git(view.project.folder)
    if git.is_shallow:
        return Finding(
            "git history",
            State.FAILED,
            "the clone is shallow: whether a channel is ahead can't be judged",
            "git fetch --unshallow --tags (in a workflow: actions/checkout with fetch-depth: 0)",
        )
    if git.dirty:
        return Finding(
            "git history", State.WARNING, "the work tree has changes that no commit holds", "commit or stash them"
        )
    if not view.source:
        return Finding(
            "git history",
            State.WARNING,
            "nobody says where the source is: packages will belong to no repository",
            "set source in [project], or a git remote",
        )
    return Finding("git history", State.OK, f"whole, of {view.source}")


async def _signing(view: Release, workspace: Workspace, host: str) -> Finding:
    from shipgraph.attest.key import KEY_PLACE, load_key, parse_key
    from shipgraph.attest.keyless import has_token

    name, spec = "signing", view.project.signing
    if spec.by == "keyless" or (spec.by == "auto" and has_token() and not is_local(view, host)):
        if not has_token():
            return Finding(name, State.WARNING, "the project signs keyless, and there is no identity here", _KEYLESS)
        try:
            await anyio.to_thread.run_sync(_import_sigstore)
        except ImportError:
            return Finding(
                name,
                State.FAILED,
                "the package sigstore is not installed",
                "install shipgraph with the extra `keyless`",
            )
        return Finding(name, State.OK, "keyless, with the job's identity")
    place = workspace.root / KEY_PLACE
    elsewhere = spec.by != "key" and os.environ.get("GITHUB_ACTIONS") != "true" and await has_workflow(view)
    if text := os.environ.get(KEY_VARIABLE):
        key, origin = parse_key(text.encode(), ENVIRONMENT_KEY, where=f"${KEY_VARIABLE}"), f"${KEY_VARIABLE}"
    elif await anyio.Path(place).exists():
        key, origin = load_key(place), str(place)
    elif is_local(view, host):
        return Finding(name, State.OK, "the first rehearsal makes a key")
    elif elsewhere:
        return Finding(name, State.WARNING, "nothing here can sign: releases are the workflow's", _KEYLESS)
    else:
        state = State.FAILED if view.project.evidence else State.WARNING
        return Finding(
            name,
            state,
            f"there is no key: neither ${KEY_VARIABLE} nor {place}",
            "`shipgraph attest --print-key` makes one; or run it in a job with `permissions: id-token: write`",
        )
    trusted = [one.name for one in spec.keys if one.hint == key.public.hint]
    if not trusted and not is_local(view, host):
        if elsewhere:
            what = f"the key of {origin} is for rehearsals alone: releases are the workflow's"
            return Finding(name, State.WARNING, what, _KEYLESS)
        return Finding(
            name,
            State.FAILED if view.project.evidence else State.WARNING,
            f"the key of {origin} is none that [signing] trusts",
            "`shipgraph attest --print-key` prints what [[signing.keys]] must hold",
        )
    return Finding(name, State.OK, f"the key {trusted[0] if trusted else 'of this machine'} from {origin}")


def _import_sigstore() -> None:
    import sigstore  # noqa: F401


async def _token(api: GitHubApi, host: str, found: Credentials | None) -> Finding | list[Finding]:
    if is_loopback(host):
        token, origin = (found.password or None, found.origin) if found is not None else (None, "")
    else:
        token = first_of(_TOKENS)
        origin = next((name for name in _TOKENS if os.environ.get(name, "").strip()), "")
    return await check_token(api, token, origin=origin)


async def open_packages(api: GitHubApi, namespace: str) -> Packages | None:
    """GitHub's view of the packages of a namespace; None where it gives none: the registry's own has to do then."""
    from shipgraph.github.packages import Packages, find_owner

    try:
        return Packages(api, await find_owner(api, namespace.partition("/")[0]))
    except ShipgraphError:
        return None


def belonging(view: Release, *, ghcr: bool) -> Belonging:
    """Whose packages they should be, and whether they should be public."""
    asked = view.project.visibility.require
    return Belonging(source_repository(view.source) or "", public=asked == "public" or (asked is None and ghcr))


def _known(name: str, error: ShipgraphError) -> tuple[str, Check]:
    """A check whose end is known already."""

    async def run() -> Finding:
        return failed(name, error)

    return name, run


def _aside(check: Callable[..., Any], *arguments: Any, **more: Any) -> Check:
    """A check that looks at files, in a thread."""

    async def run() -> Any:
        return await anyio.to_thread.run_sync(partial(check, *arguments, **more))

    return run
