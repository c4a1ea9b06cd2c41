"""When jobs run, as expressions of GitHub Actions over the event alone.

Which channel an event leads to, and whether it may, is decided by shipgraph itself from the event's file; these only
tell a release from the other operations, and find the environment that stands before a channel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shipgraph.project.channels import RuleKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shipgraph.project.channels import ChannelSpec
    from shipgraph.project.workflow import WorkflowSpec

PULL_REQUEST: Final = "github.event_name == 'pull_request'"
DISPATCH: Final = "github.event_name == 'workflow_dispatch'"
SCHEDULE: Final = "github.event_name == 'schedule'"
AUTO: Final = "auto"


def literal(text: str) -> str:
    """A string in an expression: the quote is the one character that has to be doubled."""
    return "'" + text.replace("'", "''") + "'"


def both(*parts: str) -> str:
    """All of them."""
    given = [part for part in parts if part]
    return " && ".join(f"({part})" if " || " in part and len(given) > 1 else part for part in given)


def either(*parts: str) -> str:
    """One of them; ``&&`` binds closer."""
    return " || ".join(part for part in parts if part)


def here(spec: WorkflowSpec) -> str:
    """Whether this repository publishes."""
    if spec.repository:
        return f"github.repository == {literal(spec.repository)}"
    return "!github.event.repository.fork"


def elsewhere(spec: WorkflowSpec) -> str:
    """Whether it doesn't."""
    if spec.repository:
        return f"github.repository != {literal(spec.repository)}"
    return "github.event.repository.fork"


def releases(spec: WorkflowSpec) -> str:
    """Whether the event asks for a release; a deleted tag or branch asks for nothing."""
    scheduled = SCHEDULE
    if spec.refresh:
        scheduled = both(SCHEDULE, f"github.event.schedule != {literal(spec.refresh)}")
    return either(
        both("github.event_name == 'push'", "!github.event.deleted"),
        scheduled,
        both(DISPATCH, f"inputs.operation == {literal(AUTO)}", "inputs.version == ''"),
    )


def promotes() -> str:
    """Whether the event asks for a release that is there to be moved."""
    return both(DISPATCH, f"inputs.operation == {literal(AUTO)}", "inputs.version != ''")


def operates(operation: str) -> str:
    """Whether the event asks for one of the other operations."""
    return both(DISPATCH, f"inputs.operation == {literal(operation)}")


def leads_to(channel: str, channels: Mapping[str, ChannelSpec]) -> str:
    """Whether the event may lead to a channel. Where only shipgraph can tell, it may."""
    spec = channels[channel]
    unnamed = "inputs.channel == ''"  # as it is for every event without inputs
    ways = [f"inputs.channel == {literal(channel)}"]
    for rule in spec.rules:
        if rule.kind is RuleKind.PUSH:
            ways.append(both(unnamed, "inputs.version == ''", f"github.ref == {literal(f'refs/heads/{rule.value}')}"))
        elif rule.kind is RuleKind.SCHEDULE:
            ways.append(both(SCHEDULE, f"github.event.schedule == {literal(rule.value)}"))
        elif rule.kind is RuleKind.TAG:
            ways.append(both(unnamed, f"startsWith(github.ref, {literal(f'refs/tags/{rule.value}')})"))
            ways.append(both(unnamed, f"startsWith(inputs.version, {literal(rule.value)})"))
        else:
            ways.append(both(DISPATCH, unnamed, "inputs.version == ''"))
    return either(*dict.fromkeys(ways))
