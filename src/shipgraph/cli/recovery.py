"""What the commands that undo and mend share: opening the registry, and how an outcome is shown."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from shipgraph.cli.running import Interrupt
    from shipgraph.engine.recovering import Recovery
    from shipgraph.events import Emit
    from shipgraph.promote.protocol import Settled, Unchanged


@asynccontextmanager
async def open_recovery(
    folder: Path, registry: str | None, root: Path | None, interrupt: Interrupt, emit: Emit, *, wait: bool = False
) -> AsyncIterator[Recovery]:
    """A project's channels on its registry, ready to be mended."""
    from shipgraph.engine.attesting import renewal_signer
    from shipgraph.engine.finalizing import Transacting
    from shipgraph.engine.liveness import run_liveness
    from shipgraph.engine.opening import open_target, open_view
    from shipgraph.engine.recovering import Recovery
    from shipgraph.engine.untagging import FittingUntagger
    from shipgraph.engine.workspace import Workspace
    from shipgraph.promote.stage import Wishes

    view = await open_view(folder, registry, root)
    async with open_target(view.registry, view.project, root) as (store, timing, jobs):
        transacting = Transacting(Wishes(wait), jobs=jobs, stop=lambda: interrupt.asked, protected=interrupt.protected)
        workspace = Workspace.of(view.project.folder)
        sign = renewal_signer(view, workspace, store, host=store.host, lag=timing.lag, emit=emit)
        yield Recovery(
            view,
            store,
            timing,
            transacting,
            emit=emit,
            alive=run_liveness(view.source, emit=emit),
            untagger=FittingUntagger(store, lag=timing.lag),
            sign=sign,
        )


def outcome_json(channel: str, outcome: Settled | Unchanged) -> dict[str, Any]:
    """A transaction's outcome as JSON."""
    from shipgraph.promote.protocol import Settled

    moves = outcome.moves if isinstance(outcome, Settled) else ()
    return {
        "channel": channel,
        "serial": outcome.serial,
        "metadata": None if outcome.metadata is None else str(outcome.metadata),
        "changed": isinstance(outcome, Settled),
        "moves": [
            {"repository": move.repository, "tag": move.tag, "before": move.before, "after": move.after}
            for move in moves
        ],
    }
