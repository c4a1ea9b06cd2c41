"""Channel rules: row 3 of the specification, and every combination that is refused."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipgraph.errors import ConfigurationError
from shipgraph.project.channels import (
    ChannelSpec,
    Destination,
    Rule,
    RuleKind,
    check_channel_name,
    decide,
    default_channels,
    parse_rule,
)
from shipgraph.project.config import RULE_PATTERN
from shipgraph.project.trigger import Trigger, TriggerKind
from shipgraph.project.versions import Version

CHANNELS = default_channels("main")
SHA = "a" * 40


def dispatch(channel: str | None = None, version: str | None = None, ref: str = "refs/heads/main") -> Trigger:
    return Trigger(TriggerKind.DISPATCH, ref, SHA, channel=channel, version=version)


@pytest.mark.parametrize(
    ("trigger", "expected"),
    [
        (Trigger(TriggerKind.PUSH, "refs/heads/main", SHA), Destination("dev", "dev")),
        (Trigger(TriggerKind.SCHEDULE, schedule="0 6 * * *"), Destination("nightly", "nightly")),
        (Trigger(TriggerKind.TAG, "refs/tags/v1.2.3", SHA), Destination("prod", "v1.2.3", "v1.2.3")),
        (Trigger(TriggerKind.TAG, "refs/tags/v1.2.3-rc.1"), Destination("prod", "v1.2.3-rc.1", "v1.2.3-rc.1")),
        (Trigger(TriggerKind.PULL_REQUEST, "refs/pull/7/merge", number=7), Destination(None, "pr-7")),
        (dispatch(), Destination("dev", "dev")),
        (dispatch("nightly"), Destination("nightly", "nightly")),
        (dispatch("prod", "v2.0.0"), Destination("prod", "v2.0.0", "v2.0.0")),
        (dispatch(version="v2.0.0"), Destination("prod", "v2.0.0", "v2.0.0")),
        (dispatch("prod", ref="refs/tags/v2.0.0"), Destination("prod", "v2.0.0", "v2.0.0")),
        (dispatch("dev", "hotfix-1"), Destination("dev", "hotfix-1")),
        (dispatch("dev", "dev"), Destination("dev", "dev")),
        (Trigger.local("dev"), Destination("dev", "dev")),
        (Trigger.local(), Destination("dev", "dev")),
        (Trigger.local(version="v1.0.0"), Destination("prod", "v1.0.0", "v1.0.0")),
    ],
)
def test_where_a_trigger_leads(trigger: Trigger, expected: Destination) -> None:
    assert decide(CHANNELS, trigger, branch="main") == expected


@pytest.mark.parametrize(
    ("trigger", "says"),
    [
        (Trigger(TriggerKind.PUSH, "refs/heads/other", SHA), "no channel has a rule"),
        (Trigger(TriggerKind.SCHEDULE, schedule="1 1 * * *"), "no channel has a rule"),
        (Trigger(TriggerKind.TAG, "refs/tags/release-1"), "no channel takes the version"),
        (Trigger(TriggerKind.TAG, "refs/tags/vnext"), "not a release version"),
        (Trigger(TriggerKind.TAG, "refs/tags/v1.2"), "not a release version"),
        (Trigger(TriggerKind.TAG, "refs/tags/v01.2.3"), "not a release version"),
        (Trigger(TriggerKind.TAG, "refs/tags/v1.2.3+build"), "not a release version"),
        (Trigger(TriggerKind.PULL_REQUEST), "needs its number"),
        (dispatch("stable"), "there is no channel 'stable'"),
        (dispatch("prod"), "needs a version"),
        (dispatch("prod", "1.2.3"), "not a release version"),
        (dispatch("dev", "v1.2.3"), "is a release version, and channel dev takes none"),
        (dispatch("dev", "1.2.3"), "is a release version"),
        (dispatch("dev", "nightly"), "taken for a tag of channel 'nightly'"),
        (dispatch("dev", "nightly-4"), "taken for a tag of channel 'nightly'"),
        (dispatch("dev", "dev-4"), "taken for a tag of channel 'dev'"),
        (dispatch("dev", "channels"), "reserved"),
        (dispatch("dev", "journal-3"), "reserved"),
        (dispatch("dev", f"sha-{SHA}"), "reserved"),
        (dispatch("dev", "pr-3"), "reserved"),
        (dispatch("dev", "r2"), "reserved"),
        (dispatch("dev", "x" * 65), "too long"),
        (dispatch("dev", "a b"), "not a tag"),
        (dispatch("dev", "-x"), "not a tag"),
        (dispatch("dev", "prod\\nv1"), "not a tag"),
    ],
)
def test_what_is_refused(trigger: Trigger, says: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        decide(CHANNELS, trigger, branch="main")


def test_a_command_on_another_branch_must_name_its_channel() -> None:
    for branch in ("feature", None):
        with pytest.raises(ConfigurationError, match="no channel follows"):
            decide(CHANNELS, Trigger.local(), branch=branch)
        assert decide(CHANNELS, Trigger.local(), branch=branch, fallback="main").channel == "dev"


def test_a_rehearsal_goes_somewhere_without_any_branch_rule() -> None:
    only = {"stable": ChannelSpec("stable", (Rule(RuleKind.DISPATCH),), pinned=False)}
    assert decide(only, Trigger.local(), branch=None, fallback="main") == Destination("stable", "stable")


@pytest.mark.parametrize(
    "name",
    ["channels", "journal", "journal-1", "retention", "set-x", "build-x", "sha-x", "sha256-x", "pr-1", "r2", "r2-a",
     "v1.2.3", "Dev", "", "1", "a b", "a/b", "x" * 41, "a\n"],
)  # fmt: skip
def test_names_that_no_channel_may_have(name: str) -> None:
    with pytest.raises(ConfigurationError):
        check_channel_name(name)


@pytest.mark.parametrize("name", ["dev", "nightly", "prod", "release", "r", "v2", "set", "sha", "rc-1.x"])
def test_names_that_a_channel_may_have(name: str) -> None:
    assert check_channel_name(name) == name


@pytest.mark.parametrize("text", ["push:main", "push:release/1.x", "schedule:0 6 * * *", "tag:v*", "tag:*", "dispatch"])
def test_rules_read_and_write(text: str) -> None:
    assert str(parse_rule(text)) == text
    assert re.search(RULE_PATTERN, text)


@pytest.mark.parametrize(
    "text",
    ["push:", "push", "push:-x", "push:a..b", "push:a b", "push:$(x)\n", "push:a*", "schedule:", "schedule:* * * *",
     "schedule:0 6  * * *", "schedule:0 6 * * $x", "tag:v", "tag:v*x", "tag:/*", "tag:a b*", "dispatch:x", "pr", ""],
)  # fmt: skip
def test_rules_that_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_rule(text)


def test_versions_order_as_semver_says() -> None:
    order = ["v1.0.0-alpha", "v1.0.0-alpha.1", "v1.0.0-alpha.beta", "v1.0.0-beta", "v1.0.0-beta.2", "v1.0.0-beta.11",
             "v1.0.0-rc.1", "v1.0.0", "v1.0.1", "v1.2.0", "v1.10.0", "v2.0.0"]  # fmt: skip
    assert [version.text for version in sorted(map(Version.parse, reversed(order)))] == order


@given(st.text(max_size=20))
def test_any_text_is_a_version_or_a_configuration_error(text: str) -> None:
    with suppress(ConfigurationError):
        assert Version.parse(text).text == text


@given(st.text(max_size=20))
def test_any_version_is_a_tag_or_refused(text: str) -> None:
    try:
        destination = decide(CHANNELS, Trigger.local("dev", text or None))
    except ConfigurationError:
        return
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}", destination.version, re.ASCII)
