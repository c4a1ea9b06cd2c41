"""The policy of a project, out of its file and its place in the registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from shipgraph.evidence.requirements import Kind
from shipgraph.project.git import GitState
from shipgraph.project.loader import load_project
from shipgraph.project.release import Release, plan_release
from shipgraph.project.trigger import Trigger, TriggerKind
from shipgraph.retain.policy import Role, policy_of

if TYPE_CHECKING:
    from pathlib import Path

FILE = """
[project]
name = "demo"
platforms = ["linux/amd64"]
[images.demo]
context = "."
base = "scratch"
[images.proxy]
context = "."
base = "scratch"
[payload]
files = ["Dockerfile"]
[channels.main]
on = "push:main"
[channels.stable]
on = "tag:release-*"
[retention]
keep = { demo = 15, payload = 3, demo-old = 1, default = 7 }
grace = "2d"
protect = ["keep-*"]
[retired]
packages = ["demo-old"]
"""


@pytest.fixture
def release(tmp_path: Path) -> Release:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "shipgraph.toml").write_text(FILE)
    git = GitState(tmp_path, "a" * 40, 0, "main", (), "b" * 40, remote_url="https://github.com/Acme/Demo")
    return plan_release(load_project(tmp_path), git, Trigger(TriggerKind.LOCAL), view=True)


def test_every_repository_of_the_project_has_its_role_and_its_count(release: Release) -> None:
    policy = policy_of(release)
    assert dict(policy.roles) == {
        "acme/demo": Role.IMAGE,
        "acme/demo-proxy": Role.IMAGE,
        "acme/demo-payload": Role.PAYLOAD,
        "acme/demo-metadata": Role.METADATA,
        "acme/demo-old": Role.RETIRED,
    }
    assert {name.removeprefix("acme/"): policy.count(name) for name in policy.repositories} == {
        "demo": 15, "demo-proxy": 7, "demo-payload": 3, "demo-metadata": 7, "demo-old": 1,
    }  # fmt: skip
    assert policy.most == 15


def test_the_rest_comes_from_the_file_too(release: Release) -> None:
    policy = policy_of(release)
    assert (policy.grace, policy.unfinished) == (172_800, 30 * 86_400)
    assert (policy.channels, policy.prefixes) == (("main", "stable"), ("release-",))
    assert policy.evidence == frozenset(Kind)
    assert (policy.types.metadata, policy.types.payload) == (
        "application/vnd.demo.metadata.v1+json",
        "application/vnd.demo.payload.v1",
    )
    assert policy.rules == {
        "complete releases that stay": "acme/demo 15, acme/demo-old 1, acme/demo-payload 3, everything else 7",
        "grace": "48 hours",
        "unfinished releases stay": "30 days",
        "evidence of a complete release": "gate, provenance, test",
        "channels": "main, stable",
        "versions": "release-*",
        "protected tags": "keep-*",
        "retired": "acme/demo-old",
    }
