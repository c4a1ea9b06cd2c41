"""What a scanner is to the gate."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from shipgraph.scan.finding import Finding  # noqa: TC001 (the cache reads it back by its type)

if TYPE_CHECKING:
    from shipgraph.events import Emit
    from shipgraph.oci.manifest import ImageManifest
    from shipgraph.oci.platform import Platform
    from shipgraph.scan.finding import Hit
    from shipgraph.store.protocols import Fetcher


CODE: Final = 512
"""One zero byte in so many makes a piece of a file machine code or compressed data (which has one in 256), not text."""
SAMPLE: Final = 1 << 16


def is_code(data: bytes) -> bool:
    """Whether a piece of a file is machine code or compressed data, judged by bytes from all over it."""
    if len(data) > SAMPLE:
        data = data[:: len(data) // SAMPLE]
    return data.count(b"\0") * CODE > len(data)


class ContentScanner(Protocol):
    """Finds secrets in bytes. Called from several threads at once."""

    @property
    def name(self) -> str:
        """The scanner's name and version, for people and verdicts."""
        ...

    @property
    def version(self) -> str:
        """Changes whenever the same bytes may give another result; known without loading the rules."""
        ...

    def rules(self) -> int:
        """How many rules there are; loads them.

        Raises:
            Refused: the scanner is not there.
        """
        ...

    def scan(self, path: str, data: bytes) -> list[Hit]:
        """The secrets of one file, or of a piece of it; ``path`` may help to judge them."""
        ...


@dataclass(frozen=True, slots=True)
class Report:
    """What was found in one layer, or in one manifest with its configuration; the same bytes give the same report.

    ``files`` and ``bytes`` are what was looked at, unpacked; ``rules`` how many rules looked; ``more`` counts findings
    beyond the limit.
    """

    digest: str
    rules: int
    files: int
    bytes: int
    findings: tuple[Finding, ...]
    more: int = 0


@dataclass(frozen=True, slots=True)
class Scanned:
    """One manifest with all its layers: reports in the order of the manifest, its own first.

    ``fresh`` counts the reports that were made now, not remembered.
    """

    reports: tuple[Report, ...]
    fresh: int = field(compare=False)


class Scanner(Protocol):
    """Scans what a manifest holds, by digest."""

    @property
    def name(self) -> str:
        """The scanner's name and version."""
        ...

    @property
    def version(self) -> str:
        """The version of rules, scanner and options."""
        ...

    async def prepare(self) -> None:
        """Find out whether the scanner works at all; called once before anything is scanned.

        Raises:
            Refused: it is not there, or has no rules.
        """
        ...

    async def scan(
        self, fetcher: Fetcher, repository: str, manifest: ImageManifest, platform: Platform | None, *, emit: Emit
    ) -> Scanned:
        """Scan one manifest: its configuration, its annotations, and each of its layers.

        Raises:
            ContentError: something is not what its digest says.
            RegistryError: it can't be read.
            Refused: the scanner can't do its work.
        """
        ...
