"""The set of a release, claimed by the one job that comes first and joined by all others.

Bases and ages are looked at when it is claimed. A job that joins takes the set as it is: were each to look for itself,
a base that moves between two jobs would split the release in two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shipgraph.engine.bases import BaseSupply, check_pinned, settle_set
from shipgraph.engine.sets import newest_record
from shipgraph.errors import Refused

if TYPE_CHECKING:
    from shipgraph.engine.workspace import Workspace
    from shipgraph.events import Emit
    from shipgraph.project.release import Release
    from shipgraph.promote.timing import Timing
    from shipgraph.records.sets import SetRecord
    from shipgraph.store.protocols import Store


async def claim_release(
    release: Release, *, target: Store, workspace: Workspace, timing: Timing, emit: Emit
) -> SetRecord:
    """Write down what the release is made from, or join the set that says the same; nothing is built.

    Raises:
        UnpinnedBase: the channel takes only pinned bases.
        RegistryError, ConfigurationError, BuildFailed, ToolMissing, DiskFull
    """
    async with BaseSupply(release, workspace, emit=emit) as supply:
        return await settle_set(release, supply, target=target, timing=timing)


async def join_release(release: Release, supply: BaseSupply, *, target: Store) -> SetRecord:
    """The newest set of the release's commit, as it was claimed.

    Raises:
        Refused: there is none, or it is a set of another tree or of other platforms.
        UnpinnedBase, RegistryError
    """
    record = await newest_record(release, target)
    wanted = tuple(map(str, release.platforms))
    if record.tree != release.tree or record.platforms != wanted:
        raise Refused(
            f"{release.immutable_tag(record.revision)} was claimed for tree {record.tree[:12]} on"
            f" {', '.join(record.platforms)}, and this is tree {release.tree[:12]} on {', '.join(wanted)}",
            hint="claim this one first: `shipgraph build --claim-only`",
        )
    check_pinned(release, record)
    supply.use(record)
    return record
