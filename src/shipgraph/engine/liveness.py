"""Whether the owner of an open transaction is known to live: GitHub's word about the run that opened it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

from shipgraph.engine.github_api import actions_api, source_repository
from shipgraph.errors import Denied, ShipgraphError
from shipgraph.events import Note, silent
from shipgraph.promote.driver import nobody_knows

if TYPE_CHECKING:
    from collections.abc import Callable

    from shipgraph.channel.journal import Owner
    from shipgraph.events import Emit
    from shipgraph.promote.driver import Liveness

REMEMBERED: Final = 30.0
"""Seconds for which an answer counts: whoever waits asks every few seconds, and GitHub has 1,000 answers an hour."""
_TOKENS: Final = ("GITHUB_TOKEN", "GH_TOKEN")
_DIGITS: Final = 18


def run_liveness(source: str, *, emit: Emit = silent) -> Liveness:
    """What GitHub knows of runs of a source repository; nobody knows where it is on another server.

    Args:
        source: the repository's https address.
        emit: is told where GitHub does not answer.
    """
    server = (os.environ.get("GITHUB_SERVER_URL") or "https://github.com").rstrip("/")
    repository = source_repository(source) if source.startswith(f"{server}/") else None
    return nobody_knows if repository is None else RunLiveness(repository, emit=emit)


class RunLiveness:
    """A ``Liveness`` by the status of the owner's run and attempt.

    It can prove an owner alive and nothing else: no answer, an unknown run, or one that waits proves nothing.
    """

    def __init__(self, repository: str, *, emit: Emit = silent, clock: Callable[[], float] = time.monotonic) -> None:
        self._repository, self._emit, self._clock = repository, emit, clock
        self._known: dict[tuple[str, int], tuple[float, bool]] = {}

    async def __call__(self, owner: Owner) -> bool:
        """See ``Liveness``."""
        if not (owner.run.isascii() and owner.run.isdigit() and len(owner.run) <= _DIGITS):
            return False  # somebody's laptop
        key, now = (owner.run, owner.attempt), self._clock()
        at, alive = self._known.get(key, (now - REMEMBERED, False))
        if now - at >= REMEMBERED:
            alive = await self._ask(owner)
            self._known[key] = (now, alive)
        return alive

    async def _ask(self, owner: Owner) -> bool:
        from shipgraph.github.runs import find_attempt
        from shipgraph.remote.retry import RetryPolicy

        try:
            async with actions_api(*_TOKENS, retries=RetryPolicy(attempts=2, patience=5)) as api:
                found = await find_attempt(api, self._repository, int(owner.run), owner.attempt)
        except ShipgraphError as error:
            why = "; a job needs `permissions: actions: read`" if isinstance(error, Denied) else ""
            self._emit(Note(f"whether run {owner.run} is alive can't be asked: {error}{why}", warning=True))
            return False
        return found is not None and found.is_running
