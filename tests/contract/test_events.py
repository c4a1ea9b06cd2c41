"""GitHub's own event files lead to the right channel, version and tags."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from shipgraph.errors import ConfigurationError
from shipgraph.github.event import read_event
from shipgraph.project.git import GitState
from shipgraph.project.loader import load_project
from shipgraph.project.release import Release, plan_release
from shipgraph.project.trigger import TriggerKind

from .webhooks import examples

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.real  # the examples are fetched

FILE = """\
[project]
name = "demo"
platforms = ["linux/amd64", "linux/arm64"]
default-branch = "{branch}"
[images.base]
context = "base"
base = "scratch"
[payload]
files = ["base/*"]
"""
COMMIT = "c" * 40


def files(kind: str, *, deleted: bool = False) -> list[dict[str, Any]]:
    """The examples of a kind; of pushes, those that delete a ref or the others."""
    found = [event for event in examples(kind) if event.get("deleted", False) is deleted]
    assert found
    return found


def actions(event: dict[str, Any], kind: str, ref: str, commit: str) -> dict[str, str]:
    """What the runner says beside the file."""
    return {
        "GITHUB_EVENT_NAME": kind,
        "GITHUB_REF": ref,
        "GITHUB_SHA": commit,
        "GITHUB_REPOSITORY": event["repository"]["full_name"],
        "GITHUB_SERVER_URL": "https://github.com",
    }


def release(folder: Path, event: dict[str, Any], environment: dict[str, str], commit: str = COMMIT) -> Release:
    """What an event releases, in a project that has the defaults."""
    (folder / "base").mkdir(exist_ok=True)
    (folder / "base" / "Dockerfile").write_text("FROM scratch\n")
    (folder / "shipgraph.toml").write_text(FILE.format(branch=event["repository"]["default_branch"]))
    place = folder / "event.json"
    place.write_text(json.dumps(event))
    trigger = read_event(place, environment)
    owner, _, name = event["repository"]["full_name"].partition("/")
    made = plan_release(load_project(folder), GitState(folder, commit, 1_700_000_000, None, (), "b" * 40), trigger)
    assert made.source == f"https://github.com/{owner}/{name}"
    assert made.namespace == owner.lower()
    assert made.immutable_tag() == f"sha-{commit}"
    return made


@pytest.mark.parametrize("inside", [True, False], ids=["in Actions", "anywhere"])
def test_a_push_to_the_default_branch_is_dev(tmp_path: Path, inside: bool) -> None:
    found = [event for event in files("push") if event["ref"].startswith("refs/heads/")]
    for event in found:
        commit = event["head_commit"]["id"]
        environment = actions(event, "push", event["ref"], commit) if inside else {}
        made = release(tmp_path, event, environment, commit)
        assert (made.trigger.kind, made.channel, made.version) == (TriggerKind.PUSH, "dev", "dev")
        assert (made.moving_tags, made.publishes) == (("dev",), True)
    assert found


@pytest.mark.parametrize("inside", [True, False], ids=["in Actions", "anywhere"])
def test_a_version_tag_is_prod_and_the_release_tag(tmp_path: Path, inside: bool) -> None:
    found = [event for event in files("push") if event["ref"].startswith("refs/tags/")]
    for event in found:
        commit = event["head_commit"]["id"]
        named = {**event, "ref": "refs/tags/v1.2.3", "after": "d" * 40}  # as an annotated tag's own id would be
        environment = actions(event, "push", named["ref"], commit) if inside else {}
        made = release(tmp_path, named, environment, commit)
        assert (made.trigger.kind, made.channel, made.version) == (TriggerKind.TAG, "prod", "v1.2.3")
        assert (made.moving_tags, made.release_tag) == (("prod", "v1.2.3"), "v1.2.3")
        with pytest.raises(ConfigurationError, match="simple-tag"):
            release(tmp_path, event, actions(event, "push", event["ref"], commit) if inside else {}, commit)
    assert found


def test_a_deleted_ref_releases_nothing(tmp_path: Path) -> None:
    for event in files("push", deleted=True):
        for environment in ({}, actions(event, "push", event["ref"], COMMIT)):
            with pytest.raises(ConfigurationError, match="deletes its ref"):
                release(tmp_path, event, environment)


@pytest.mark.parametrize("inside", [True, False], ids=["in Actions", "anywhere"])
def test_a_pull_request_has_its_number_and_moves_nothing(tmp_path: Path, inside: bool) -> None:
    for event in files("pull_request"):
        ref = f"refs/pull/{event['number']}/merge"
        made = release(tmp_path, event, actions(event, "pull_request", ref, COMMIT) if inside else {})
        assert (made.trigger.kind, made.channel, made.version) == (TriggerKind.PULL_REQUEST, None, "pr-2")
        assert (made.moving_tags, made.publishes) == ((), False)


@pytest.mark.parametrize("inside", [True, False], ids=["in Actions", "anywhere"])
def test_a_dispatch_is_what_its_inputs_say(tmp_path: Path, inside: bool) -> None:
    for event in files("workflow_dispatch"):
        for inputs, wanted in (
            (event["inputs"], ("dev", "dev", ("dev",))),
            ({"operation": "auto", "channel": "", "version": ""}, ("dev", "dev", ("dev",))),
            ({"channel": "nightly", "version": ""}, ("nightly", "nightly", ("nightly",))),
        ):
            asked = {**event, "inputs": inputs}
            environment = actions(event, "workflow_dispatch", event["ref"], COMMIT) if inside else {}
            made = release(tmp_path, asked, environment)
            assert made.trigger.kind is TriggerKind.DISPATCH
            assert (made.channel, made.version, made.moving_tags) == wanted


def test_a_schedule_is_nightly(tmp_path: Path) -> None:
    for event in files("workflow_dispatch"):
        kept = ("organization", "repository", "enterprise", "workflow")  # as Actions makes up the event of a schedule
        scheduled = {**{name: event[name] for name in kept if name in event}, "schedule": "0 6 * * *"}
        ref = f"refs/heads/{event['repository']['default_branch']}"
        for environment in ({}, actions(event, "schedule", ref, COMMIT)):
            made = release(tmp_path, scheduled, environment)
            assert (made.trigger.kind, made.channel, made.version) == (TriggerKind.SCHEDULE, "nightly", "nightly")
            assert made.moving_tags == ("nightly",)
