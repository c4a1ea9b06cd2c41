"""A rehearsal with GHCR's habits: no account, no table in the project, and every command knows the folder again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.release.conftest import Demo, copy_project, digests

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.real

ROOT = ".shipgraph/ghcr"


@pytest.fixture
def demo(template: Path, tmp_path: Path) -> Demo:
    demo = copy_project(template, tmp_path / "demo")
    demo.edit("shipgraph.toml", "[transaction]\ngap = 0.1\nsettle = 0.4\n", "")
    demo.git("remote", "add", "origin", "https://github.com/acme/demo.git")
    demo.commit()
    return demo


def test_a_rehearsal_over_ghcrs_habits_is_public_and_every_command_goes_on_with_it(demo: Demo) -> None:
    first: dict[str, Any] = demo.json("rehearse", "--ghcr", "--lag", "1", "--channel", "dev")
    assert first["moved"] is True
    again = demo.run("rehearse", "--ghcr", "--channel", "dev", "--json")
    assert again.document["unchanged"] is True
    assert digests(again.document) == digests(first)
    assert "visibility" in again.err
    assert demo.json("status", "--root", ROOT)["channels"][0]["metadata"]["serial"] == 1
    assert demo.json("verify", "dev", "--root", ROOT)["ok"] is True
    assert demo.json("refresh", "dev", "--root", ROOT)["serial"] == 2
    # what the other command wrote is what the next rehearsal finds
    assert demo.json("status", "--root", ROOT)["channels"][0]["metadata"]["serial"] == 2
    assert demo.json("rehearse", "--ghcr", "--channel", "dev")["unchanged"] is True
    # the plain rehearsal has a folder of its own
    assert not demo.root.exists()


def test_lag_alone_is_a_mistake(demo: Demo) -> None:
    assert "--lag belongs to --ghcr" in demo.run("rehearse", "--lag", "1", code=2).err
