"""Who we are to a registry: Bearer tokens (distribution's token specification), Basic, or nobody.

The scope of a token is built from what a request needs; the one in a challenge is not believed (GHCR's is a literal
placeholder). Credentials go to the registry itself and to the token server that it names, as long as that is of the
same site; never to another host, never over plain HTTP beyond loopback, never into an error.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode, urlsplit

import anyio
import msgspec

from shipgraph.errors import Denied, RegistryError
from shipgraph.oci.distribution import Challenge, parse_challenge
from shipgraph.oci.reference import is_loopback
from shipgraph.remote.errors import explain
from shipgraph.remote.url import origin, redact

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from shipgraph.remote.credentials import Credentials, CredentialSource
    from shipgraph.remote.session import Reply
    from shipgraph.remote.transport import Headers, Request

DEFAULT_LIFE: Final = 60.0
"""Seconds that a token lives where its server doesn't say (token specification: ``expires_in``)."""
_TOKEN: Final = re.compile(r"[\x21-\x7e]{1,65536}", re.ASCII)
_REFUSED: Final = frozenset({400, 401, 403})


@dataclass(frozen=True, slots=True, order=True)
class Scope:
    """What a request needs: a repository and actions (pull, push, delete)."""

    repository: str
    actions: tuple[str, ...]

    def __str__(self) -> str:
        return f"repository:{self.repository}:{','.join(self.actions)}"

    def covers(self, other: Scope) -> bool:
        """Whether a token for this scope serves the other too."""
        return self.repository == other.repository and set(self.actions) >= set(other.actions)


def pull(repository: str) -> tuple[Scope, ...]:
    """The scope of reading."""
    return (Scope(repository, ("pull",)),)


def push(repository: str) -> tuple[Scope, ...]:
    """The scope of writing."""
    return (Scope(repository, ("pull", "push")),)


def delete(repository: str) -> tuple[Scope, ...]:
    """The scope of deleting."""
    return (Scope(repository, ("pull", "push", "delete")),)


@dataclass(slots=True)
class _Token:
    scopes: tuple[Scope, ...]
    value: str = field(repr=False)
    fresh_until: float
    anonymous: bool

    def covers(self, scopes: tuple[Scope, ...]) -> bool:
        return all(any(own.covers(wanted) for own in self.scopes) for wanted in scopes)


class Authenticator:
    """Answers challenges of one registry and remembers what it learnt.

    Args:
        host: the name under which credentials are looked up.
        base: the registry's own URL; an ``Authorization`` header is made for its origin alone.
        send: carries a request to the token server, with retries, following no redirect.
        token_hosts: token servers of other sites that may see the credentials.
    """

    def __init__(
        self,
        host: str,
        base: str,
        source: CredentialSource,
        send: Callable[[Request], Awaitable[Reply]],
        *,
        token_hosts: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._host, self._base, self._source, self._send = host, base, source, send
        self._token_hosts = frozenset(token_hosts)
        self._clock = clock
        self._challenge: Challenge | None = None
        self._credentials: Credentials | None = None
        self._looked_up = False
        self._tokens: list[_Token] = []
        self._lock = anyio.Lock()

    @property
    def challenged(self) -> bool:
        """Whether the registry has asked for anything yet."""
        return self._challenge is not None

    def secrets(self) -> list[str]:
        """All that must never be shown, for redaction."""
        found = [token.value for token in self._tokens]
        return found + _secrets(self._credentials)

    async def header(self, scopes: tuple[Scope, ...]) -> str | None:
        """The ``Authorization`` value for the registry's origin; None before its first challenge, or for nobody.

        Raises:
            Denied: the token server refused.
            RegistryError: it didn't answer as a token server does.
        """
        if self._challenge is None or not scopes:
            return None
        if self._challenge.scheme == "basic":
            credentials = await self._find()
            return None if credentials is None or not credentials.password else credentials.basic
        return f"Bearer {(await self._token(scopes)).value}"

    def note(self, headers: Headers) -> bool:
        """Remember the challenge of a 401; whether there was one that can be met."""
        challenges = [parse_challenge(value) for value in headers.all("WWW-Authenticate")]
        known = [challenge for challenge in challenges if challenge is not None]
        if known:
            self._challenge = known[0]
        return bool(known)

    async def answer(self, headers: Headers, scopes: tuple[Scope, ...], refused: str | None) -> str | None:
        """A new ``Authorization`` value after a 401, or None where there is nothing new to say."""
        if not self.note(headers) or not scopes:
            return None
        if any(f"Bearer {token.value}" == refused for token in self._tokens):
            # the others are from the same time, and may be dead too: the machine slept, or the registry forgot
            self._tokens = []
        renewed = await self.header(scopes)
        return None if renewed == refused else renewed

    async def without_credentials(self, scopes: tuple[Scope, ...], refused: str | None) -> str | None:
        """An anonymous token for pulling, after credentials were refused with 403; None if that is no way out."""
        if refused is None or self._challenge is None or self._challenge.scheme != "bearer" or not _only_pull(scopes):
            return None
        if any(f"Bearer {token.value}" == refused and token.anonymous for token in self._tokens):
            return None
        async with self._lock:
            try:
                token = await self._request(self._challenge, scopes, None)
            except RegistryError:
                return None
            self._tokens = [kept for kept in self._tokens if f"Bearer {kept.value}" != refused]
            self._remember(token)
        return f"Bearer {token.value}"

    async def _find(self) -> Credentials | None:
        if not self._looked_up:
            self._credentials = await self._source(self._host)
            self._looked_up = True
        return self._credentials

    async def _token(self, scopes: tuple[Scope, ...]) -> _Token:
        async with self._lock:
            now = self._clock()
            self._tokens = [token for token in self._tokens if token.fresh_until > now]
            for token in self._tokens:
                if token.covers(scopes):
                    return token
            assert self._challenge is not None  # noqa: S101 (header() has looked)
            credentials = await self._find()
            try:
                token = await self._request(self._challenge, scopes, credentials)
            except Denied:
                # GHCR answers 403 to bad or expired credentials even where anybody may pull
                if credentials is None or not _only_pull(scopes):
                    raise
                try:
                    token = await self._request(self._challenge, scopes, None)
                except RegistryError as second:
                    raise Denied(
                        f"{self._host} refused the credentials from {credentials.origin}, and anonymous reading too",
                        url=second.url,
                        status=second.status,
                        codes=second.codes,
                    ) from None
            self._remember(token)
            return token

    def _remember(self, token: _Token) -> None:
        self._tokens.append(token)

    async def _request(
        self, challenge: Challenge, scopes: tuple[Scope, ...], credentials: Credentials | None
    ) -> _Token:
        from shipgraph.remote.transport import Request

        realm = self._checked_realm(challenge.get("realm") or "", credentials)
        service = challenge.get("service")
        query: list[tuple[str, str]] = [("service", service)] if service else []
        if credentials is not None and credentials.refresh:
            form = [("grant_type", "refresh_token"), ("client_id", "shipgraph"), *query]
            form += [("scope", " ".join(map(str, scopes))), ("refresh_token", credentials.refresh)]
            headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
            request = Request("POST", realm, headers, urlencode(form).encode())
        else:
            query += [("scope", str(scope)) for scope in scopes]
            headers = {"Accept": "application/json"}
            if credentials is not None:
                headers["Authorization"] = credentials.basic
            joint = "&" if urlsplit(realm).query else "?"
            request = Request("GET", f"{realm}{joint}{urlencode(query)}", headers)
        reply = await self._send(request)
        if reply.status != 200:
            told = explain(reply)
            who = "anonymous access" if credentials is None else f"the credentials from {credentials.origin}"
            kind = Denied if reply.status in _REFUSED else RegistryError
            echoed = any(secret in told.text for secret in _secrets(credentials))
            raise kind(
                f"the token server of {self._host} refused {who}",
                method=request.method,
                url=redact(request.url),
                status=reply.status,
                codes=told.codes,
                detail="" if echoed else told.text,
            )
        value, life = _read_token(reply.body, redact(realm))
        # renewed a little early: a token must not die between here and the registry
        fresh = self._clock() + life - min(10.0, life / 4)
        return _Token(scopes, value, fresh, credentials is None)

    def _checked_realm(self, realm: str, credentials: Credentials | None) -> str:
        scheme, host, _ = origin(realm)
        if scheme not in {"http", "https"} or not host or "@" in urlsplit(realm).netloc:
            raise RegistryError(f"{self._host} names no usable token server", url=redact(realm))
        own_scheme, own_host, _ = origin(self._base)
        if scheme == "http" and (own_scheme != "http" or not (is_loopback(urlsplit(realm).netloc) or host == own_host)):
            raise RegistryError(f"{self._host} names a token server without TLS; refused", url=redact(realm))
        if credentials is not None and not (_same_site(own_host, host) or host in self._token_hosts):
            raise RegistryError(
                f"{self._host} wants the credentials to go to another site; refused",
                url=redact(realm),
                hint=f"if {host} is the token server of {self._host}, allow it as a token host",
            )
        return realm


def _secrets(credentials: Credentials | None) -> list[str]:
    if credentials is None:
        return []
    found = [credentials.password, credentials.refresh, credentials.basic.removeprefix("Basic ")]
    return [secret for secret in found if secret]


def _only_pull(scopes: tuple[Scope, ...]) -> bool:
    return all(scope.actions == ("pull",) for scope in scopes)


def _same_site(host: str, other: str) -> bool:
    """The same host, or both below one domain of at least two labels (registry-1.docker.io, auth.docker.io)."""
    if host == other:
        return True
    if ":" in host or ":" in other or host.replace(".", "").isdigit() or other.replace(".", "").isdigit():
        return False
    ours, theirs = host.split(".")[-2:], other.split(".")[-2:]
    return len(ours) == 2 and ours == theirs


def _read_token(body: bytes, url: str) -> tuple[str, float]:
    try:
        document: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        document = None
    found = (document.get("token") or document.get("access_token")) if isinstance(document, dict) else None
    if not isinstance(found, str) or not _TOKEN.fullmatch(found):
        raise RegistryError("the token server answered without a token", url=url)
    life = document.get("expires_in")
    valid = isinstance(life, int | float) and not isinstance(life, bool) and 0 < life < 1e9
    return found, float(life) if valid else DEFAULT_LIFE
