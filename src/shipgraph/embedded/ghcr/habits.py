"""The numbers behind the habits; each can be made worse for a test, or switched off."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

MIB: Final = 1 << 20
DAY: Final = 86400.0
RESTORABLE: Final = 30 * DAY
"""Seconds for which a deleted version or package can be restored."""


@dataclass(frozen=True, slots=True)
class Habits:
    """How the registry behaves. Times in seconds, rates per minute (0: no limit)."""

    lag: float = 0.0
    """So long after a tag was written, reads may show what it was before (or 404)."""
    flapping: float = 0.0
    """Within the lag, how likely a read shows the new value all the same: some of its servers know already."""
    blob_lag: float = 0.0
    """So long after a blob was uploaded, a manifest that refers to it is refused."""
    listing_lag: float = 0.0
    """So long after a deletion, the Packages API still lists what was deleted."""
    write_rate: int = 2000
    read_rate: int = 44000
    burst: float = 1.0
    """How many seconds' worth of requests may come at once."""
    faults: float = 0.0
    """How likely a request to the registry ends in an HTML page of status 502; half of them were carried out."""
    seed: int = 0
    """Of what is random here."""
    token_life: float = 300.0
    """How long a registry token works. Below 60 the token says so itself (``expires_in``), else clients assume 60."""
    mounts: bool = True
    """Whether a blob can be mounted from another package, or must be uploaded again (nobody has shown which)."""
    max_patch: int = 4 * MIB
    """Bytes that one PATCH may bring."""
    api_limit: int = 5000
    """Requests an hour to the API with a personal access token."""
    api_limit_workflow: int = 1000
    """… and with the workflow tokens of one repository."""
    api_points: int = 900
    """Points a minute for each path of the API: reading costs 1, changing 5."""
    max_downloads: int = 5000
    """A public version that was downloaded more often can't be deleted."""
    clock: Callable[[], float] = field(default=time.time, compare=False)
    """Seconds since the epoch."""
