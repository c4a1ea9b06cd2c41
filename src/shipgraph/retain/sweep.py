"""What goes: in which order, and what it frees."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from shipgraph.retain.reach import BEFORE

if TYPE_CHECKING:
    from shipgraph.retain.inventory import Inventory
    from shipgraph.retain.reach import Graph


def find_turns(graph: Graph, stays: bytearray) -> array[int]:
    """The turn in which each version goes, from 1; 0 for what stays.

    Whatever needs a version goes in an earlier turn than it. Only tags that somebody made by hand can make a circle of
    that; what is in one goes at the very end.
    """
    turns = array("I", bytes(4 * len(stays)))
    waits = array("I", bytes(4 * len(stays)))
    following: dict[int, list[int]] = {}
    for source, kept in enumerate(stays):
        if kept:
            continue
        found = [target for target, link in graph.targets(source) if link in BEFORE and not stays[target]]
        if found:
            following[source] = found
            for target in found:
                waits[target] += 1
    front = [number for number, kept in enumerate(stays) if not kept and not waits[number]]
    turn = 0
    while front:
        turn += 1
        after: list[int] = []
        for source in front:
            turns[source] = turn
            for target in following.pop(source, ()):
                waits[target] -= 1
                if not waits[target]:
                    after.append(target)
        front = after
    for number, kept in enumerate(stays):
        if not kept and not turns[number]:
            turns[number] = turn + 1
    return turns


def freed_blobs(inventory: Inventory, stays: bytearray) -> list[int]:
    """For each repository the bytes of blobs that only what goes needs there."""
    kept: list[set[int]] = [set() for _ in inventory.repositories]
    going: list[set[int]] = [set() for _ in inventory.repositories]
    begin = 0
    for number, end in enumerate(inventory.blob_ends):
        (kept if stays[number] else going)[inventory.repository[number]].update(inventory.blobs[begin:end])
        begin = end
    sizes = inventory.blob_sizes
    return [sum(sizes[blob] for blob in gone - there) for gone, there in zip(going, kept, strict=True)]
