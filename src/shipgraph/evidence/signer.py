"""Who signs: one method, and one call of it is one ceremony, however many statements it is about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shipgraph.evidence.bundle import Bundle
    from shipgraph.evidence.statement import Statement


class Signer(Protocol):
    """Signs statements."""

    @property
    def description(self) -> str:
        """Who signs, for people."""
        ...

    async def sign(self, statements: Sequence[Statement]) -> tuple[Bundle, ...]:
        """One bundle for each statement, in order, all by one identity that was proven once.

        Raises:
            SigningFailed: an authority refused, or did not answer.
        """
        ...
