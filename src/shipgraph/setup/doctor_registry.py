"""The registry: who we are to it, what we may write, whose packages they are, and whether its clock is ours."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from shipgraph.errors import Denied, ShipgraphError
from shipgraph.setup.doctor import Finding, State, failed
from shipgraph.store.protocols import Clock, Lister
from shipgraph.tasks import gather

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shipgraph.github.packages import ContainerPackage, Packages
    from shipgraph.remote.credentials import Credentials

SKEW: Final = 30.0
MOST_SKEW: Final = 300.0
"""Seconds: a keyless certificate lives for ten minutes, and its signature must fall into them."""


class ExaminedRegistry(Lister, Clock, Protocol):
    """What is asked of the registry."""

    host: str

    async def try_write(self, repository: str) -> None:
        """Begin an upload and give it up.

        Raises:
            Denied, RegistryError
        """
        ...


@dataclass(frozen=True, slots=True)
class Belonging:
    """Whose packages they should be: ``source`` is ``OWNER/NAME`` of the repository, empty where nobody knows it."""

    source: str
    public: bool


async def check_login(host: str, service: str | None, credentials: Credentials | None) -> Finding:
    """Which credentials are used, and where they are from; their value is never shown."""
    name = "login"
    if credentials is not None:
        return Finding(name, State.OK, f"credentials for {host} from {credentials.origin}")
    if service is None:
        return Finding(name, State.NOT_APPLICABLE, f"{host} asks nobody who they are")
    return Finding(
        name,
        State.FAILED,
        f"there are no credentials for {host}, and it takes nothing from strangers",
        f"run `docker login {host}`" + (", or set GITHUB_TOKEN or GHCR_PAT" if host == "ghcr.io" else ""),
    )


async def check_clock(store: Clock, *, clock: Callable[[], float] = time.time) -> Finding:
    """How far this machine's clock is from the registry's."""
    before = clock()
    theirs = await store.now()
    # its Date has whole seconds, and was written somewhere between the question and the answer
    skew = max(before - theirs - 1, theirs - clock(), 0.0)
    detail = f"this machine's clock is {skew:.0f} s off the registry's" if skew >= 1 else "as the registry's"
    if skew < SKEW:
        return Finding("clock", State.OK, detail)
    state = State.FAILED if skew > MOST_SKEW else State.WARNING
    return Finding("clock", state, detail, "set the clock (timedatectl set-ntp true)")


async def check_packages(
    store: ExaminedRegistry, repositories: Sequence[str], packages: Packages | None, belonging: Belonging
) -> list[Finding]:
    """Each repository: whether it is there, whose it is, and whether it may be written; nothing is written.

    Args:
        packages: GitHub's view of them; None where that is not asked.
    """
    return await gather([partial(_package, store, name, packages, belonging) for name in repositories])


async def _package(
    store: ExaminedRegistry, repository: str, packages: Packages | None, belonging: Belonging
) -> Finding:
    name = f"package {repository}"
    try:
        await store.try_write(repository)
    except Denied as denied:
        return Finding(name, State.FAILED, f"may not be written: {denied}", _how_to_write(repository, packages))
    except ShipgraphError as error:
        return failed(name, error)
    known = None
    try:
        if packages is not None:
            known = await packages.get(repository.partition("/")[2])
        there = known is not None or bool(await store.tags(repository))
    except ShipgraphError as error:
        return Finding(name, State.WARNING, f"may be written; {error}", error.hint)
    if not there:
        return Finding(
            name,
            State.WARNING if packages is not None else State.OK,
            "may be written; is not there yet",
            "the first release makes it; `shipgraph doctor --bootstrap` makes it ahead" if packages is not None else "",
        )
    if known is None or packages is None:
        return Finding(name, State.OK, "is there; may be written")
    return _known(name, known, packages, belonging)


def _known(name: str, known: ContainerPackage, packages: Packages, belonging: Belonging) -> Finding:
    page = packages.owner.settings(known.name)
    detail = f"is there, {known.visibility}, of {known.source or 'no repository'}; may be written"
    if belonging.public and known.visibility != "public":
        return Finding(
            name, State.FAILED, detail, f"GitHub has no API for it: open {page}, Danger Zone, Change visibility, Public"
        )
    if belonging.source and (known.source or "").lower() != belonging.source.lower():
        step = f"connect it to {belonging.source} on {page}"
        return Finding(name, State.WARNING, detail, f"{step}: other workflows of it may be refused")
    return Finding(name, State.OK, detail)


def _how_to_write(repository: str, packages: Packages | None) -> str:
    if packages is None:
        return "log in with an account that may write to it"
    page = packages.owner.settings(repository.partition("/")[2])
    return (
        f"a workflow needs `permissions: packages: write`, and for a package that it did not make the role Write under"
        f" Manage Actions access on {page}; a classic token the scope write:packages"
    )
