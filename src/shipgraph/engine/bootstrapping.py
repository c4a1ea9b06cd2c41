"""All packages of a project ahead of its first release, and which of them a person has to make public."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from shipgraph.engine.doctoring import belonging, open_packages
from shipgraph.engine.github_api import packages_api
from shipgraph.engine.visibility import how_to_open, look_as_nobody, settings_pages
from shipgraph.errors import Denied
from shipgraph.setup.bootstrap import TAG, Made, Outcome, bootstrap, placeholder_of
from shipgraph.setup.doctor import Finding, State
from shipgraph.visibility.proof import Subject

if TYPE_CHECKING:
    from shipgraph.events import Emit
    from shipgraph.github.packages import Packages
    from shipgraph.project.release import Release
    from shipgraph.remote.store import RemoteStore


async def bootstrap_packages(
    view: Release, store: RemoteStore, *, dry_run: bool, lag: float, emit: Emit
) -> list[Finding]:
    """Make every package of the project that is not there, then have nobody look at them; a row for each.

    Raises:
        Denied: a package may not be made; others may have been.
        RegistryError
    """
    ghcr = (await store.manners()).is_ghcr
    async with AsyncExitStack() as stack:
        packages = None
        if ghcr:
            packages = await open_packages(await stack.enter_async_context(packages_api(store.host)), view.namespace)

        async def exists(repository: str) -> bool:
            return packages is not None and await _visibility(packages, repository) is not None

        made = await bootstrap(store, view.repositories, source=view.source, exists=exists, dry_run=dry_run)
        closed: set[str] = set()
        if belonging(view, ghcr=ghcr).public:
            closed = await _closed(view, store, made, packages, lag=lag, emit=emit, ghcr=ghcr)
    pages = await settings_pages(store.host, sorted(closed)) if closed and ghcr else {}
    return [_row(one, pages, closed=one.repository in closed) for one in made]


async def _closed(
    view: Release,
    store: RemoteStore,
    made: list[Made],
    packages: Packages | None,
    *,
    lag: float,
    emit: Emit,
    ghcr: bool,
) -> set[str]:
    """Repositories that not everybody can read: by their placeholder, else by what GitHub says of the package."""
    subjects: list[Subject] = []
    closed: set[str] = set()
    for one in made:
        if one.outcome is Outcome.MADE:  # its tag may not be seen yet
            subjects.append(Subject(one.repository, placeholder_of(view.source).digest, TAG))
        elif (there := await store.resolve(one.repository, TAG)) is not None:
            subjects.append(Subject(one.repository, there.digest, TAG))
        elif packages is not None and await _visibility(packages, one.repository) == "private":
            closed.add(one.repository)
    looked = await look_as_nobody(store, subjects, lag=lag, emit=emit, ghcr=ghcr) if subjects else None
    return closed | {one.subject.repository for one in (looked.closed if looked is not None else ())}


async def _visibility(packages: Packages, repository: str) -> str | None:
    """What GitHub says of a package; None where it knows none, or the token may not ask."""
    try:
        found = await packages.get(repository.partition("/")[2])
    except Denied:
        return None
    return None if found is None else found.visibility


def _row(made: Made, pages: dict[str, str], *, closed: bool) -> Finding:
    name = f"package {made.repository}"
    if not closed:
        return Finding(name, State.OK, str(made.outcome))
    page = {made.repository: pages[made.repository]} if made.repository in pages else {}
    return Finding(name, State.FAILED, f"{made.outcome}; is private", how_to_open(page))
