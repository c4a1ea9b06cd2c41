"""Channel rules: which channel a trigger leads to, under which version, with which release tag.

A channel's name and a release's version become tags in the metadata and payload repositories, beside tags that
shipgraph makes itself. A name that could ever be taken for one of those is refused, because one tag can't mean two
things: ``channels``, ``journal``, ``journal-<n>``, ``retention``, ``set-…``, ``build-…``, ``sha-…``,
``<channel>-<serial>``, ``pr-<number>`` and, since ``sha-<commit>-<version>`` stands beside ``sha-<commit>-rN``, also
``rN`` and ``rN-…``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from shipgraph.errors import ConfigurationError
from shipgraph.evidence.trust import SignerRule
from shipgraph.oci.reference import check_tag
from shipgraph.project.trigger import Trigger, TriggerKind
from shipgraph.project.versions import MAX_VERSION, Version, looks_like_version

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_NAME: Final = re.compile(r"[a-z][a-z0-9._-]{0,39}", re.ASCII)
_RESERVED: Final = re.compile(
    r"channels|journal(?:-.*)?|retention(?:-.*)?|(?:set|build|sha|sha256|sha512)-.*|pr-[0-9]+|r[0-9]+(?:-.*)?",
    re.ASCII | re.DOTALL,
)
_SERIAL: Final = re.compile(r"(.+)-[0-9]+", re.ASCII | re.DOTALL)
_BRANCH: Final = re.compile(r"[^\x00-\x20\x7f~^:?*\[\\]{1,200}")
_CRON_FIELD: Final = re.compile(r"[0-9A-Za-z*/,-]{1,60}", re.ASCII)
CRON_FIELDS: Final = 5
RULES: Final = '"push:BRANCH", "schedule:CRON", "tag:PREFIX*" or "dispatch"'


class RuleKind(StrEnum):
    """What a rule listens to."""

    PUSH = "push"
    SCHEDULE = "schedule"
    TAG = "tag"
    DISPATCH = "dispatch"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a channel; ``value`` is a branch, a cron expression or a tag's prefix, and empty for dispatch."""

    kind: RuleKind
    value: str = ""

    def __str__(self) -> str:
        if self.kind is RuleKind.DISPATCH:
            return "dispatch"
        return f"{self.kind}:{self.value}" + ("*" if self.kind is RuleKind.TAG else "")


@dataclass(frozen=True, slots=True)
class ChannelSpec:
    """One channel: its rules, whether every external base must be pinned by digest, and who may sign its metadata."""

    name: str
    rules: tuple[Rule, ...]
    pinned: bool
    signer: SignerRule = field(default_factory=SignerRule)

    @property
    def tag_prefixes(self) -> tuple[str, ...]:
        """The prefixes of the git tags that lead here; a channel that has one is a *release channel*."""
        return tuple(rule.value for rule in self.rules if rule.kind is RuleKind.TAG)

    @property
    def takes_versions(self) -> bool:
        """Whether its releases have versions of their own, ordered by SemVer, and set a release tag."""
        return bool(self.tag_prefixes)

    def parse_version(self, text: str) -> Version:
        """A version of this release channel.

        Raises:
            ConfigurationError: it isn't one.
        """
        for prefix in self.tag_prefixes[1:]:
            if text.startswith(prefix):
                return Version.parse(text, prefix=prefix)
        return Version.parse(text, prefix=self.tag_prefixes[0])


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a trigger leads: no channel for a pull request; a release tag only on a release channel."""

    channel: str | None
    version: str
    release_tag: str | None = None


def parse_rule(text: str) -> Rule:
    """Read one value of ``on``.

    Raises:
        ConfigurationError: it isn't a rule.
    """
    kind, _, value = text.partition(":")
    if text == "dispatch":
        return Rule(RuleKind.DISPATCH)
    if kind == "push" and _is_ref_name(value):
        return Rule(RuleKind.PUSH, value)
    if kind == "schedule":
        fields = value.split(" ")
        if len(fields) == CRON_FIELDS and all(_CRON_FIELD.fullmatch(field) for field in fields):
            return Rule(RuleKind.SCHEDULE, value)
        raise ConfigurationError(
            f"{value[:100]!r} is not a cron expression", allowed='five fields with single spaces, like "0 6 * * *"'
        )
    if kind == "tag" and value.endswith("*"):
        prefix = value[:-1]
        if not prefix or (_is_ref_name(prefix) and re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", prefix, re.ASCII)):
            return Rule(RuleKind.TAG, prefix)
    raise ConfigurationError(f"{text[:100]!r} is not a channel rule", allowed=RULES)


def default_channels(default_branch: str) -> dict[str, ChannelSpec]:
    """The channels of a file that names none: push to the default branch, nightly, and ``v*`` tags."""
    rules = {
        "dev": (Rule(RuleKind.PUSH, default_branch), Rule(RuleKind.DISPATCH)),
        "nightly": (Rule(RuleKind.SCHEDULE, "0 6 * * *"),),
        "prod": (Rule(RuleKind.TAG, "v"),),
    }
    return {
        name: ChannelSpec(name, some, name == "prod", SignerRule(refs=default_refs(some, default_branch)))
        for name, some in rules.items()
    }


def default_refs(rules: Iterable[Rule], default_branch: str) -> tuple[str, ...]:
    """The git refs at which a channel's metadata may be signed: where its rules run, and the default branch."""
    refs = [f"refs/heads/{default_branch}"]
    for rule in rules:
        if rule.kind is RuleKind.PUSH:
            refs.append(f"refs/heads/{rule.value}")
        elif rule.kind is RuleKind.TAG:
            refs.append(f"refs/tags/{rule.value}*")
    return tuple(dict.fromkeys(refs))


def check_channel_name(name: str) -> str:
    """The name itself, if it can be a channel's.

    Raises:
        ConfigurationError: it is malformed, reserved, or looks like a version.
    """
    allowed = "lower-case letters, digits, . _ and -, a letter first, at most 40 characters"
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"{name[:100]!r} is not a channel name", allowed=allowed)
    _refuse_reserved(name, "channel name")
    if looks_like_version(name):
        raise ConfigurationError(f"the channel name {name!r} looks like a release version", allowed=allowed)
    return name


def find_channel_problems(channels: Mapping[str, ChannelSpec]) -> list[tuple[str, str, str]]:
    """Whatever is wrong between channels, as (channel, key in its table, what).

    One event must lead to one channel, and one tag mean one thing.
    """
    problems: list[tuple[str, str, str]] = []
    taken: dict[tuple[RuleKind, str], str] = {}
    for name, channel in channels.items():
        serial = _SERIAL.fullmatch(name)
        if serial and serial[1] in channels:
            what = f"{name!r} would be a tag of channel {serial[1]!r}'s metadata ({serial[1]}-<serial>)"
            problems.append((name, "", what))
        for rule in channel.rules:
            if rule.kind is RuleKind.TAG and _RESERVED.fullmatch(f"{rule.value}1.0.0"):
                problems.append(
                    (name, "on", f"a version of {rule} would be taken for a tag that shipgraph makes itself")
                )
            for (kind, value), other in taken.items():
                same = rule.value == value
                if rule.kind is RuleKind.TAG:  # one prefix within another: a tag could lead to both
                    same = rule.value.startswith(value) or value.startswith(rule.value)
                if kind is rule.kind and same:
                    what = f"channels {other!r} and {name!r} both want {rule}"
                    problems.append(
                        (name, "on", what if other != name else f"channel {name!r} has the rule {rule} twice")
                    )
                    break
            taken.setdefault((rule.kind, rule.value), name)
    return problems


def decide(
    channels: Mapping[str, ChannelSpec], trigger: Trigger, *, branch: str | None = None, fallback: str | None = None
) -> Destination:
    """Where a trigger leads.

    Args:
        channels: the project's, checked.
        branch: the branch that is checked out; a command without ``--channel`` acts as a push to it.
        fallback: the branch to act as where that leads nowhere; only a rehearsal has one.

    Raises:
        ConfigurationError: it leads nowhere, or asks for a combination that can't be.
    """
    if trigger.kind is TriggerKind.PULL_REQUEST:
        if trigger.number is None or trigger.number < 1:
            raise ConfigurationError("a pull request needs its number")
        return Destination(None, f"pr-{trigger.number}")
    if trigger.kind is TriggerKind.PUSH:
        return Destination(name := _by_rule(channels, trigger, RuleKind.PUSH, trigger.branch or ""), name)
    if trigger.kind is TriggerKind.SCHEDULE:
        return Destination(name := _by_rule(channels, trigger, RuleKind.SCHEDULE, trigger.schedule), name)
    if trigger.kind is TriggerKind.TAG:
        return _release(channels[_by_tag(channels, trigger, trigger.tag or "")], trigger.tag or "")
    return _asked(channels, trigger, branch, fallback)


def _asked(
    channels: Mapping[str, ChannelSpec], trigger: Trigger, branch: str | None, fallback: str | None
) -> Destination:
    """A dispatch or a command: what was asked for, filled up from the ref, then from the rules."""
    version = trigger.version or None
    name = trigger.channel or None
    tag = trigger.tag
    if name is None:
        name = _unasked(channels, trigger, version or tag, branch, fallback)
    if name not in channels:
        raise ConfigurationError(f"there is no channel {name[:100]!r}", allowed=", ".join(channels))
    channel = channels[name]
    if channel.takes_versions:
        version = version or tag
        if version is None:
            prefix = channel.tag_prefixes[0]
            raise ConfigurationError(
                f"channel {name} needs a version", allowed=f"{prefix}MAJOR.MINOR.PATCH", hint="give it with --version"
            )
        return _release(channel, version)
    if version is None or version == name:
        return Destination(name, name)
    return Destination(name, _check_free_version(channels, name, version))


def _unasked(
    channels: Mapping[str, ChannelSpec], trigger: Trigger, version: str | None, branch: str | None, fallback: str | None
) -> str:
    """The channel where nobody named one."""
    if version is not None:
        return _by_tag(channels, trigger, version)
    branches = [trigger.branch or branch, fallback]
    if trigger.kind is TriggerKind.DISPATCH:
        for name, channel in channels.items():
            if Rule(RuleKind.DISPATCH) in channel.rules:
                return name
    for candidate in branches:
        for name, channel in channels.items():
            if candidate and Rule(RuleKind.PUSH, candidate) in channel.rules:
                return name
    if fallback is not None:  # a rehearsal goes somewhere even if no channel follows a branch
        return next((name for name, channel in channels.items() if not channel.takes_versions), next(iter(channels)))
    where = f"branch {branches[0]!r}" if branches[0] else "a detached HEAD"
    raise ConfigurationError(
        f"no channel follows {where}", allowed=", ".join(channels), hint="name the channel with --channel"
    )


def _by_rule(channels: Mapping[str, ChannelSpec], trigger: Trigger, kind: RuleKind, value: str) -> str:
    for name, channel in channels.items():
        if Rule(kind, value) in channel.rules:
            return name
    rules = [str(rule) for channel in channels.values() for rule in channel.rules]
    raise ConfigurationError(f"no channel has a rule for this {trigger}"[:300], allowed=", ".join(rules))


def _by_tag(channels: Mapping[str, ChannelSpec], trigger: Trigger, tag: str) -> str:
    for name, channel in channels.items():
        if any(tag.startswith(prefix) for prefix in channel.tag_prefixes):
            return name
    rules = [str(rule) for channel in channels.values() for rule in channel.rules]
    raise ConfigurationError(
        f"no channel takes the version {tag[:100]!r} of this {trigger}"[:300], allowed=", ".join(rules)
    )


def _release(channel: ChannelSpec, text: str) -> Destination:
    version = channel.parse_version(text).text
    _refuse_reserved(version, "version")
    return Destination(channel.name, check_tag(version), version)


def _check_free_version(channels: Mapping[str, ChannelSpec], name: str, version: str) -> str:
    """A version of a channel without SemVer: any tag that can't be mistaken for something else."""
    check_tag(version)
    if len(version) > MAX_VERSION:
        raise ConfigurationError(f"the version {version[:100]!r} is too long", allowed=f"{MAX_VERSION} characters")
    _refuse_reserved(version, "version")
    if looks_like_version(version) or any(
        version.startswith(prefix) and looks_like_version(version[len(prefix) :])
        for channel in channels.values()
        for prefix in channel.tag_prefixes
    ):
        hint = next((f"use --channel {other.name}" for other in channels.values() if other.takes_versions), "")
        raise ConfigurationError(f"{version!r} is a release version, and channel {name} takes none", hint=hint)
    serial = _SERIAL.fullmatch(version)
    if version in channels or (serial is not None and serial[1] in channels):
        other = version if version in channels or serial is None else serial[1]
        raise ConfigurationError(f"the version {version!r} would be taken for a tag of channel {other!r}")
    return version


def _refuse_reserved(text: str, thing: str) -> None:
    if _RESERVED.fullmatch(text):
        raise ConfigurationError(f"the {thing} {text[:100]!r} is reserved for tags that shipgraph makes itself")


def _is_ref_name(text: str) -> bool:
    """A branch name by git-check-ref-format(1), near enough: git itself has the last word."""
    bad = (".." in text, "//" in text, "@{" in text, text.startswith(("-", "/")), text.endswith((".", "/", ".lock")))
    return _BRANCH.fullmatch(text) is not None and not any(bad)
