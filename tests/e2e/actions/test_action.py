"""shipgraph's own action, as it is: installed by its locks from the package index, where there is only Python."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from shipgraph import __version__

from .act import Event, run
from .equivalents import OWN, TABLE
from .project import bare_project
from .workflow import load

if TYPE_CHECKING:
    from .github import GitHub

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[3]
WORKFLOW = """\
on: push
permissions: {}
jobs:
  plain:
    runs-on: ubuntu-24.04
    permissions: {contents: read}
    steps:
      - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1
        with: {persist-credentials: false}
      - uses: ./
        with: {cache: true}
      - run: |
          shipgraph --version
          cd / && shipgraph plan --help > /dev/null
          if "$(dirname "$(command -v shipgraph)")/python" -c 'import sigstore'; then echo SIGNS; fi
  keyless:
    runs-on: ubuntu-24.04
    permissions: {contents: read}
    steps:
      - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1
        with: {persist-credentials: false}
      - uses: ./
        with: {keyless: true}
      - run: |
          "$(dirname "$(command -v shipgraph)")/python" -c 'import shipgraph, sigstore.sign' && echo SIGNS
"""


def test_the_action_installs_what_a_job_needs_and_no_more(hub: GitHub, tmp_path: Path) -> None:
    demo = bare_project(hub, tmp_path / "demo")
    shutil.copytree(ROOT / "src", demo.folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("action.yml", "requirements.lock", "requirements-keyless.lock"):
        shutil.copy(ROOT / file, demo.folder)
    demo.write(".github/workflows/w.yml", WORKFLOW)
    commit = demo.commit()
    demo.push()
    event = Event("push", {"ref": "refs/heads/main"}, "refs/heads/main", commit)
    done = run(hub, event, tmp_path / "run", file="w.yml").check()
    assert done.results == {"plain": "success", "keyless": "success"}
    assert __version__ in done.jobs["plain"].log
    assert ("\nSIGNS\n" in done.jobs["plain"].log, "\nSIGNS\n" in done.jobs["keyless"].log) == (False, True)


def test_its_equivalent_takes_the_same_inputs_with_the_same_defaults() -> None:
    def inputs(folder: Path) -> dict[str, str]:
        document = load((folder / "action.yml").read_text())
        return {name: one["default"] for name, one in document["inputs"].items()}

    assert inputs(TABLE[OWN]) == inputs(ROOT)
