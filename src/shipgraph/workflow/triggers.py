"""What starts the workflow: the channels' rules, pull requests, and dispatch; and which files matter."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from shipgraph.project.channels import RuleKind
from shipgraph.workflow.conditions import AUTO
from shipgraph.workflow.yaml import Noted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shipgraph.project.spec import Project
    from shipgraph.workflow.place import Place
    from shipgraph.workflow.yaml import Value

OPERATIONS: Final = (AUTO, "rollback", "refresh", "resume", "repair", "prune", "bootstrap")
EVERYTHING: Final = "**"
# What the action itself is made of, below its folder.
OWN_FILES: Final = ("action.yml", "src/**", "requirements*.lock")
_WILD: Final = re.compile(r"[*?\[]")
_SPECIAL: Final = re.compile(r"([*?+\[\]!\\])")


def triggers(project: Project, place: Place) -> dict[str, Value]:
    """The value of ``on``."""
    found: dict[str, Value] = {}
    rules = [rule for channel in project.channels.values() for rule in channel.rules]
    paths: list[Value] = list(path_filters(project, place))
    push: dict[str, Value] = {}
    if branches := [escape(rule.value) for rule in rules if rule.kind is RuleKind.PUSH]:
        push["branches"] = branches
    if tags := [f"{escape(rule.value)}*" for rule in rules if rule.kind is RuleKind.TAG]:
        push["tags"] = tags
    if push:
        if branches:
            push["paths"] = Noted(paths, above="not looked at for a pushed tag")
        found["push"] = push
    found["pull_request"] = {"paths": paths}
    if crons := dict.fromkeys(rule.value for rule in rules if rule.kind is RuleKind.SCHEDULE):
        found["schedule"] = [{"cron": cron} for cron in crons]
    if own := project.workflow.refresh:
        only: Value = {"cron": Noted(own, after="refreshes the channels that expire soon")}
        scheduled = found.get("schedule")
        found["schedule"] = [*(scheduled if isinstance(scheduled, list) else []), only]
    found["workflow_dispatch"] = {"inputs": _inputs(project)}
    return found


def path_filters(project: Project, place: Place) -> tuple[str, ...]:
    """Which files of the repository can change what is released, or how: each as a pattern of GitHub's."""
    found = [_file("shipgraph.toml")]
    for image in project.graph:
        found += [_folder(image.context), _file(image.dockerfile), _file(f"{image.dockerfile}.dockerignore")]
        found += [_file(path) for test in image.tests for path in (test.seccomp, test.apparmor) if path]
    if project.payload is not None:
        found += [_pattern(rule.pattern) for rule in project.payload.files]
    if project.signing.trust_config:
        found.append(_file(project.signing.trust_config))
    inside = [f"{escape(place.folder)}/{path}" if place.folder else path for path in found]
    inside.append(f".github/workflows/{project.workflow.file}")
    if place.own_action is not None:
        inside += [f"{place.own_action}/{path}" if place.own_action else path for path in OWN_FILES]
    return _widest(inside)


def escape(text: str) -> str:
    """A name as a pattern that matches it alone."""
    return _SPECIAL.sub(r"\\\1", text)


def _file(path: str) -> str:
    return escape(path)


def _folder(path: str) -> str:
    return EVERYTHING if path == "." else f"{escape(path)}/**"


def _pattern(pattern: str) -> str:
    """At least what a pattern of the payload matches: GitHub's wildcards differ, so the whole folder counts."""
    parts = PurePosixPath(pattern).parts
    static = next((number for number, part in enumerate(parts) if _WILD.search(part)), None)
    if static is None:
        return _file(pattern)
    return _folder("/".join(parts[:static]) or ".")


def _widest(patterns: Iterable[str]) -> tuple[str, ...]:
    """Without what another one covers."""
    every = sorted(dict.fromkeys(patterns))
    folders = [pattern.removesuffix("**") for pattern in every if pattern.endswith("/**") or pattern == EVERYTHING]

    def covered(pattern: str) -> bool:
        return any(pattern != f"{folder}**" and pattern.startswith(folder) for folder in folders)

    return tuple(pattern for pattern in every if not covered(pattern))


def _inputs(project: Project) -> dict[str, Value]:
    channels = ", ".join(project.channels)
    return {
        "operation": {
            "description": "auto: a release; with a version, an existing release is promoted to it",
            "type": "choice",
            "default": AUTO,
            "options": list(OPERATIONS),
        },
        "channel": {
            "description": f"The channel, one of {channels}; by default the one that follows from the rest",
            "type": "string",
            "default": "",
        },
        "version": {
            "description": "The version to promote to, or the release to roll back to",
            "type": "string",
            "default": "",
        },
    }
