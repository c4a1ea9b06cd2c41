"""Claiming an immutable tag on a registry without compare-and-swap (docs/transaction.md, § Immutable tags).

The last writer wins there. So a claim is a PUT, sent once, then a wait of ``settle`` seconds until every PUT that began
before ours was seen has landed, then a read; what is read is the winner, and it is adopted. Where the registry honours
a condition there is nothing to wait for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from shipgraph.errors import RegistryUnavailable, TagMoved
from shipgraph.store.protocols import Resolver, Tagger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shipgraph.oci.digest import Digest
    from shipgraph.oci.manifest import ImageIndex, ImageManifest

    Sleep = Callable[[float], Awaitable[object]]

_READS: Final = 5
"""How often a claim that was sent is looked for before the registry counts as not answering."""


class TagClaimer(Resolver, Tagger, Protocol):
    """Reads and writes tags."""


async def claim_tag(
    store: TagClaimer,
    repository: str,
    tag: str,
    manifest: ImageManifest | ImageIndex,
    *,
    settle: float,
    sleep: Sleep,
) -> Digest:
    """Put a manifest under a tag that never changes; the digest that is there in the end, ours or another's.

    Raises:
        RegistryUnavailable: whether the claim took effect is unknown; doing it again is safe.
        RegistryError: refused.
    """
    there = await store.resolve(repository, tag)
    if there is not None:
        return there.digest
    conditional = await store.conditional()
    unknown: RegistryUnavailable | None = None
    try:
        await store.tag(repository, tag, manifest, expect=None, once=True)
    except TagMoved:
        pass  # somebody was first: read who
    except RegistryUnavailable as error:
        unknown = error  # it may have landed
    if not conditional or unknown is not None:
        await sleep(settle)
    for attempt in range(_READS):
        there = await store.resolve(repository, tag)
        if there is not None:
            return there.digest
        await sleep(settle / _READS * (attempt + 1))
    raise unknown or RegistryUnavailable(f"{repository}:{tag} was written, but can't be read back")
