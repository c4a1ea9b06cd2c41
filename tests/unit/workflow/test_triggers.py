"""What starts the workflow, and which files matter."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shipgraph.project.loader import load_project
from shipgraph.workflow.place import Place
from shipgraph.workflow.triggers import escape, path_filters

from .projects import ELSEWHERE, OURS, SHAPES, make, read

ROOT = Path(__file__).parents[3]


def matches(pattern: str, path: str) -> bool:
    """GitHub's patterns (docs.github.com, "Filter pattern cheat sheet"), as far as they are used here."""
    regex = ""
    parts = re.split(r"(\\.|\*\*|\*)", pattern)
    for part in parts:
        regex += ".*" if part == "**" else "[^/]*" if part == "*" else re.escape(part[1:] if part[:1] == "\\" else part)
    return re.fullmatch(regex, path) is not None


def triggered(patterns: tuple[str, ...], path: str) -> bool:
    return any(matches(pattern, path) for pattern in patterns)


def test_a_change_to_anything_that_the_flagship_is_made_of_starts_it() -> None:
    """All files of all contexts, the payload's, the profiles of tests, the tool itself, and the workflow."""
    project = load_project(ROOT / "containai")
    patterns = path_filters(project, Place("containai", own_action=""))
    inputs = [path for path in (ROOT / "containai" / "docker").rglob("*") if path.is_file()]
    inputs += [path for path in (ROOT / "containai" / "payload").rglob("*") if path.is_file()]
    inputs += list((ROOT / "src").rglob("*.py"))
    inputs += [ROOT / "containai" / "shipgraph.toml", ROOT / "action.yml", ROOT / "requirements-keyless.lock",
               ROOT / ".github" / "workflows" / "build-runtime-images.yml"]  # fmt: skip
    for path in inputs:
        assert triggered(patterns, path.relative_to(ROOT).as_posix()), path
    for other in ("README.md", "docs/architecture.md", "tests/conftest.py", "containai/README.md", "bench/serve.py"):
        assert not triggered(patterns, other), other


def test_another_projects_workflow_does_not_look_at_the_tools_files(tmp_path: Path) -> None:
    project = make(tmp_path, SHAPES["payload"])
    assert path_filters(project, ELSEWHERE) == (
        ".github/workflows/build-runtime-images.yml", "LICENSE", "docker/demo/**", "payload/**", "shipgraph.toml",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "changed"),
    [
        ("a/**/b?.txt", "a/x/y/b1.txt"),
        ("a/[xy]/c", "a/x/c"),
        ("*.md", "README.md"),
        ("a/plain+name!.txt", "a/plain+name!.txt"),
    ],
)
def test_at_least_what_a_payload_pattern_matches_counts(tmp_path: Path, pattern: str, changed: str) -> None:
    project = make(tmp_path, SHAPES["one image"] + f'[payload]\nfiles = ["{pattern}"]\n')
    assert triggered(path_filters(project, ELSEWHERE), changed)


def test_a_context_with_signs_in_its_name_means_itself(tmp_path: Path) -> None:
    project = make(tmp_path, SHAPES["one image"].replace("docker/demo", "docker/a+[b]!"))
    patterns = path_filters(project, ELSEWHERE)
    assert triggered(patterns, "docker/a+[b]!/Dockerfile")
    assert not triggered(patterns, "docker/aab/Dockerfile")
    assert escape("a*b") == r"a\*b"


def test_a_context_that_is_the_whole_project_makes_every_file_count(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    project = make(tmp_path, SHAPES["one image"].replace("docker/demo", "."))
    assert path_filters(project, ELSEWHERE) == ("**",)
    assert path_filters(project, Place("sub", own_action="")) == (
        ".github/workflows/build-runtime-images.yml", "action.yml", "requirements*.lock", "src/**", "sub/**",
    )  # fmt: skip


def test_triggers_are_the_channels_rules(tmp_path: Path) -> None:
    on = read(make(tmp_path, SHAPES["channels"]))["on"]
    assert on["push"]["branches"] == ["main", r"next/x\+y"]
    assert on["push"]["tags"] == ["v*", "rel-*"]
    assert [one["cron"] for one in on["schedule"]] == ["0 3 * * 1", "0 3 * * 4"]
    assert on["workflow_dispatch"]["inputs"]["operation"]["options"] == [
        "auto", "rollback", "refresh", "resume", "repair", "prune", "bootstrap",
    ]  # fmt: skip
    assert set(on["workflow_dispatch"]["inputs"]) == {"operation", "channel", "version"}


def test_the_default_channels_have_the_default_triggers(tmp_path: Path) -> None:
    on = read(make(tmp_path, SHAPES["one image"]))["on"]
    assert (on["push"]["branches"], on["push"]["tags"]) == (["main"], ["v*"])
    assert on["schedule"] == [{"cron": "0 6 * * *"}]
    assert on["pull_request"]["paths"] == on["push"]["paths"]


def test_a_project_that_no_branch_leads_to_has_no_path_filter_for_its_tags(tmp_path: Path) -> None:
    on = read(make(tmp_path, SHAPES["one image"] + '[channels.prod]\non = "tag:v*"\n'), OURS)["on"]
    assert on["push"] == {"tags": ["v*"]}
