"""Places for scanning: bounded, the largest first, and none is lost when work is cancelled."""

from __future__ import annotations

import anyio

from shipgraph.scan.turns import Turns


async def test_the_largest_waiting_comes_next_and_never_too_many() -> None:
    turns, order, most, running = Turns(2), list[int](), 0, 0

    async def work(size: int) -> None:
        nonlocal most, running
        async with turns.turn(size):
            running += 1
            most = max(most, running)
            order.append(size)
            await anyio.sleep(0.01)
            running -= 1

    async with anyio.create_task_group() as group:
        for size in (1, 2, 3, 9, 5, 7):
            group.start_soon(work, size)
    assert order == [1, 2, 9, 7, 5, 3]
    assert most == 2


async def test_a_cancelled_wait_leaves_its_place_to_others() -> None:
    turns = Turns(1)
    async with turns.turn(1):
        with anyio.move_on_after(0.01):
            async with turns.turn(5):
                raise AssertionError("there was no place")
    with anyio.fail_after(1):
        async with turns.turn(1):
            pass
