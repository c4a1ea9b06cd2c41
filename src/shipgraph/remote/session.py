"""Calls to one registry: limits, credentials, redirects followed by hand, retries. Knows nothing of blobs or tags."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlsplit

from shipgraph.errors import RegistryError, RegistryUnavailable
from shipgraph.oci.reference import check_host, is_loopback
from shipgraph.remote.auth import Authenticator, Scope
from shipgraph.remote.credentials import DOCKER_HUB
from shipgraph.remote.errors import ERROR_BODY, failure
from shipgraph.remote.exchange import Exchange
from shipgraph.remote.manners import GHCR_WRITES, Manners, read_manners
from shipgraph.remote.retry import TOO_MANY_REQUESTS, RetryPolicy, asked_wait, is_transient
from shipgraph.remote.transport import Headers, Request, Response, SmallTransport, Transport, TransportFailure
from shipgraph.remote.url import follow, origin, redact

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Container, Iterable, Mapping

    from shipgraph.remote.credentials import CredentialSource
    from shipgraph.remote.limits import Lane, Limits

T = TypeVar("T")

MAX_REDIRECTS: Final = 5
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_OK, UNAUTHORIZED, FORBIDDEN = 200, 401, 403
_ANY_ANSWER: Final = frozenset(range(200, 500)) - {408, 429}
_TOKEN_BODY: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Call:
    """One thing asked of a registry.

    Args:
        what: the thing's name, for errors.
        path: an absolute path on the registry, or a whole URL that the registry gave.
        accepted: statuses that the caller can deal with; all others become errors.
        cap: the most bytes of a good answer's body.
        writes: whether it changes anything (another lane, and a 404 never means "not there").
        follows: whether redirects are followed (only ever for GET and HEAD).
    """

    what: str
    method: str
    path: str
    accepted: Container[int]
    scopes: tuple[Scope, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    cap: int = ERROR_BODY
    writes: bool = False
    follows: bool = True


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: its body as far as it was read, the URL that gave it, and the exchange where it is still open."""

    url: str = field(repr=False)
    status: int
    headers: Headers = field(repr=False)
    body: bytes = field(repr=False)
    overlong: bool = False
    exchange: Exchange | None = field(default=None, repr=False)


class Session:
    """Carries calls to one registry.

    Args:
        lag: seconds within which a read may show what was before a write; None: as the registry's manners are.
        polite: whether as few writes are sent at the same time as GHCR likes, once it is known to be GHCR.
    """

    def __init__(
        self,
        host: str,
        *,
        transport: Transport,
        credentials: CredentialSource,
        plain_http: bool | None,
        limits: Limits,
        retries: RetryPolicy,
        user_agent: str,
        token_hosts: Collection[str] = (),
        lag: float | None = None,
        polite: bool = True,
    ) -> None:
        self.host = check_host(host)
        real = "registry-1.docker.io" if host == DOCKER_HUB else host
        plain = is_loopback(host) if plain_http is None else plain_http
        self.base = f"{'http' if plain else 'https'}://{real}"
        self.limits, self.retries = limits, retries
        self.plain_allowed = bool(plain_http)
        self._transport = transport
        self._small = transport if isinstance(transport, SmallTransport) else None
        self._user_agent = user_agent
        self._open = False  # whether the registry answers without asking who we are
        self._lag, self._polite = lag, polite
        self._manners: Manners | None = None
        self.auth = Authenticator(
            self.host, self.base, credentials, self._send_to_token_server, token_hosts=token_hosts
        )
        self._heed(Manners(host))

    def url(self, path: str) -> str:
        """The absolute URL of a call's path."""
        return path if "://" in path else self.base + path

    async def send(self, call: Call, *, attempts: int | None = None) -> Reply:
        """Make a call and read its answer; repeated while that may help.

        Args:
            attempts: how often at most; 1 sends a single request, unless it is answered by 401 or a redirect.

        Raises:
            NotFound, Denied, Rejected, RegistryUnavailable, RegistryError
        """
        lane = self.limits.writes if call.writes else self.limits.reads

        async def attempt() -> Reply:
            async with lane.slot():
                return await self._authorized(call, stream=False)

        return await self.repeated(call, attempt, lane, attempts=attempts)

    async def send_once(self, call: Call) -> Reply:
        """Send exactly one request, with whatever authorization is at hand; see ``prepare``.

        Raises:
            RegistryUnavailable: its outcome is unknown.
            RegistryError: refused; nothing changed.
        """
        async with self.limits.writes.slot():
            authorization = await self.auth.header(call.scopes)

            async def attempt() -> Reply:
                return await self._exchange(call, self.url(call.path), authorization, stream=False)

            return await self.repeated(call, attempt, self.limits.writes, attempts=1)

    async def prepare(self, scopes: tuple[Scope, ...]) -> None:
        """See to it that a following single request carries a fresh token, if the registry wants one."""
        if not self.auth.challenged and not self._open:
            await self.ping()
        await self.auth.header(scopes)

    async def ping(self) -> Reply:
        """``GET /v2/`` as nobody, whatever it answers (its challenge, its clock, its extensions)."""
        call = Call(f"registry {self.host}", "GET", "/v2/", _ANY_ANSWER, follows=False)

        async def attempt() -> Reply:
            async with self.limits.reads.slot():
                return await self._exchange(call, self.url(call.path), None, stream=False)

        reply = await self.repeated(call, attempt, self.limits.reads)
        if reply.status == UNAUTHORIZED:
            self.auth.note(reply.headers)
        self._heed(read_manners(self.host, reply))
        self._open = reply.status == _OK
        return reply

    async def manners(self) -> Manners:
        """What the registry's habits are; it is asked once.

        Raises:
            RegistryError
        """
        if self._manners is None:
            reply = await self.ping()
            manners = read_manners(self.host, reply)
            if reply.status not in {_OK, UNAUTHORIZED}:  # not a registry's answer: ask again another time
                return manners
            self._manners = manners
        return self._manners

    async def lag(self) -> float:
        """Seconds within which a read may show what was before a write.

        Raises:
            RegistryError
        """
        return (await self.manners()).lag if self._lag is None else self._lag

    async def open(self, call: Call, *, good: Collection[int]) -> Reply:
        """Make a call whose answer's body is read piece by piece from ``reply.exchange``.

        The caller holds a slot of ``limits.streams``, and ends the exchange.
        """

        async def attempt() -> Reply:
            return await self._authorized(call, stream=True, good=good)

        return await self.repeated(call, attempt, self.limits.streams)

    async def upload(self, call: Call, body: Iterable[bytes], length: int) -> Reply:
        """Send one request whose body is streamed, a single time; the caller holds the slot.

        Raises:
            TransportFailure: no answer came.
            RegistryError: no token.
        """
        url = self.url(call.path)
        own = self._is_own(url)
        authorization = await self.auth.header(call.scopes) if own else None
        reply = await self._exchange(call, url, authorization, stream=False, body=body, length=length)
        if reply.status == UNAUTHORIZED and own:
            await self.auth.answer(reply.headers, call.scopes, authorization)  # for the next attempt
        elif reply.status == TOO_MANY_REQUESTS:
            self.limits.writes.throttled(asked_wait(reply.headers, reply.body))
        return reply

    async def repeated(
        self, call: Call, attempt: Callable[[], Awaitable[Reply]], lane: Lane, *, attempts: int | None = None
    ) -> Reply:
        """Attempt until the answer is accepted, definitely refused, or patience is at its end."""
        failures = 0
        while True:
            failures += 1
            try:
                reply = await attempt()
            except TransportFailure as broken:
                error: RegistryError = self.unanswered(call, broken)
                asked, final = None, broken.permanent
            else:
                if reply.status in call.accepted:
                    lane.succeeded()
                    return reply
                error = self.refused(call, reply)
                asked, final = asked_wait(reply.headers, reply.body), not is_transient(reply.status, reply.body)
                if reply.status == TOO_MANY_REQUESTS:
                    lane.throttled(asked)
            delay = None if final else self.retries.delay(failures, asked)
            if delay is None or failures >= (math.inf if attempts is None else attempts):
                raise error
            await self.retries.sleep(delay)

    def refused(self, call: Call, reply: Reply) -> RegistryError:
        """The error of an unwanted answer, with every secret of ours struck out of what the registry said."""
        error = failure(call, reply)
        text = str(error)
        if any(secret in text for secret in self.auth.secrets()):
            what, url = f"{call.what}: refused", redact(reply.url)
            return type(error)(what, method=call.method, url=url, status=reply.status, hint=error.hint)
        return error

    def unanswered(self, call: Call, broken: TransportFailure) -> RegistryError:
        """The error of an exchange without a whole answer."""
        kind = RegistryError if broken.permanent else RegistryUnavailable
        return kind(
            f"{call.what}: no answer from {self.host}",
            method=call.method,
            url=redact(self.url(call.path)),
            detail=str(broken),
        )

    def _heed(self, manners: Manners) -> None:
        if manners.is_ghcr and self._polite:
            self.limits.writes.narrow(GHCR_WRITES)

    def _is_own(self, url: str) -> bool:
        return origin(url) == origin(self.base)

    async def _authorized(self, call: Call, *, stream: bool, good: Collection[int] = ()) -> Reply:
        """One attempt: with a new token after a 401, anonymously after a 403 to credentials, along redirects."""
        url = self.url(call.path)
        own = self._is_own(url)
        authorization = await self.auth.header(call.scopes) if own else None
        reply = await self._exchange(call, url, authorization, stream=stream, good=good)
        if own and reply.status == UNAUTHORIZED:
            self._heed(read_manners(self.host, reply))
            renewed = await self.auth.answer(reply.headers, call.scopes, authorization)
            if renewed is not None:
                authorization = renewed
                reply = await self._exchange(call, url, authorization, stream=stream, good=good)
        if own and reply.status == FORBIDDEN:
            nobody = await self.auth.without_credentials(call.scopes, authorization)
            if nobody is not None:
                reply = await self._exchange(call, url, nobody, stream=stream, good=good)
        for _ in range(MAX_REDIRECTS):
            location = reply.headers.get("Location")
            if not call.follows or reply.status not in _REDIRECTS or location is None:
                return reply
            # no Authorization from here on, not even back to the registry: what a redirect needs is in its URL
            url = follow(url, location, plain_http=self.plain_allowed)
            reply = await self._exchange(call, url, None, stream=stream, good=good)
        return reply

    async def _exchange(
        self,
        call: Call,
        url: str,
        authorization: str | None,
        *,
        stream: bool,
        good: Collection[int] = (),
        body: Iterable[bytes] | None = None,
        length: int | None = None,
    ) -> Reply:
        headers = {"User-Agent": self._user_agent, "Accept-Encoding": "identity", **call.headers}
        if authorization is not None:
            headers["Authorization"] = authorization
        request = Request(call.method, url, headers, call.body if body is None else body, length)
        if self._small is not None and not stream:
            whole = await self._small.fetch(request, lambda status: self._cap(call, status))
            if whole is not None:
                return Reply(url, whole.status, whole.headers, whole.body, whole.overlong)
        exchange = Exchange(self._transport, request, self.limits.threads)

        def work(response: Response) -> Reply:
            if stream and response.status in good:
                return Reply(url, response.status, response.headers, b"", exchange=exchange)
            content, overlong = _read(response, self._cap(call, response.status))
            response.close()
            return Reply(url, response.status, response.headers, content, overlong)

        try:
            return await exchange.run(work)
        except BaseException:
            exchange.end()
            raise

    @staticmethod
    def _cap(call: Call, status: int) -> int:
        return call.cap if status in call.accepted else ERROR_BODY

    async def _send_to_token_server(self, request: Request) -> Reply:
        """Token servers are asked outside the lanes: whoever needs a token holds a slot already."""
        where = urlsplit(request.url).netloc
        body = request.body if isinstance(request.body, bytes) else None
        call = Call(
            f"token server {where}",
            request.method,
            request.url,
            _ANY_ANSWER,
            headers=request.headers,
            body=body,
            cap=_TOKEN_BODY,
        )

        async def attempt() -> Reply:
            return await self._exchange(call, request.url, None, stream=False)

        return await self.repeated(call, attempt, self.limits.reads)


def _read(response: Response, cap: int) -> tuple[bytes, bool]:
    """At most ``cap`` bytes of a body, and whether there was more."""
    parts: list[bytes] = []
    size = 0
    while size <= cap:
        piece = response.read(min(cap + 1 - size, 1 << 20))
        if not piece:
            return b"".join(parts), False
        parts.append(piece)
        size += len(piece)
    return b"".join(parts)[:cap], True
