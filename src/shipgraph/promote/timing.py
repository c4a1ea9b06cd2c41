"""The timing assumption of the transaction, and the lease computed from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

GHCR: Final = "ghcr.io"


@dataclass(frozen=True, slots=True)
class Timing:
    """What is known about a registry's time behaviour; all in seconds.

    ``lag``: how long a read may return the value before the last write. ``gap``: the longest time from reading the
    journal to the claim's PUT taking effect. ``settle``: how long a claim waits before it is read back; more than
    ``2 · lag + gap``. ``margin``: after this time a PUT whose answer never came can't land any more. ``conditional``:
    the registry honours ``If-Match``, so a claim needs no wait. ``writes_per_second`` bounds the lease; ``paced``: the
    registry refuses more, so no more are sent.
    """

    lag: float
    gap: float
    settle: float
    margin: float
    conditional: bool = False
    writes_per_second: float = 10.0
    paced: bool = False

    def __post_init__(self) -> None:
        if self.settle <= 2 * self.lag + self.gap and not self.conditional:
            raise ValueError("settle must be more than 2 · lag + gap")

    def lease(self, moves: int) -> float:
        """How long the owner of a transaction with that many moves may hold it.

        Every PUT may have to be sent again once, going back included, and an unknown outcome waits ``margin`` before
        the transaction is closed; the owner itself stops at ``lease - margin``.
        """
        writing = 4 * (moves + 8) / self.writes_per_second
        return round(60 + writing + 2 * self.settle + 4 * self.margin + 4 * self.lag, 1)


def default_timing(service: str, *, conditional: bool = False, lag: float | None = None) -> Timing:
    """The defaults for a registry: GHCR has a lag of 5 s and takes 2,000 writes a minute; others have none.

    Args:
        service: the registry's host, or the token service that it names: GHCR's is ``ghcr.io``.
        conditional: whether it honours ``If-Match``.
        lag: what it says itself of its lag, in seconds. Only the embedded registry does, and it is near.
    """
    if service == GHCR and lag is None:
        found = Timing(lag=5, gap=2, settle=13, margin=60)
    else:
        behind = lag or 0
        found = Timing(lag=behind, gap=1, settle=2 * behind + 1.5, margin=5, conditional=conditional)
    return replace(found, writes_per_second=2000 / 60, paced=True) if service == GHCR else found
