"""``[retention]`` and ``[retired]``: what they mean, and what they refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from shipgraph.project.loader import check_project, load_project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Write = Callable[[str], Path]


def test_without_a_table_ten_releases_stay_and_a_day_of_grace(write: Write, valid: str) -> None:
    spec = load_project(write(valid)).retention
    assert (spec.keep, spec.default, spec.grace, spec.unfinished) == ({}, 10, 86_400, 30 * 86_400)


def test_keep_goes_by_image_key_payload_metadata_and_retired_package(write: Write, valid: str) -> None:
    text = valid.replace("[images.demo]", '[images.demo]\nrepository = "tools/demo"') + (
        '[payload]\nfiles = ["docker/**"]\n[retired]\npackages = ["demo-old"]\n[retention]\ngrace = "2d"\n'
        "keep = { demo = 15, payload = 3, metadata = 4, demo-old = 1, default = 7 }\n"
    )
    spec = load_project(write(text)).retention
    assert spec.keep == {"tools/demo": 15, "demo-payload": 3, "demo-metadata": 4, "demo-old": 1}
    assert (spec.default, spec.grace, spec.retired) == (7, 172_800, ("demo-old",))


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ("[retention]\nkeep = { dmeo = 3 }", "there is no image 'dmeo'"),
        ("[retention]\nkeep = { payload = 3 }", "there is no image 'payload'"),  # the project has no payload
        ("[retention]\nkeep = { demo = -1 }", "retention.keep.demo"),
        ('[retention]\ngrace = "0h"', "retention.grace"),
        ('[retention]\nprotect = ["a b"]', "retention.protect[0]"),
        ('[retention]\noutside = "../elsewhere"', "leads out of the project's folder"),
        ('[retired]\npackages = ["demo-base"]', "it is the repository of base"),
        ('[retired]\npackages = ["Old"]', "not a repository name"),
        ('[retired]\npackages = ["old", "old"]', "is given twice"),
    ],
)
def test_a_mistake_is_named_with_its_place(write: Write, valid: str, tables: str, said: str) -> None:
    project, mistakes = check_project(write(f"{valid}{tables}\n"))
    assert project is None
    assert [said in str(mistake) and mistake.line is not None for mistake in mistakes] == [True]
