"""GitHub events as triggers; hostile strings are refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipgraph.errors import ConfigurationError
from shipgraph.github.event import parse_event, read_event
from shipgraph.project.trigger import TriggerKind

if TYPE_CHECKING:
    from pathlib import Path

SHA = "a" * 40
REPOSITORY = {"full_name": "Acme/demo", "default_branch": "main"}
PUSH: dict[str, Any] = {"ref": "refs/heads/main", "after": SHA, "head_commit": {"id": SHA}, "repository": REPOSITORY}
PULL = {"number": 12, "pull_request": {"head": {"sha": "b" * 40, "ref": "x"}}, "repository": REPOSITORY}


def actions(name: str, ref: str = "refs/heads/main", **more: str) -> dict[str, str]:
    return {
        "GITHUB_EVENT_NAME": name, "GITHUB_REF": ref, "GITHUB_SHA": SHA, "GITHUB_REPOSITORY": "Acme/demo",
        "GITHUB_SERVER_URL": "https://github.com", **more,
    }  # fmt: skip


def test_push() -> None:
    for environment in ({}, actions("push")):
        trigger = parse_event(PUSH, environment)
        assert (trigger.kind, trigger.ref, trigger.sha) == (TriggerKind.PUSH, "refs/heads/main", SHA)
        assert trigger.source == "https://github.com/Acme/demo"


def test_tag() -> None:
    event = {**PUSH, "ref": "refs/tags/v1.0.0", "after": "c" * 40}
    trigger = parse_event(event, {})
    assert (trigger.kind, trigger.tag, trigger.sha) == (TriggerKind.TAG, "v1.0.0", SHA)
    assert parse_event(event, actions("push", "refs/tags/v1.0.0")).kind is TriggerKind.TAG
    assert parse_event({**event, "head_commit": None}, {}).sha == ""


def test_pull_request() -> None:
    trigger = parse_event(PULL, actions("pull_request", "refs/pull/12/merge"))
    assert (trigger.kind, trigger.number, trigger.sha) == (TriggerKind.PULL_REQUEST, 12, SHA)
    assert parse_event(PULL, {}).ref == "refs/pull/12/merge"


def test_schedule() -> None:
    event = {"schedule": "0 6 * * *", "repository": REPOSITORY}
    trigger = parse_event(event, actions("schedule"))
    assert (trigger.kind, trigger.schedule, trigger.sha) == (TriggerKind.SCHEDULE, "0 6 * * *", SHA)
    assert parse_event(event, {}).ref == "refs/heads/main"


def test_dispatch() -> None:
    event = {"inputs": {"channel": "prod", "version": "v1.0.0", "operation": "auto"}, "ref": "refs/heads/main"}
    trigger = parse_event(event, actions("workflow_dispatch"))
    assert (trigger.kind, trigger.channel, trigger.version) == (TriggerKind.DISPATCH, "prod", "v1.0.0")
    empty = parse_event({"inputs": {"channel": "", "version": None}, "ref": "refs/heads/main"}, {})
    assert (empty.channel, empty.version) == (None, None)
    assert parse_event({"inputs": None, "ref": "refs/heads/main"}, {}).channel is None


@pytest.mark.parametrize(
    ("event", "environment"),
    [
        ({"action": "opened"}, {}),
        ({"issue": {}}, actions("issues")),
        (PULL, actions("pull_request_target")),
        ({**PUSH, "deleted": True, "after": "0" * 40}, {}),
        ({**PUSH, "head_commit": None, "after": "0" * 40}, {}),
        ({**PUSH, "ref": "refs/heads/a b"}, {}),
        ({**PUSH, "ref": "refs/heads/a\nb"}, {}),
        ({**PUSH, "ref": "refs/heads/a..b"}, {}),
        ({**PUSH, "ref": "refs/heads/" + "a" * 300}, {}),
        ({**PUSH, "ref": "refs/notes/x"}, {}),
        ({**PUSH, "ref": 5}, {}),
        ({**PUSH, "repository": {"full_name": "a/b/c"}}, {}),
        ({**PUSH, "repository": {"full_name": "a/.."}}, {}),
        (PUSH, actions("push", GITHUB_SERVER_URL="javascript:x")),
        (PUSH, actions("push", GITHUB_SHA="HEAD")),
        ({**PULL, "number": "12; rm"}, {}),
        ({**PULL, "number": 0}, {}),
        ({**PULL, "number": True}, {}),
        ({"inputs": {"channel": "prod\nx"}, "ref": "refs/heads/main"}, {}),
        ({"inputs": {"version": "$(id)"}, "ref": "refs/heads/main"}, {}),
        ({"inputs": {"version": ["v1"]}, "ref": "refs/heads/main"}, {}),
        ({"inputs": [], "after": 1, "ref": "x y"}, {}),
        ({"schedule": "${{ x }}", "repository": REPOSITORY}, {}),
        ({"schedule": None, "repository": REPOSITORY}, {}),
    ],
)
def test_refused(event: dict[str, Any], environment: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        parse_event(event, environment)


def test_files(tmp_path: Path) -> None:
    file = tmp_path / "event.json"
    file.write_text(json.dumps(PUSH))
    assert read_event(file, {}).sha == SHA
    for content in (b"", b"[]", b"\xff", b"[" * 100_000):
        file.write_bytes(content)
        with pytest.raises(ConfigurationError, match=r"event\.json"):
            read_event(file, {})
    with pytest.raises(ConfigurationError, match="can't be read"):
        read_event(tmp_path / "none.json", {})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
MEMBERS = ["ref", "after", "head_commit", "repository", "inputs", "schedule", "number", "pull_request", "deleted"]


@given(st.dictionaries(st.sampled_from(MEMBERS), JSON))
def test_any_event_is_a_trigger_or_a_configuration_error(event: dict[str, Any]) -> None:
    try:
        trigger = parse_event(event, {})
    except ConfigurationError:
        return
    for text in (trigger.ref, trigger.sha, trigger.source, trigger.channel or "", trigger.version or ""):
        assert not any(character in text for character in "\n\r\0 ")
