"""Where builders keep layers between runs, by ``[build] cache``; the values that builders are given.

======== ===========================================================================================================
local    the builder's own storage on this machine (buildah's below ``.shipgraph``, BuildKit's own): nothing to say
registry as well ``<namespace>/<project>-cache/<scope>`` of the target registry, one repository for each cache scope
none     nothing is read and nothing kept: every step is run
======== ===========================================================================================================

Only a run that publishes writes the registry cache. A pull request's run reads it and never writes, so what a release
reads was written by releases alone.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from shipgraph.build.builder import Cache

if TYPE_CHECKING:
    from shipgraph.project.graph import ImageSpec
    from shipgraph.project.release import Release

LOCAL: Final = "local"
REGISTRY: Final = "registry"
NONE: Final = "none"


def image_caches(release: Release, image: ImageSpec, host: str) -> tuple[Cache, ...]:
    """The caches of an image's builds.

    Args:
        host: the registry that the release goes to, as this machine reaches it.
    """
    if release.project.build.cache != REGISTRY:
        return ()
    return (Cache(REGISTRY, f"{host}/{cache_repository(release, image)}", write=release.publishes),)


def cache_repository(release: Release, image: ImageSpec) -> str:
    """The repository of an image's cache: a scope may have letters that a repository may not."""
    scope = re.sub(r"[^a-z0-9]+", "-", image.cache_scope.lower()).strip("-") or image.key
    name = f"{release.project.name}-cache/{scope}"
    return f"{release.namespace}/{name}" if release.namespace else name
