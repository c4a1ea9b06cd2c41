"""How much a scan unpacks before it calls something a bomb."""

from __future__ import annotations

from dataclasses import dataclass

MB = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes, unless it says otherwise. Whatever is larger is reported as a finding that fails, never left out quietly.

    ``window`` of a file is scanned at a time, the next one ``overlap`` bytes before its end; ``ratio`` is unpacked to
    packed bytes and counts from ``free`` unpacked bytes on; ``layer`` is a whole layer unpacked, ``nested`` all that
    comes out of one file of it; ``zipped`` the largest zip file that is opened, ``directory`` its list of members.
    """

    window: int = 4 * MB
    overlap: int = 64 << 10
    layer: int = 64 << 30
    ratio: int = 300
    free: int = 1 << 30
    nested: int = 4 << 30
    nested_free: int = 64 * MB
    zipped: int = 1 << 30
    directory: int = 8 * MB
    members: int = 200_000
    depth: int = 4
    findings: int = 1000


DEFAULT = Limits()
