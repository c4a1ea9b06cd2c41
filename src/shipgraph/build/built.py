"""What came out of a build: the value that the stage's steps hand on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.digest import Digest
from shipgraph.oci.platform import Platform
from shipgraph.records.builds import INDEX

if TYPE_CHECKING:
    from shipgraph.records.builds import BuildRecord


@dataclass(frozen=True, slots=True)
class Built:
    """One image that is there: its record, and whether it was built just now (and is in the job's registry alone)."""

    record: BuildRecord
    fresh: bool

    @property
    def digest(self) -> Digest:
        """The digest of its manifest."""
        return Digest.parse(self.record.digest)

    @property
    def descriptor(self) -> Descriptor:
        """Its descriptor for an index; without a platform for an index itself."""
        platform = None if self.record.platform == INDEX else Platform.parse(self.record.platform)
        return Descriptor(self.record.media_type, self.digest, self.record.size, platform=platform)


def now_text() -> str:
    """The time as records have it: RFC 3339, UTC, whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
