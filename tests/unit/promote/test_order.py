"""How releases stand to one another."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipgraph.channel.journal import Mark
from shipgraph.project.versions import Version
from shipgraph.promote.order import Standing, by_version, compare

pytestmark = pytest.mark.anyio
OPPOSITE = {Standing.AHEAD: Standing.BEHIND, Standing.BEHIND: Standing.AHEAD}
SEMVER_ORDER = [  # semver.org § 11
    "v1.0.0-alpha", "v1.0.0-alpha.1", "v1.0.0-alpha.beta", "v1.0.0-beta", "v1.0.0-beta.2", "v1.0.0-beta.11",
    "v1.0.0-rc.1", "v1.0.0", "v1.0.1", "v1.1.0", "v2.0.0", "v10.0.0",
]  # fmt: skip
numbers = st.integers(0, 30)
pre = st.lists(st.integers(0, 20).map(str) | st.sampled_from(["alpha", "beta", "rc", "x-1"]), max_size=3)
versions = st.builds(
    lambda major, minor, patch, parts: f"v{major}.{minor}.{patch}" + (f"-{'.'.join(parts)}" if parts else ""),
    numbers, numbers, numbers, pre,
)  # fmt: skip
marks = st.builds(Mark, commit=st.sampled_from("ab"), revision=st.integers(1, 3), version=versions)


def mark(version: str, commit: str = "a", revision: int = 1) -> Mark:
    return Mark(commit=commit, revision=revision, version=version)


@pytest.mark.parametrize("position", range(len(SEMVER_ORDER)))
def test_the_order_of_semver(position: int) -> None:
    for other, version in enumerate(SEMVER_ORDER):
        found = by_version(mark(SEMVER_ORDER[position]), mark(version), Version.parse)
        wanted = Standing.EQUAL if position == other else Standing.AHEAD if position > other else Standing.BEHIND
        assert found is wanted


@given(marks, marks)
def test_the_other_way_round_it_is_the_opposite(one: Mark, other: Mark) -> None:
    there, back = by_version(one, other, Version.parse), by_version(other, one, Version.parse)
    assert back is OPPOSITE.get(there, there)


@given(marks, marks, marks)
def test_ahead_of_what_is_ahead_is_ahead(one: Mark, two: Mark, three: Mark) -> None:
    ahead = Standing.AHEAD
    if by_version(one, two, Version.parse) is ahead and by_version(two, three, Version.parse) is ahead:
        assert by_version(one, three, Version.parse) is ahead


@given(marks)
def test_a_release_is_equal_to_itself(one: Mark) -> None:
    assert by_version(one, one, Version.parse) is Standing.EQUAL


@pytest.mark.parametrize("text", ["dev", "v1", "v1.0", "1.0.0.0", "", "v1.0.0+build"])
def test_no_version_is_in_no_order(text: str) -> None:
    assert by_version(mark(text), mark("v1.0.0"), Version.parse) is Standing.UNKNOWN


def test_two_commits_of_one_version_have_parted() -> None:
    assert by_version(mark("v1.0.0", "a"), mark("v1.0.0", "b"), Version.parse) is Standing.DIVERGED


async def test_a_channel_of_commits_asks_git_and_then_the_revision() -> None:
    async def ancestry(commit: str, other: str) -> Standing:
        return Standing.DIVERGED

    same = await compare(mark("dev", "a", 2), mark("dev", "a", 1), parse=None, ancestry=ancestry)
    assert same is Standing.AHEAD
    assert await compare(mark("dev", "a"), mark("dev", "b"), parse=None, ancestry=ancestry) is Standing.DIVERGED
