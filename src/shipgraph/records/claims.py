"""Claiming an immutable tag on a registry that may have no compare-and-swap (docs/transaction.md, last section).

After the PUT of an immutable tag the writer waits ``settle``, reads back, and takes what it finds for the truth: of two
writers at the same moment one wins, and both know which.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import anyio

from shipgraph.errors import RegistryUnavailable, TagMoved
from shipgraph.store.protocols import ANY, Resolver, Tagger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shipgraph.oci.descriptor import Descriptor
    from shipgraph.oci.manifest import ImageIndex, ImageManifest


class ClaimStore(Resolver, Tagger, Protocol):
    """Reads and writes tags."""


async def claim_tag(
    store: ClaimStore,
    repository: str,
    tag: str,
    manifest: ImageIndex | ImageManifest,
    *,
    settle: float,
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
) -> Descriptor:
    """Put a manifest under an immutable tag unless the tag exists; what the tag points at for good.

    The caller compares: another digest than its own means that somebody else was first. ``settle`` is in seconds and is
    waited only where the registry honours no ``If-None-Match`` and something was written.

    Raises:
        RegistryError: it is unknown what the tag points at.
    """
    there = await store.resolve(repository, tag)
    if there is not None:
        return there
    conditional = await store.conditional()
    try:
        await store.tag(repository, tag, manifest, expect=None if conditional else ANY)
    except TagMoved:
        pass
    else:
        if not conditional:
            await sleep(settle)
    there = await store.resolve(repository, tag)
    if there is None:
        raise RegistryUnavailable(f"{repository}:{tag} was written and can't be read back")
    return there
