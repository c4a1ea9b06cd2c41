"""A release is a pure function of project, git and trigger."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from shipgraph.errors import ConfigurationError, DirtyWorkTree, InvalidReference, UnpinnedBase
from shipgraph.oci.platform import Platform
from shipgraph.project.git import GitState
from shipgraph.project.loader import load_project
from shipgraph.project.release import parse_registry, plan_release, source_address
from shipgraph.project.trigger import Trigger, TriggerKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from shipgraph.project.spec import Project

SHA, TREE = "a" * 40, "b" * 40
AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
GIT = GitState(Path("/x"), SHA, 1_700_000_000, "main", (), TREE, remote_url="git@github.com:Acme/Demo.git")
DIRTY = replace(GIT, dirty=True, changed=tuple(f"file{number}" for number in range(7)))


@pytest.fixture
def project(write: Callable[[str], Path], valid: str) -> Project:
    return load_project(write(valid + '[payload]\nfiles = ["payload/**"]\n'))


def test_a_push_to_main(project: Project) -> None:
    release = plan_release(project, GIT, Trigger(TriggerKind.PUSH, "refs/heads/main", SHA))
    assert (release.channel, release.version, release.release_tag) == ("dev", "dev", None)
    assert release.moving_tags == ("dev",)
    assert release.registry == "ghcr.io"
    assert release.namespace == "acme"
    assert release.repository("agent") == "acme/demo-agent"
    assert release.repositories == (
        "acme/demo-base", "acme/demo", "acme/demo-agent", "acme/demo-payload", "acme/demo-metadata"
    )  # fmt: skip
    assert release.immutable_tag() == f"sha-{SHA}"
    assert release.immutable_tag(2) == f"sha-{SHA}-r2"
    assert release.source == "https://github.com/Acme/Demo"
    assert release.publishes
    assert release.platforms == (AMD64, ARM64)
    assert release.omitted_platforms == ()


def test_a_version_tag_moves_two_tags(project: Project) -> None:
    trigger = Trigger(TriggerKind.TAG, "refs/tags/v1.0.0", SHA)
    with pytest.raises(UnpinnedBase, match="channel prod takes only bases pinned by digest, and base has none"):
        plan_release(project, GIT, trigger)
    release = plan_release(project, GIT, trigger, rehearsal=True)
    assert release.moving_tags == ("prod", "v1.0.0")
    assert release.unpinned_bases == ("base",)
    assert plan_release(project, DIRTY, trigger, view=True).unpinned_bases == ("base",)
    with pytest.raises(ConfigurationError, match="which namespace"):
        plan_release(project, replace(GIT, remote_url=""), trigger, view=True)


def test_a_pull_request_publishes_nothing_and_may_be_narrow(project: Project) -> None:
    trigger = Trigger(TriggerKind.PULL_REQUEST, "refs/pull/3/merge", SHA, number=3)
    release = plan_release(project, DIRTY, trigger, platforms=[AMD64])
    assert not release.publishes
    assert release.version == "pr-3"
    assert release.moving_tags == ()
    assert release.omitted_platforms == (ARM64,)
    assert release.image_platforms("base") == (AMD64,)


def test_a_dirty_tree_is_for_rehearsals(project: Project) -> None:
    with pytest.raises(DirtyWorkTree, match="file0, file1, file2, file3, file4 and 2 more") as caught:
        plan_release(project, DIRTY, Trigger.local("dev"))
    assert "rehearse" in caught.value.hint
    release = plan_release(project, DIRTY, Trigger.local("dev"), rehearsal=True)
    assert release.dirty
    assert release.tree == TREE


def test_narrowing_is_for_rehearsals(project: Project) -> None:
    with pytest.raises(ConfigurationError, match="without linux/arm64 would be incomplete"):
        plan_release(project, GIT, Trigger.local(), platforms=[AMD64])
    release = plan_release(project, GIT, Trigger.local(), platforms=[AMD64], rehearsal=True)
    assert release.platforms == (AMD64,)
    with pytest.raises(ConfigurationError, match="not built for linux/s390x"):
        plan_release(project, GIT, Trigger.local(), platforms=[Platform("linux", "s390x")], rehearsal=True)
    with pytest.raises(ConfigurationError, match="no platform is left"):
        plan_release(project, GIT, Trigger.local(), platforms=[], rehearsal=True)


def test_a_narrowed_release_leaves_out_images_that_are_for_other_platforms(
    write: Callable[[str], Path], valid: str
) -> None:
    only = valid.replace("[images.agent]\n", '[images.agent]\nplatforms = ["linux/amd64"]\n')
    project = load_project(write(only))
    pull_request = Trigger(TriggerKind.PULL_REQUEST, "refs/pull/1/merge", SHA, number=1)
    release = plan_release(project, GIT, pull_request, platforms=[ARM64])
    assert release.project.graph.order == ("base", "demo")
    assert release.omitted_images == ("agent",)
    assert "acme/demo-agent" not in release.repositories
    assert plan_release(project, GIT, pull_request, platforms=[AMD64]).omitted_images == ()
    assert plan_release(project, GIT, Trigger.local(), rehearsal=True).omitted_images == ()


def test_an_event_about_another_commit(project: Project) -> None:
    trigger = Trigger(TriggerKind.PUSH, "refs/heads/main", "c" * 40)
    with pytest.raises(ConfigurationError, match="is checked out"):
        plan_release(project, GIT, trigger)
    assert plan_release(project, GIT, trigger, rehearsal=True).commit == SHA


def test_where_the_namespace_comes_from(project: Project) -> None:
    event = Trigger(TriggerKind.PUSH, "refs/heads/main", SHA, source="https://github.com/Forker/Demo")
    alone = replace(GIT, remote_url="/srv/git/demo")
    named = replace(project, namespace="tools", source="https://github.com/up/demo")
    sourced = replace(project, source="https://github.com/Up/demo")

    def namespace(of: Project, git: GitState = GIT, trigger: Trigger = event, **options: str) -> str:
        return plan_release(of, git, trigger, **options).namespace  # type: ignore[arg-type]

    assert namespace(project, namespace="Given/To") == "given/to"
    assert namespace(named) == "tools"
    assert namespace(sourced) == "forker"
    assert namespace(sourced, alone, Trigger.local("dev")) == "up"
    assert namespace(project, trigger=Trigger.local("dev")) == "acme"
    with pytest.raises(ConfigurationError, match="which namespace"):
        namespace(project, alone, Trigger.local("dev"))
    assert plan_release(project, alone, Trigger.local(), rehearsal=True).namespace == "demo"
    assert plan_release(sourced, GIT, event).source == "https://github.com/Up/demo"


def test_registry(project: Project) -> None:
    host, namespace = parse_registry("127.0.0.1:5000/Acme")
    release = plan_release(project, GIT, Trigger.local(), registry=host, namespace=namespace)
    assert (release.registry, release.namespace) == ("127.0.0.1:5000", "acme")
    assert parse_registry("ghcr.io") == ("ghcr.io", None)
    assert parse_registry("ghcr.io/") == ("ghcr.io", None)
    for bad in ("https://ghcr.io", "", "ghcr.io/a//b", "ghcr.io/a b", "a b", "host:99999"):
        with pytest.raises(InvalidReference):
            parse_registry(bad)


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("https://github.com/Acme/demo.git", "https://github.com/Acme/demo"),
        ("https://user:token@github.com/Acme/demo", "https://github.com/Acme/demo"),
        ("git@github.com:Acme/demo.git", "https://github.com/Acme/demo"),
        ("ssh://git@github.com:22/Acme/demo.git", "https://github.com/Acme/demo"),
        ("https://git.example.org:8443/a/b/", "https://git.example.org:8443/a/b"),
        ("/srv/git/demo.git", ""),
        ("../demo", ""),
        ("file:///srv/git/demo", ""),
        ("https://[bad", ""),
        ("https://github.com/a b", ""),
        ("", ""),
    ],
)
def test_source_address(remote: str, address: str) -> None:
    assert source_address(remote) == address
