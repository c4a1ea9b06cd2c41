"""A GitHub Actions event as a ``Trigger``.

Everything in an event but its ids may be chosen by a stranger: branch names, tag names, inputs. Nothing of it is
believed before it has the form it must have, and nothing of it ever becomes part of a command.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from shipgraph.errors import ConfigurationError
from shipgraph.project.trigger import Trigger, TriggerKind

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MAX_EVENT: Final = 25 << 20  # GitHub's own limit of a payload
MAX_REF: Final = 255
_COMMIT: Final = re.compile(r"[0-9a-f]{40}", re.ASCII)
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,99})/[A-Za-z0-9._-]{1,100}", re.ASCII)
_SERVER: Final = re.compile(r"https://[A-Za-z0-9](?:[A-Za-z0-9.-]{0,250}[A-Za-z0-9])?(?::[0-9]{1,5})?", re.ASCII)
# git-check-ref-format(1) forbids these anywhere; the rest of a name is a stranger's to choose, and only compared.
_REF: Final = re.compile(r"refs/(?:heads|tags|pull)/[^\x00-\x20\x7f~^:?*\[\\]+")
_CRON: Final = re.compile(r"[0-9A-Za-z*/, -]{1,120}", re.ASCII)
_INPUT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}", re.ASCII)
_KINDS: Final = ("push", "pull_request", "schedule", "workflow_dispatch")


def read_event(path: Path, environment: Mapping[str, str]) -> Trigger:
    """The trigger that an event file and Actions' environment describe.

    Without ``GITHUB_EVENT_NAME`` the kind is told from the file, and ref and commit come from it, so that an event can
    be tried out anywhere.

    Raises:
        ConfigurationError: the file can't be read, is no event that releases anything, or holds a hostile value.
    """
    try:
        if path.stat().st_size > MAX_EVENT:
            raise ConfigurationError("the event is too big", file=str(path), allowed=f"{MAX_EVENT >> 20} MB")
        event = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"the event can't be read: {error.strerror}", file=str(path)) from error
    except (ValueError, RecursionError) as error:
        raise ConfigurationError("the event is not JSON", file=str(path)) from error
    if not isinstance(event, dict):
        raise ConfigurationError("the event is not a JSON object", file=str(path))
    return parse_event(event, environment)


def parse_event(event: Mapping[str, Any], environment: Mapping[str, str]) -> Trigger:
    """The trigger of a parsed event.

    Raises:
        ConfigurationError: it is no event that releases anything, or holds a hostile value.
    """
    kind = environment.get("GITHUB_EVENT_NAME") or _kind_of(event)
    if kind not in _KINDS:
        raise ConfigurationError(f"a GitHub event {kind[:100]!r} releases nothing", allowed=", ".join(_KINDS))
    inside = bool(environment.get("GITHUB_EVENT_NAME"))
    source = _source(event, environment)
    if kind == "pull_request":
        return _pull_request(event, environment, source)
    if kind == "push" and event.get("deleted") is True:
        raise ConfigurationError("the push deletes its ref: there is nothing to release")
    ref = _ref((environment.get("GITHUB_REF") if inside else "") or event.get("ref") or _default_ref(event, kind))
    sha = _sha((environment.get("GITHUB_SHA") if inside else "") or _pushed(event, ref))
    if kind == "schedule":
        cron = event.get("schedule")
        if not isinstance(cron, str) or not _CRON.fullmatch(cron):
            raise ConfigurationError("the event names no schedule")
        return Trigger(TriggerKind.SCHEDULE, ref, sha, schedule=" ".join(cron.split()), source=source)
    if kind == "workflow_dispatch":
        inputs = event.get("inputs") or {}
        if not isinstance(inputs, dict):
            raise ConfigurationError("the event's inputs are not an object")
        channel, version = _input(inputs, "channel"), _input(inputs, "version")
        return Trigger(TriggerKind.DISPATCH, ref, sha, channel=channel, version=version, source=source)
    if ref.startswith("refs/tags/"):
        return Trigger(TriggerKind.TAG, ref, sha, source=source)
    if not sha or not ref.startswith("refs/heads/"):
        raise ConfigurationError("the push names no commit on a branch")
    return Trigger(TriggerKind.PUSH, ref, sha, source=source)


def _kind_of(event: Mapping[str, Any]) -> str:
    if "pull_request" in event:
        return "pull_request"
    if "schedule" in event:
        return "schedule"
    if "inputs" in event:
        return "workflow_dispatch"
    return "push" if "after" in event else "unknown"


def _pull_request(event: Mapping[str, Any], environment: Mapping[str, str], source: str) -> Trigger:
    number = event.get("number")
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number < 1 << 53:
        raise ConfigurationError("the event's pull request has no number")
    ref = _ref(environment.get("GITHUB_REF") or f"refs/pull/{number}/merge")
    return Trigger(
        TriggerKind.PULL_REQUEST, ref, _sha(environment.get("GITHUB_SHA") or ""), number=number, source=source
    )


def _pushed(event: Mapping[str, Any], ref: str) -> str:
    """The commit of a push; for an annotated tag ``after`` is the tag's own id, and only ``head_commit`` has it."""
    head = event.get("head_commit")
    if isinstance(head, dict) and isinstance(head.get("id"), str):
        return str(head["id"])
    after = event.get("after")
    return after if isinstance(after, str) and not ref.startswith("refs/tags/") else ""


def _default_ref(event: Mapping[str, Any], kind: str) -> str:
    repository = event.get("repository")
    branch = repository.get("default_branch") if isinstance(repository, dict) else None
    return f"refs/heads/{branch}" if kind == "schedule" and isinstance(branch, str) else ""


def _ref(value: object) -> str:
    text = value if isinstance(value, str) else ""
    if text and not text.startswith("refs/"):
        text = f"refs/heads/{text}"  # a dispatch through the API may name a bare branch
    if len(text) > MAX_REF or not _REF.fullmatch(text) or ".." in text or "@{" in text or "//" in text:
        raise ConfigurationError(
            f"{text[:100]!r} is not a git ref that starts a release", allowed="refs/heads/…, refs/tags/…"
        )
    return text


def _sha(value: str) -> str:
    if value and (not _COMMIT.fullmatch(value) or value == "0" * 40):
        raise ConfigurationError(f"{value[:100]!r} is not the id of a commit", allowed="40 hexadecimal digits")
    return value


def _input(inputs: Mapping[str, Any], name: str) -> str | None:
    value = inputs.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not _INPUT.fullmatch(value):
        raise ConfigurationError(f"the input {name} is {str(value)[:100]!r}", allowed="letters, digits, . _ + and -")
    return value


def _source(event: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    """The address of the running repository: Actions' word, else the event's."""
    name = environment.get("GITHUB_REPOSITORY") or ""
    if not name:
        repository = event.get("repository")
        found = repository.get("full_name") if isinstance(repository, dict) else None
        name = found if isinstance(found, str) else ""
    if not name:
        return ""
    server = (environment.get("GITHUB_SERVER_URL") or "https://github.com").rstrip("/")
    if not _REPOSITORY.fullmatch(name) or name.endswith(("/.", "/..")) or not _SERVER.fullmatch(server):
        raise ConfigurationError(f"{server[:100]}/{name[:100]} is not the address of a repository")
    return f"{server}/{name}"
