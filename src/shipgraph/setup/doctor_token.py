"""GitHub's token: its kind, its scopes, and how long it lives; its value is never shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from shipgraph.errors import Denied
from shipgraph.github.tokens import TokenKind, ask_token
from shipgraph.setup.doctor import Finding, State

if TYPE_CHECKING:
    from shipgraph.github.api import GitHubApi

NAME: Final = "token"
SOON: Final = timedelta(days=7)
_FOR: Final = {
    "write:packages": "nothing can be pushed",
    "delete:packages": "`prune` and `repair --untag` can't delete",
    "repo": "no workflow can be started from here (`rollback` where only the workflow may sign)",
}


async def check_token(
    api: GitHubApi, token: str | None, *, origin: str, now: datetime | None = None
) -> Finding | list[Finding]:
    """What a token of GitHub's is good for.

    Args:
        token: None where there is none.
        origin: where it is from.
    """
    if token is None:
        return Finding(NAME, State.NOT_APPLICABLE, "there is no token of GitHub's to ask about")
    kind = TokenKind.of(token)
    if kind is TokenKind.FINE_GRAINED:
        return Finding(
            NAME,
            State.FAILED,
            f"{origin} is a {kind}: GHCR takes none",
            "make a classic one with write:packages and delete:packages, or use a workflow's GITHUB_TOKEN",
        )
    try:
        facts = await ask_token(api)
    except Denied as denied:
        return Finding(NAME, State.FAILED, f"{origin}: {denied}", "make a new one: this is wrong, or has expired")
    if facts.expires is not None and facts.expires - (now or datetime.now(UTC)) < SOON:
        when = facts.expires.strftime("%Y-%m-%d %H:%M UTC")
        return Finding(NAME, State.WARNING, f"{origin} is a {kind} and expires at {when}", "make a new one in time")
    if facts.scopes is None:
        return Finding(NAME, State.OK, f"{origin} is a {kind}: its job's `permissions` say what it may")
    detail = f"{origin} is a {kind} with {', '.join(sorted(facts.scopes)) or 'no scope'}"
    lacks = [scope for scope in _FOR if not facts.may(scope)]
    if not lacks:
        return Finding(NAME, State.OK, detail)
    state = State.FAILED if "write:packages" in lacks else State.WARNING
    without = "; ".join(f"without {scope} {_FOR[scope]}" for scope in lacks)
    return Finding(NAME, state, detail, f"{without}: add the scopes at https://github.com/settings/tokens")
