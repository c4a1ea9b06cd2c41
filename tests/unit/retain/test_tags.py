"""What a tag means: only those that shipgraph makes itself, and could make anew, may go."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.retain.world import World

from shipgraph.retain.policy import Role
from shipgraph.retain.tags import TagKind, TagReader

SHA = f"sha-{'0f' * 20}"
READER = TagReader(World().policy(), ["dev", "beta-2"])
KEPT = {TagKind.KEPT, TagKind.JOURNAL, TagKind.UNDO}


@pytest.mark.parametrize(
    ("role", "tag", "kind", "value"),
    [
        (Role.IMAGE, SHA, TagKind.MEMBER, SHA),
        (Role.RETIRED, f"{SHA}-r12", TagKind.MEMBER, f"{SHA}-r12"),
        (Role.PAYLOAD, f"{SHA}-v1.2.3", TagKind.MEMBER, SHA),
        (Role.PAYLOAD, f"{SHA}-r2-nightly", TagKind.MEMBER, f"{SHA}-r2"),
        (Role.METADATA, f"set-{SHA}-r2", TagKind.SET, f"{SHA}-r2"),
        (Role.METADATA, f"build-{'ab' * 32}", TagKind.BUILD, "ab" * 32),
        (Role.METADATA, "dev-17", TagKind.METADATA, "dev-17"),
        (Role.METADATA, "beta-2-3", TagKind.METADATA, "beta-2-3"),
        (Role.METADATA, "journal", TagKind.JOURNAL, "journal"),
        (Role.METADATA, "journal-3", TagKind.JOURNAL, "journal-3"),
        (Role.METADATA, "retention", TagKind.UNDO, "retention"),
        (Role.IMAGE, f"sha256-{'a' * 64}", TagKind.ATTACHED, f"sha256:{'a' * 64}"),
        (Role.METADATA, f"sha256-{'a' * 64}.att", TagKind.ATTACHED, f"sha256:{'a' * 64}"),
        (None, SHA, TagKind.MEMBER, SHA),
    ],
)
def test_shipgraphs_own_tags_are_known(role: Role | None, tag: str, kind: TagKind, value: str) -> None:
    assert READER.read(role, tag) == (kind, value)


@pytest.mark.parametrize(
    ("role", "tag"),
    [
        *((role, tag) for role in Role for tag in ("dev", "nightly", "prod", "channels", "v1.2.3", "latest", "1.2")),
        (Role.IMAGE, f"{SHA}-amd64"),  # shipgraph gives no platform a tag
        (Role.IMAGE, f"{SHA}-v1.0.0"),
        (Role.IMAGE, "sha-0f0f0f0"),
        (Role.IMAGE, "dev-17"),
        (Role.IMAGE, "journal"),
        (Role.IMAGE, f"set-{SHA}"),
        (Role.METADATA, SHA),
        (Role.METADATA, "dev-0"),
        (Role.METADATA, "dev-07"),
        (Role.METADATA, "gamma-1"),
        (Role.PAYLOAD, f"{SHA}-"),
        (Role.PAYLOAD, f"{SHA}-r2x"[:-1] + "-"),
        (Role.IMAGE, f"sha256-{'a' * 64}.exe"),
        (Role.IMAGE, f"sha256-{'A' * 64}"),
    ],
)
def test_any_other_tag_stays(role: Role, tag: str) -> None:
    assert READER.read(role, tag)[0] in KEPT


@given(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", fullmatch=True), st.sampled_from(Role))
def test_a_tag_that_nobody_knows_stays(tag: str, role: Role) -> None:
    known = tag.startswith(("sha-", "sha256-", "sha512-", "set-", "build-", "dev-", "nightly-", "prod-", "beta-2-"))
    assert known or READER.read(role, tag)[0] in KEPT


def test_protected_patterns_hold_shipgraphs_own_tags_and_go_before_disposable_ones() -> None:
    policy = World().policy(protect=("sha-0*", "pr-1?"), disposable=("pr-*",))
    reader = TagReader(policy, [])
    kinds = [reader.read(Role.IMAGE, tag)[0] for tag in (SHA, f"sha-{'a' * 40}", "pr-12", "pr-123", "xpr-1")]
    assert kinds == [TagKind.KEPT, TagKind.MEMBER, TagKind.KEPT, TagKind.DISPOSABLE, TagKind.KEPT]


def test_no_pattern_makes_a_channel_a_version_or_the_journal_disposable() -> None:
    policy = replace(World().policy(disposable=("*",)), prefixes=("v", "release-"))
    reader = TagReader(policy, ["old-channel"])
    for tag in ("dev", "old-channel", "channels", "v1.2.3", "1.2.3", "release-1.0.0-rc.1"):
        assert reader.read(Role.IMAGE, tag)[0] is TagKind.KEPT
    assert [reader.read(Role.METADATA, tag)[0] for tag in ("journal-1", "retention")] == [TagKind.JOURNAL, TagKind.UNDO]
    assert reader.read(Role.IMAGE, "release-7")[0] is TagKind.DISPOSABLE
