"""The image graph: order, levels, cycles, on random graphs too."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipgraph.errors import GraphError
from shipgraph.oci.platform import Platform
from shipgraph.project.bases import EmptyBase
from shipgraph.project.graph import Graph, ImageSpec, find_problems

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")


def image(key: str, parent: str | None = None, platforms: tuple[Platform, ...] = (AMD64,)) -> ImageSpec:
    base = EmptyBase() if parent is None else None
    return ImageSpec(key, key, key, f"{key}/Dockerfile", platforms, f"runtime-{key}", base=base, parent=parent)


@st.composite
def parents(draw: st.DrawFn) -> dict[str, str | None]:
    """Keys and parents, with cycles and unknown ones among them."""
    keys = [f"i{number}" for number in range(draw(st.integers(1, 9)))]
    return {key: draw(st.sampled_from([None, None, *keys, "nobody"])) for key in keys}


@given(parents())
def test_random_graphs(tree: dict[str, str | None]) -> None:
    images = [image(key, parent) for key, parent in tree.items()]

    def ends(key: str | None) -> bool:
        for _ in tree:
            if key is None or key not in tree:
                return key is None
            key = tree[key]
        return key is None

    if not all(ends(key) for key in tree):
        with pytest.raises(GraphError):
            Graph.of(images)
        return
    graph = Graph.of(images)
    assert sorted(graph.order) == sorted(tree)
    place = {key: index for index, key in enumerate(graph.order)}
    level = {key: number for number, keys in enumerate(graph.levels) for key in keys}
    for key, parent in tree.items():
        if parent is None:
            assert level[key] == 0
        else:
            assert place[parent] < place[key]
            assert level[parent] == level[key] - 1
            assert key in graph.children(parent)
            assert key in graph.descendants(parent)
            assert graph.ancestors(key)[0] == parent
        assert set(graph.closure([key])) == {key, *graph.ancestors(key)}
        assert all(key in graph.ancestors(below) for below in graph.descendants(key))
    # Stable: within a level as the file has them.
    order = list(tree)
    assert all(list(keys) == sorted(keys, key=order.index) for keys in graph.levels)


@given(parents())
def test_each_cycle_is_named_once(tree: dict[str, str | None]) -> None:
    problems = find_problems({key: image(key, parent) for key, parent in tree.items()})
    cycles = [problem for problem in problems if "circle" in problem.what]
    for problem in cycles:
        walk = problem.what.rpartition(": ")[2].split(" → ")
        assert walk[0] == walk[-1] == problem.image
        assert all(tree[child] == parent for child, parent in pairwise(walk))
    members = [key for problem in cycles for key in problem.what.rpartition(": ")[2].split(" → ")[:-1]]
    assert len(members) == len(set(members))


def test_platforms_of_a_child_are_its_parents() -> None:
    with pytest.raises(GraphError, match="built for linux/arm64, and its parent a is not"):
        Graph.of([image("a"), image("b", "a", (AMD64, ARM64))])
    Graph.of([image("a", None, (AMD64, ARM64)), image("b", "a")])


def test_a_long_chain_is_quick() -> None:
    chain = [image("i0"), *(image(f"i{number}", f"i{number - 1}") for number in range(1, 3000))]
    graph = Graph.of(reversed(chain))
    assert len(graph.levels) == 3000
    assert len(graph.descendants("i0")) == 2999


def test_an_image_twice() -> None:
    with pytest.raises(GraphError, match="exists twice"):
        Graph.of([image("a"), image("a")])
