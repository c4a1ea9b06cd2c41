"""Where builders keep layers between runs, by ``[build] cache``; the values that builders are given.

======== ===========================================================================================================
auto     the Actions cache where a job of GitHub Actions offers it (``action.yml``), else like local
local    the builder's own storage on this machine (buildah's below ``.shipgraph``, BuildKit's own): nothing to say
registry as well ``<namespace>/<project>-cache/<scope>`` of the target registry, one repository for each cache scope
none     nothing is read and nothing kept: every step is run
======== ===========================================================================================================

What a release reads was written by releases alone. Only a run that publishes writes a cache; a pull request's run only
reads. GitHub keeps the Actions caches of a pull request apart besides: a run on a branch can't read them. A release to
a channel with versions doesn't use that cache at all: what a branch has built of its commit is reused by its build
record, and anything else is built from nothing.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from shipgraph.build.builder import Cache

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shipgraph.project.graph import ImageSpec
    from shipgraph.project.release import Release

AUTO: Final = "auto"
LOCAL: Final = "local"
REGISTRY: Final = "registry"
NONE: Final = "none"
GHA: Final = "gha"


def image_caches(
    release: Release, image: ImageSpec, host: str, *, environment: Mapping[str, str] | None = None
) -> tuple[Cache, ...]:
    """The caches of an image's builds.

    Args:
        host: the registry that the release goes to, as this machine reaches it.
        environment: what says whether the Actions cache is offered; the process's own where None.
    """
    kind = release.project.build.cache
    if kind == REGISTRY:
        return (Cache(REGISTRY, f"{host}/{cache_repository(release, image)}", write=release.publishes),)
    offered = kind == AUTO and has_actions_cache(os.environ if environment is None else environment)
    if not offered or _is_versioned(release):
        return ()
    return (Cache(GHA, image.cache_scope, write=release.publishes and not release.rehearsal),)


def has_actions_cache(environment: Mapping[str, str]) -> bool:
    """Whether this job may use GitHub's cache: the address and the token that BuildKit needs."""
    address = environment.get("ACTIONS_RESULTS_URL") or environment.get("ACTIONS_CACHE_URL")
    return bool(environment.get("ACTIONS_RUNTIME_TOKEN") and address)


def cache_repository(release: Release, image: ImageSpec) -> str:
    """The repository of an image's cache: a scope may have letters that a repository may not."""
    scope = re.sub(r"[^a-z0-9]+", "-", image.cache_scope.lower()).strip("-") or image.key
    name = f"{release.project.name}-cache/{scope}"
    return f"{release.namespace}/{name}" if release.namespace else name


def _is_versioned(release: Release) -> bool:
    return release.channel is not None and release.project.channels[release.channel].takes_versions
