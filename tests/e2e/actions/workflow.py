"""A workflow file as a value, and what a runner makes of it for one run: tokens, homes, and what was done before.

act runs workflows, but some of what GitHub does it leaves out. This module adds that, by rewriting the file:

- act has one token for all jobs and never looks at ``permissions``. Here each job has a token of its own.
- act gives all jobs its own home. Here each job has an empty one.
- act can't run a part of a workflow. Here jobs that are done already are taken out, with their results in their place.
- act has no concurrency groups, and its schema does not know their ``queue``. They are left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

Permissions = dict[str, str]

SAYS = {
    "contents": "/Acme/demo/' not found",
    "packages": "403",
    "id-token": "id-token: write",
    "attestations": "attestations: write",
}
"""What a job says that lacks a permission."""

_TOKEN = re.compile(r"\b(?:github\.token|secrets\.GITHUB_TOKEN)\b")
_STATUS = re.compile(r"\b(?:always|success|failure|cancelled)\(\)")
_ALL = ("actions", "attestations", "contents", "id-token", "packages")


class Loader(yaml.SafeLoader):
    """Reads ``on`` as a word, as GitHub does."""


class Dumper(yaml.SafeDumper):
    """Writes it so that it is read back like that."""


_BOOL = "tag:yaml.org,2002:bool"
for _kind in (Loader, Dumper):
    _kind.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in found if tag != _BOOL or first in "tTfF"]
        for first, found in _kind.yaml_implicit_resolvers.items()
    }


def load(text: str) -> dict[str, Any]:
    """A workflow's or an action's document."""
    found: dict[str, Any] = yaml.load(text, Loader)
    return found


def dump(document: Mapping[str, Any]) -> str:
    """Its text."""
    return yaml.dump(dict(document), Dumper=Dumper, sort_keys=False, width=1000)


@dataclass(frozen=True)
class Grant:
    """What the runner gives to one job: a token, a home, the address where it can ask who it is."""

    token: str
    home: Path
    more: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Settled:
    """A job that ended in an earlier attempt, or was cancelled."""

    result: str
    outputs: Mapping[str, str] = field(default_factory=dict)


class Unlisted(Exception):
    """A workflow uses an action that has no local equivalent."""


def permissions(workflow: Mapping[str, Any], job: str) -> Permissions:
    """What a job's token may do: what it declares, else what the workflow does; nothing else."""
    declared = workflow["jobs"][job].get("permissions", workflow.get("permissions"))
    if declared is None:
        raise AssertionError(f"the job {job} declares no permissions: it would get the repository's default")
    if isinstance(declared, str):
        level = {"read-all": "read", "write-all": "write"}[declared]
        return dict.fromkeys(_ALL, level)
    return {str(name): str(level) for name, level in declared.items() if level != "none"}


def uses(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every step that uses an action, of a workflow or of a composite action."""
    jobs = document.get("jobs", {}).values()
    for holder in (*jobs, document.get("runs", {})):
        if "uses" in holder:
            raise Unlisted(f"a reusable workflow: {holder['uses']}")
        yield from (step for step in holder.get("steps", ()) if "uses" in step)


def rewrite(
    workflow: Mapping[str, Any],
    grants: Mapping[str, Grant],
    token_inputs: Mapping[str, list[str]],
    settled: Mapping[str, Settled],
) -> dict[str, Any]:
    """The workflow for one run.

    Args:
        token_inputs: for each ``uses``, the inputs whose default is the job's token.
        settled: jobs that are not run, and what they came to.
    """
    jobs = {}
    for name, job in workflow["jobs"].items():
        if name in settled:
            continue
        made = _with_token({key: value for key, value in job.items() if key != "concurrency"}, name)
        grant = grants[name]
        made["env"] = {**made.get("env", {}), "HOME": str(grant.home), **grant.more}
        for step in made.get("steps", ()):
            for name_of_input in token_inputs.get(step.get("uses", ""), ()):
                step.setdefault("with", {}).setdefault(name_of_input, f"${{{{ secrets.{secret(name)} }}}}")
        jobs[name] = _without(made, settled) if settled else made
    return {**workflow, "jobs": jobs}


def with_lacking(workflow: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """The workflow with some jobs run as well once without each of their permissions, before they are run themselves.

    What these come to changes nothing for the others: a job waits for its own, and goes on whatever became of them.
    So every job says of its needs what a job that says nothing means.

    ``actions`` is not left out: with it a job asks whether the run that holds an open transaction is alive, and without
    an answer it waits for the lease to be over, which is no failure.
    """
    jobs: dict[str, Any] = {}
    for name, job in workflow["jobs"].items():
        explicit = {**job, "needs": _needs(job), "if": f"${{{{ {_condition(job)} }}}}"}
        declared = permissions(workflow, name) if name in names else {}
        lacking = {
            f"{name}--without-{left_out}": {
                **explicit,
                "permissions": {one: level for one, level in declared.items() if one != left_out},
            }
            for left_out in declared
            if left_out != "actions"
        }
        jobs |= lacking
        jobs[name] = {**explicit, "needs": [*explicit["needs"], *lacking]}
    return {**workflow, "jobs": jobs}


def _needs(job: Mapping[str, Any]) -> list[str]:
    needs = job.get("needs", [])
    return [needs] if isinstance(needs, str) else list(needs)


def _condition(job: Mapping[str, Any]) -> str:
    condition = str(job.get("if", "")).strip().removeprefix("${{").removesuffix("}}").strip()
    if _STATUS.search(condition):
        return condition
    ready = [f"needs.{need}.result == 'success'" for need in _needs(job)]
    return " && ".join(("always()", *ready, *([f"({condition})"] if condition else [])))


def secret(job: str) -> str:
    """The name of the secret that holds a job's token."""
    return f"TOKEN_OF_{re.sub(r'[^A-Za-z0-9]', '_', job).upper()}"


def _with_token(value: Any, job: str) -> Any:
    if isinstance(value, str):
        return _TOKEN.sub(f"secrets.{secret(job)}", value)
    if isinstance(value, dict):
        return {key: _with_token(inner, job) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_token(inner, job) for inner in value]
    return value


def _without(job: dict[str, Any], settled: Mapping[str, Settled]) -> dict[str, Any]:
    """A job whose settled needs are literals now."""
    needs = _needs(job)
    gone = [settled[need] for need in needs if need in settled]
    succeeded = all(one.result == "success" for one in gone)
    words = {
        "success()": None if succeeded else "false",
        "failure()": "true" if any(one.result == "failure" for one in gone) else None,
        "cancelled()": "true" if any(one.result == "cancelled" for one in gone) else None,
    }

    def literal(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: literal(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [literal(inner) for inner in value]
        if not isinstance(value, str):
            return value
        for name, one in settled.items():
            value = re.sub(rf"\bneeds\.{re.escape(name)}\.result\b", f"'{one.result}'", value)
            value = re.sub(
                rf"\bneeds\.{re.escape(name)}\.outputs\.([A-Za-z0-9_-]+)",
                lambda match, one=one: f"'{one.outputs.get(match[1], '')}'",  # type: ignore[misc]
                value,
            )
        return value

    made: dict[str, Any] = literal(job)
    condition = str(made.get("if", ""))
    for word, meaning in words.items():
        if meaning is not None:
            condition = condition.replace(word, meaning)
    if gone and not succeeded and not re.search(r"always\(\)|true|cancelled\(\)|failure\(\)", condition):
        condition = "false"  # a job without a status function runs only after successes
    if condition:
        made["if"] = condition
    made["needs"] = [need for need in needs if need not in settled]
    return made
