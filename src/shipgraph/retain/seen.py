"""The digest of everything that a plan was made from: whether two plans rest on the same registry."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shipgraph.retain.history import History
    from shipgraph.retain.inventory import Inventory
    from shipgraph.retain.roots import OutsideRoot


def digest_of(inventory: Inventory, history: History, outside: Sequence[OutsideRoot]) -> str:
    """The same for the same versions, in whatever order they were listed; what a manifest says is in its digest."""
    lines = [
        f"{inventory.repositories[place]}@{inventory.digests[digest]} {identifier} {created} {updated} {sorted(tags)}"
        for place, digest, identifier, created, updated, tags in zip(
            inventory.repository,
            inventory.digest,
            inventory.id,
            inventory.created,
            inventory.updated,
            inventory.tags,
            strict=True,
        )
    ]
    lines.sort()
    hasher = hashlib.sha256()
    for line in lines:
        hasher.update(line.encode())
        hasher.update(b"\n")
    newest = history.newest
    journal = "" if newest is None else f"{newest.number} {newest.id} {newest.state}"
    hasher.update(f"{journal}\n{sorted(map(str, outside))}\n".encode())
    return f"sha256:{hasher.hexdigest()}"
