"""Several calls at once, bounded, in structured concurrency; one error comes out as itself, not in a group."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, TypeVar

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

T = TypeVar("T")


async def gather(
    calls: Sequence[Callable[[], Awaitable[T]]], *, limiter: anyio.CapacityLimiter | None = None
) -> list[T]:
    """The results of all calls, in order. The first error cancels the others and is raised as it is."""
    if len(calls) == 1 and limiter is None:
        return [await calls[0]()]
    results: dict[int, T] = {}

    async def one(position: int, call: Callable[[], Awaitable[T]]) -> None:
        async with limiter if limiter is not None else nullcontext():
            results[position] = await call()

    try:
        async with anyio.create_task_group() as group:
            for position, call in enumerate(calls):
                group.start_soon(one, position, call)
    except BaseExceptionGroup as errors:
        raise first_error(errors) from None
    return [results[position] for position in range(len(calls))]


def first_error(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of a group of groups; what happened first is what the user has to mend first."""
    inner: BaseException = errors
    while isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    return inner
