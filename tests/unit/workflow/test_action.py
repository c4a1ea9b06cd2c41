"""The composite action: its pins, its locks, and its script, run."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from shipgraph.workflow.pins import PINS, SCRIPT

ROOT = Path(__file__).parents[3]


def action() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
    return document


def packages(lock: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Name to pinned version and hashes."""
    found = {}
    for entry in re.split(r"\n(?=[a-z0-9])", (ROOT / lock).read_text()):
        head, *hashes = (line.strip(" \\") for line in entry.splitlines())
        name, _, version = head.partition("==")
        found[name] = (version.partition(" ;")[0], tuple(line for line in hashes if line.startswith("--hash=")))
    return found


def test_pins_are_whole_commits_with_their_release() -> None:
    for pin in PINS:
        assert re.fullmatch(r"[0-9a-f]{40}", pin.commit)
        assert re.fullmatch(r"v\d+\.\d+\.\d+", pin.version)


def test_the_action_uses_the_same_commits_as_the_workflow() -> None:
    text = (ROOT / "action.yml").read_text()
    assert re.findall(r"uses: (\S+) # (\S+)", text) == [(SCRIPT.uses, SCRIPT.version)]


def test_every_file_that_is_installed_has_a_hash_and_keyless_adds_to_the_rest() -> None:
    plain, keyless = packages("requirements.lock"), packages("requirements-keyless.lock")
    for version, hashes in (plain | keyless).values():
        assert version
        assert hashes
    assert {name: keyless[name] for name in plain} == plain
    assert "sigstore" in keyless


def test_nothing_but_the_cache_variables_is_given_to_later_steps() -> None:
    install, cache = action()["runs"]["steps"]
    assert re.findall(r">> \"\$(\w+)\"", install["run"]) == ["GITHUB_PATH"]
    assert set(re.findall(r"'(\w+)'", cache["with"]["script"])) == {
        "ACTIONS_RUNTIME_TOKEN", "ACTIONS_RESULTS_URL", "ACTIONS_CACHE_URL", "ACTIONS_CACHE_SERVICE_V2",
    }  # fmt: skip
    assert cache["if"] == "${{ inputs.cache == 'true' }}"
    assert "${{" not in install["run"]


@pytest.mark.real
def test_its_script_puts_a_shipgraph_on_the_path_that_runs(tmp_path: Path) -> None:
    """In a folder with a space in its name, as a runner of one's own may have."""
    temp = tmp_path / "runner temp"
    temp.mkdir()
    path = tmp_path / "path"
    path.touch()
    script = action()["runs"]["steps"][0]["run"]
    environment = {
        **os.environ, "RUNNER_TEMP": str(temp), "GITHUB_ACTION_PATH": str(ROOT), "GITHUB_PATH": str(path),
        "KEYLESS": "true",
    }  # fmt: skip
    environment.pop("PYTHONPATH", None)
    subprocess.run(["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script], env=environment, check=True)
    folder = Path(path.read_text().strip())
    program = folder / "shipgraph"
    assert stat.S_IMODE(program.stat().st_mode) & stat.S_IXUSR
    done = subprocess.run([program, "plan", "--nonsense"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert "shipgraph plan --help" in done.stderr
    subprocess.run([folder / "python", "-c", "import sigstore"], check=True)


@pytest.mark.real
def test_an_old_python_is_said_before_anything_is_installed(tmp_path: Path) -> None:
    fake = tmp_path / "bin" / "python3"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\nexit 1\n")
    fake.chmod(0o755)
    script = action()["runs"]["steps"][0]["run"]
    environment = {"PATH": f"{fake.parent}:/usr/bin:/bin", "RUNNER_TEMP": str(tmp_path), "KEYLESS": "false"}
    done = subprocess.run(["bash", "-eo", "pipefail", "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "::error title=shipgraph::" in done.stdout
    assert not (tmp_path / "shipgraph").exists()
