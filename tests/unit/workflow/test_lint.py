"""actionlint and zizmor have nothing to say, about projects of every shape and about our own files."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.real.tools import pinned

from shipgraph.workflow.rendering import render_workflow

from .projects import ELSEWHERE, OURS, SHAPES, make

if TYPE_CHECKING:
    from shipgraph.workflow.place import Place

pytestmark = pytest.mark.real
ROOT = Path(__file__).parents[3]
ZIZMOR = Path(sys.executable).with_name("zizmor")
QUEUE = 'unexpected key "queue" for "concurrency" section'


def actionlint(folder: Path, *files: str) -> list[str]:
    """What actionlint says, with the repository's own configuration; the folder is a repository."""
    done = subprocess.run(
        [pinned("actionlint"), "-format", "{{json .}}", *files], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode in (0, 1), done.stderr
    return [f"{one['filepath']}:{one['line']}: {one['message']}" for one in json.loads(done.stdout)]


def zizmor(folder: Path, *inputs: str, honest: bool = False) -> list[dict[str, Any]]:
    """What zizmor says; ``honest`` also says what is ignored."""
    done = subprocess.run(
        [ZIZMOR, "--offline", "--no-progress", "--format", "json", *(["--no-ignores"] if honest else []), *inputs],
        cwd=folder, capture_output=True, text=True,
    )  # fmt: skip
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def repository(folder: Path, text: str, place: Place = ELSEWHERE) -> Path:
    """A repository with a rendered workflow, and what a user needs so that actionlint knows `queue`."""
    project = make(folder, text)
    workflows = folder / ".github" / "workflows"
    workflows.mkdir(parents=True)
    (workflows / project.workflow.file).write_text(render_workflow(project, place))
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    return workflows / project.workflow.file


@pytest.mark.parametrize("shape", SHAPES)
def test_a_rendered_workflow_has_no_finding(tmp_path: Path, shape: str) -> None:
    """Without any configuration, but for the one key that actionlint doesn't know yet, and for runners of one's own."""
    file = repository(tmp_path, SHAPES[shape])
    if shape == "own runners":
        labels = "self-hosted-runner:\n  labels: [small, big, board-7]\n"
        (tmp_path / ".github" / "actionlint.yaml").write_text(labels)
    assert [one for one in actionlint(tmp_path) if QUEUE not in one] == []
    assert zizmor(tmp_path, str(file)) == []


@pytest.mark.parametrize("shape", ["one image", "channels"])
def test_the_action_beside_the_workflow_is_checked_with_it(tmp_path: Path, shape: str) -> None:
    """actionlint reads a local action, so an input that it doesn't have would be told."""
    shutil.copy(ROOT / "action.yml", tmp_path / "action.yml")
    file = repository(tmp_path, SHAPES[shape], OURS)
    assert [one for one in actionlint(tmp_path) if QUEUE not in one] == []
    file.write_text(file.read_text().replace("          cache: true", "          cash: true"))
    assert any('input "cash" is not defined' in one for one in actionlint(tmp_path))


def test_our_own_files_have_no_finding() -> None:
    assert actionlint(ROOT) == []
    assert zizmor(ROOT, ".github/workflows", "action.yml") == []


def test_whatever_is_ignored_is_explained_beside_it() -> None:
    for name in ("actionlint.yaml", "zizmor.yml"):
        lines = (ROOT / ".github" / name).read_text().splitlines()
        entries = [number for number, line in enumerate(lines) if re.match(r"\s+- ", line)]
        assert entries
        assert all(lines[number - 1].strip().startswith("#") for number in entries)
    action = (ROOT / "action.yml").read_text().splitlines()
    inline = [number for number, line in enumerate(action) if "zizmor: ignore" in line]
    assert len(inline) == 1
    assert action[inline[0] - 1].strip().startswith("#")
    ignored = {one["ident"] for one in zizmor(ROOT, ".github/workflows", "action.yml", honest=True)}
    assert ignored == {"self-repository", "github-env"}


def test_the_linters_would_tell_what_the_first_workflow_had(tmp_path: Path) -> None:
    """The flagship's own first workflow: a text that ends before its key does, inputs in a script."""
    file = repository(tmp_path, SHAPES["one image"])
    good = file.read_text()
    script = 'run: exec shipgraph assemble --event "$GITHUB_EVENT_PATH"'
    assert good.count(script) == 1
    file.write_text(good.replace(script, "run: |\n      a heredoc\nEOF\n"))
    with pytest.raises(yaml.YAMLError):
        yaml.safe_load(file.read_text())
    assert any("could not parse" in one or "could not find" in one for one in actionlint(tmp_path))
    file.write_text(good.replace(script, "run: shipgraph assemble ${{ inputs.version }}"))
    assert "template-injection" in {one["ident"] for one in zizmor(tmp_path, str(file))}
