"""Several calls at once, with their own errors instead of exception groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

T = TypeVar("T")


async def gather(calls: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """The results, in order; the first error cancels the other calls and is raised as it is."""
    results: list[T | None] = [None] * len(calls)
    first: list[Exception] = []

    async with anyio.create_task_group() as group:

        async def run(position: int, call: Callable[[], Awaitable[T]]) -> None:
            try:
                results[position] = await call()
            except Exception as error:
                first.append(error)
                group.cancel_scope.cancel()

        for position, call in enumerate(calls):
            group.start_soon(run, position, call)
    if first:
        raise first[0]
    return cast("list[T]", results)
