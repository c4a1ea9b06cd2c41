"""What starts a run: GitHub's own examples of event files, about the small project's repository."""

from __future__ import annotations

from typing import Any

from tests.contract.webhooks import examples

from .act import Event
from .github import NAME, OWNER, REPOSITORY


def pushed(commit: str, before: str = "0" * 40) -> Event:
    """A push to main."""
    return _push("refs/heads/main", commit, before)


def tagged(tag: str, commit: str) -> Event:
    """A tag was pushed."""
    return _push(f"refs/tags/{tag}", commit, "0" * 40)


def pull_request(number: int, merge: str, head: str) -> Event:
    """A pull request to main got new commits; what runs is the merge of it."""
    document = _about(next(one for one in examples("pull_request") if one["action"] == "synchronize"))
    document |= {"number": number, "after": head}
    document["pull_request"] |= {"number": number, "merge_commit_sha": merge}
    for side, sha in (("head", head), ("base", merge)):
        document["pull_request"][side] |= {"repo": document["repository"], "sha": sha}
    return Event("pull_request", document, f"refs/pull/{number}/merge", merge)


def scheduled(cron: str, commit: str) -> Event:
    """A schedule came round; Actions makes up its event."""
    document = _about(examples("workflow_dispatch")[0])
    for name in ("ref", "inputs", "sender"):
        document.pop(name, None)
    return Event("schedule", {**document, "schedule": cron}, "refs/heads/main", commit)


def dispatched(commit: str, ref: str = "refs/heads/main", **inputs: str) -> Event:
    """Somebody started it by hand; inputs that are not given have their defaults, as GitHub fills them in."""
    document = _about(examples("workflow_dispatch")[0])
    filled = {"operation": "auto", "channel": "", "version": "", **inputs}
    return Event("workflow_dispatch", {**document, "ref": ref, "inputs": filled}, ref, commit)


def _push(ref: str, commit: str, before: str) -> Event:
    branch = ref.startswith("refs/heads/")
    found = [one for one in examples("push") if not one["deleted"]]
    document = _about(next(one for one in found if one["ref"].startswith("refs/heads/") is branch))
    document |= {"ref": ref, "before": before, "after": commit}
    document["head_commit"] = {**document["head_commit"], "id": commit}
    return Event("push", document, ref, commit)


def _about(example: dict[str, Any]) -> dict[str, Any]:
    document = dict(example)
    document["repository"] = {
        **document["repository"],
        "name": NAME,
        "full_name": REPOSITORY,
        "owner": {**document["repository"]["owner"], "login": OWNER, "type": "Organization"},
        "default_branch": "main",
        "fork": False,
        "private": False,
    }
    return document


def in_fork(event: Event) -> Event:
    """The same event in a repository that is a fork of another."""
    document = {**event.document, "repository": {**event.document["repository"], "fork": True}}
    return Event(event.name, document, event.ref, event.commit)
