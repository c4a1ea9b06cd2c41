"""What a registry's answer to ``GET /v2/`` tells about its habits, so that nothing hangs on its host name.

GHCR is known by the token service in its challenge (``service="ghcr.io"``), under whatever name it is reached: a proxy,
a mirror of it on another host, and the embedded registry that behaves like it. The embedded registry says two things
more, which others don't: that it honours ``If-Match``, and how long it lags.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from shipgraph.oci.distribution import HEADER_CONDITIONAL, HEADER_LAG, parse_challenge
from shipgraph.remote.credentials import GHCR

if TYPE_CHECKING:
    from shipgraph.remote.session import Reply

GHCR_SERVICE: Final = "ghcr.io"
GHCR_WRITES: Final = 4
"""Writes at the same time; more are refused with 429 soon."""
GHCR_LAG: Final = 5.0
"""Seconds within which a tag may read as it was before it was written."""
_UNAUTHORIZED: Final = 401
_SECONDS: Final = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Manners:
    """One registry's. ``service`` is the token service that it names; None where it asks for no token."""

    host: str
    service: str | None = None
    conditional: bool = False
    """Whether it honours ``If-Match`` and ``If-None-Match`` when a tag is written."""
    told_lag: float | None = None
    """Seconds; the lag that it says it has."""

    @property
    def is_ghcr(self) -> bool:
        """Whether it is GHCR, or behaves like it."""
        return self.host == GHCR or self.service == GHCR_SERVICE

    @property
    def lag(self) -> float:
        """Seconds within which a read may show what was before a write."""
        if self.told_lag is not None:
            return self.told_lag
        return GHCR_LAG if self.is_ghcr else 0.0


def read_manners(host: str, reply: Reply) -> Manners:
    """Manners in the answer to ``GET /v2/`` that was sent as nobody."""
    challenge = parse_challenge(reply.headers.get("WWW-Authenticate", "")) if reply.status == _UNAUTHORIZED else None
    lag = reply.headers.get(HEADER_LAG, "").strip()
    return Manners(
        host,
        service=None if challenge is None else challenge.get("service") or "",
        conditional=reply.headers.get(HEADER_CONDITIONAL, "").strip() == "1",
        told_lag=float(lag) if _SECONDS.fullmatch(lag) else None,
    )
