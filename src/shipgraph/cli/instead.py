"""What the commands share that start the project's workflow where nothing here may sign."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shipgraph.cli.output import Output
    from shipgraph.engine.dispatching import Operation
    from shipgraph.project.release import Release


async def was_started(output: Output, view: Release, operation: Operation, *, registry: str | None) -> bool:
    """Start the workflow instead of doing it here, where that is who may sign, and say so; whether it was started."""
    from shipgraph.engine.dispatching import start_instead

    started = await start_instead(view, operation, registry=registry)
    if started is None:
        return False
    output.result(started.to_json(), str(started))
    return True
