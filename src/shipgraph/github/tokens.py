"""What a token is good for, as far as it or GitHub tells."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from shipgraph.github.api import GitHubApi

_SCOPES: Final = "X-OAuth-Scopes"
_EXPIRATION: Final = "GitHub-Authentication-Token-Expiration"


class TokenKind(StrEnum):
    """The kinds of tokens, told apart by how they begin."""

    CLASSIC = "classic personal access token"
    FINE_GRAINED = "fine-grained personal access token"
    WORKFLOW = "workflow's or app's token"
    OAUTH = "OAuth token"
    OTHER = "token of an unknown kind"

    @classmethod
    def of(cls, token: str) -> TokenKind:
        """The kind of a token."""
        begins = {
            "ghp_": cls.CLASSIC,
            "github_pat_": cls.FINE_GRAINED,
            "ghs_": cls.WORKFLOW,
            "gho_": cls.OAUTH,
            "ghu_": cls.OAUTH,
        }
        return next((kind for start, kind in begins.items() if token.startswith(start)), cls.OTHER)


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """What GitHub says of a token: its scopes (None where that kind has none), and when it ends, if it does."""

    scopes: frozenset[str] | None
    expires: datetime | None

    def may(self, scope: str) -> bool:
        """Whether a scope is among its scopes; those that say more count too."""
        scopes = self.scopes or frozenset()
        wider = {"read:packages": {"write:packages"}, "workflow": {"repo"}}
        return bool({scope, *wider.get(scope, ())} & scopes)


async def ask_token(api: GitHubApi) -> TokenFacts:
    """Ask GitHub about the token that an API is asked with; it costs nothing of the hour's requests.

    Raises:
        Denied: GitHub doesn't know the token: it is wrong, or has expired.
        RegistryError
    """
    reply = await api.get("the token", "/rate_limit")
    text = reply.headers.get(_SCOPES)
    scopes = None if text is None else frozenset(part.strip() for part in text.split(",") if part.strip())
    return TokenFacts(scopes, _time(reply.headers.get(_EXPIRATION, "")))


def _time(text: str) -> datetime | None:
    """``2026-12-01 12:00:00 UTC`` or with an offset, as GitHub writes it."""
    for form in ("%Y-%m-%d %H:%M:%S UTC", "%Y-%m-%d %H:%M:%S %z"):
        try:
            found = datetime.strptime(text.strip(), form)  # noqa: DTZ007 (made aware below)
        except ValueError:
            continue
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    return None
