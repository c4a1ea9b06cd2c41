"""All packages of a project ahead of its first release, so that a person can make them public before anything moves.

A package is made by the first manifest that is pushed to it: a tiny placeholder, under the tag ``bootstrap``, which
names the source repository, so that GitHub connects the two. A package that is there is never touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from shipgraph.oci import media_types
from shipgraph.oci.manifest import EMPTY_CONFIG, EMPTY_DESCRIPTOR, build_artifact
from shipgraph.store.content import from_bytes
from shipgraph.store.protocols import Lister, Pusher, Tagger
from shipgraph.tasks import gather

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from shipgraph.oci.manifest import ImageManifest

TAG: Final = "bootstrap"
PLACEHOLDER: Final = "application/vnd.shipgraph.bootstrap.v1"


class BootstrapStore(Lister, Pusher, Tagger, Protocol):
    """Lists tags, pushes, and tags."""


class Outcome(StrEnum):
    """What became of one package."""

    MADE = "made"
    THERE = "was there"
    WANTED = "would be made"


@dataclass(frozen=True, slots=True)
class Made:
    """One package."""

    repository: str
    outcome: Outcome


async def bootstrap(
    store: BootstrapStore,
    repositories: Sequence[str],
    *,
    source: str,
    exists: Callable[[str], Awaitable[bool]],
    dry_run: bool,
) -> list[Made]:
    """Make those packages that are not there.

    Args:
        source: the https address of the source repository, or empty.
        exists: whether somebody else knows the package (GitHub's API, which sees packages without tags too).

    Raises:
        Denied: a package may not be read or made.
        RegistryError
    """
    placeholder = placeholder_of(source)

    async def one(repository: str) -> Made:
        if await store.tags(repository) or await exists(repository):
            return Made(repository, Outcome.THERE)
        if dry_run:
            return Made(repository, Outcome.WANTED)
        await store.push_blob(repository, EMPTY_DESCRIPTOR, from_bytes(EMPTY_CONFIG))
        await store.tag(repository, TAG, placeholder)
        return Made(repository, Outcome.MADE)

    return await gather([partial(one, repository) for repository in repositories])


def placeholder_of(source: str) -> ImageManifest:
    """The manifest that makes a package: the same for every package of a source repository."""
    annotations = {media_types.ANNOTATION_DESCRIPTION: "made ahead of the first release; holds nothing"}
    if source:
        annotations[media_types.ANNOTATION_SOURCE] = source
    return build_artifact(PLACEHOLDER, (), annotations=annotations)
