"""Every command's JSON document has the members that docs/reference/json.md lists, and no others."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner
from tests.unit.engine.world import World, make_world

from shipgraph.attest.key import KEY_PLACE
from shipgraph.cli.main import COMMANDS, main
from shipgraph.embedded.serving import serve
from shipgraph.remote.store import RemoteStore
from shipgraph.store.disk import DiskStore

DOCUMENTED = Path(__file__).parents[3] / "docs" / "reference" / "json.md"


def members(value: Any, path: str = "") -> set[str]:
    """The paths of all members: ``[]`` for a list's elements, ``*`` for keys that are data."""
    found: set[str] = set()
    if isinstance(value, dict):
        for key, inner in value.items():
            step = "*" if "/" in key else key
            here = f"{path}.{step}" if path else step
            found |= {here} | members(inner, here)
    elif isinstance(value, list):
        for inner in value:
            found |= members(inner, f"{path}[]")
    return found


def documented() -> dict[str, set[str]]:
    """What the page lists, by command (and ``error``)."""
    sections: dict[str, set[str]] = {}
    text = DOCUMENTED.read_text()
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        head, _, body = section.partition("\n")
        listed = set(re.findall(r"^\| `([^`]+)` \|", body, re.MULTILINE))
        for other in re.findall(r"^All of `([^`]+)`", body, re.MULTILINE):
            listed |= sections[other]
        for command in re.findall(r"`([^`]+)`", head):
            sections[command] = listed
    return sections


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Path]:
    """A project with two releases in the registry of a folder, put there without a builder."""
    world = make_world(tmp_path_factory.mktemp("documents") / "demo")
    root = world.folder / ".shipgraph" / "registry"

    async def publish() -> None:
        async with serve(DiskStore(root)) as address, RemoteStore(address) as store:
            await world.publish(target=store, rehearsal=True)
            world.edit("docker/side/hello", "hello", "hallo")
            world.commit()
            await world.publish(target=store, rehearsal=True)

    anyio.run(publish)
    return world, root


CALLS = {
    "init": ["init", "--dry-run"],
    "plan": ["plan", "--root", "ROOT"],
    "release": ["release", "--root", "ROOT", "--channel", "dev"],
    "rehearse": ["rehearse"],
    "build": ["build", "--root", "ROOT"],
    "build --claim-only": ["build", "--root", "ROOT", "--claim-only"],
    "build --platform": ["build", "--root", "ROOT", "--platform", "linux/amd64"],
    "assemble": ["assemble", "--root", "ROOT"],
    "payload": ["payload", "--root", "ROOT"],
    "attest": ["attest", "--root", "ROOT"],
    "finalize": ["finalize", "--root", "ROOT"],
    "promote": ["promote", "--root", "ROOT", "--version", "v1.0.0"],
    "status": ["status", "--root", "ROOT"],
    "verify": ["verify", "dev", "--root", "ROOT"],
    "report": ["report", "dev", "--root", "ROOT"],
    "pin": ["pin"],
    "refresh": ["refresh", "dev", "--root", "ROOT"],
    "rollback": ["rollback", "dev", "--root", "ROOT"],
    "resume": ["resume", "--root", "ROOT"],
    "repair": ["repair", "--root", "ROOT"],
    "copy": ["copy", "oci:ROOT/acme/demo-app:dev", "oci:ROOT/../copied:dev"],
    "error": ["plan", "--root", "ROOT", "--channel", "nope"],
}


def call(world: World, root: Path, words: list[str]) -> dict[str, Any]:
    project = [] if words[0] == "copy" else ["--project", str(world.folder)]
    done = CliRunner().invoke(main, [*(word.replace("ROOT", str(root)) for word in words), *project, "--json"])
    found: dict[str, Any] = json.loads(done.stdout)
    assert "error" not in found or done.exit_code, done.stderr
    return found


WITHOUT_DOCUMENT = {"serve"}
ELSEWHERE = {"test", "gate", "resolve", "pull", "workflow", "visibility", "doctor", "dispatched", "prune"}
ELSEWHERE |= {"prune --undo"}
"""Compared where images can be run, ``tests/unit/imagetest``, where they are scanned, ``tests/e2e/gate``, where
metadata is signed, ``tests/unit/consume``, where workflows are rendered, ``tests/unit/workflow``, where the
registry has GHCR's habits, ``tests/e2e/visibility``, where something is deleted, ``tests/e2e/retention``, and where
GitHub starts runs, ``tests/unit/engine``."""


def test_every_command_is_documented() -> None:
    assert set(COMMANDS) - WITHOUT_DOCUMENT <= set(documented()), f"describe them in {DOCUMENTED.name}"
    assert set(CALLS) | ELSEWHERE == set(documented())


def test_members(published: tuple[World, Path]) -> None:
    """In the order of the table, so in one test: a rollback comes after all that looks at the newest release."""
    listed, wrong = documented(), {}
    for name, words in CALLS.items():
        if name == "attest":  # what the release signed counts no more, so that there is something to sign
            (published[0].folder / ".shipgraph" / KEY_PLACE).unlink()
        printed = members(call(*published, words))
        assert "error" not in printed or name == "error", name
        if printed != listed[name]:
            wrong[name] = {"listed alone": listed[name] - printed, "printed alone": printed - listed[name]}
    assert wrong == {}, f"describe them in {DOCUMENTED.name}"
