"""Which revision of a commit a stage works on, found in the registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shipgraph.build.claims import newest_set
from shipgraph.errors import Refused

if TYPE_CHECKING:
    from shipgraph.project.release import Release
    from shipgraph.records.sets import SetRecord
    from shipgraph.store.protocols import Store


async def newest_record(release: Release, store: Store) -> SetRecord:
    """The set record of the newest revision of the release's commit.

    Raises:
        Refused: the registry has no set of this commit.
        RegistryError, MalformedDocument
    """
    record = await newest_set(store, release.metadata_repository, release.commit)
    if record is None:
        raise Refused(
            f"the registry has no release of commit {release.commit}",
            hint="`shipgraph release` or `shipgraph build` makes one",
        )
    return record


async def newest_revision(release: Release, store: Store) -> int:
    """The newest revision of the release's commit; see ``newest_record``."""
    return (await newest_record(release, store)).revision
