"""Calls to GitHub's REST API: one seam, one error for each cause, and never faster than GitHub allows.

GitHub's limits: 5,000 requests an hour for a personal access token, 1,000 for a workflow's token, and a secondary limit
of 900 points a minute, where a request that changes something costs 5. Both come as 403 or 429.
"""

from __future__ import annotations

import os
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlencode, urlsplit

import anyio
import msgspec

from shipgraph import __version__
from shipgraph.errors import (
    ConfigurationError,
    Denied,
    MalformedDocument,
    NotFound,
    RegistryError,
    RegistryUnavailable,
    Rejected,
)
from shipgraph.oci.distribution import parse_next_link
from shipgraph.oci.reference import is_loopback
from shipgraph.remote.exchange import Exchange
from shipgraph.remote.retry import RetryPolicy, asked_wait, is_transient
from shipgraph.remote.transport import Headers, PooledTransport, Request, Response, Transport, TransportFailure
from shipgraph.remote.url import join, origin, redact
from shipgraph.tasks import gather

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from types import TracebackType
    from typing import Self

T = TypeVar("T")

GITHUB: Final = "https://api.github.com"
VERSION: Final = "2022-11-28"
POINTS: Final = 900
"""A minute's points of the secondary limit."""
_CHANGE: Final = 5
_MINUTE: Final = 60.0
_MAX_BODY: Final = 32 << 20
_MAX_PAGES: Final = 10_000
_DETAIL: Final = 300


class RateLimited(RegistryUnavailable):
    """GitHub's limit is reached, and waiting for ``resume_at`` (seconds since the epoch) would take too long."""

    def __init__(
        self, what: str, *, resume_at: float, method: str = "", url: str = "", status: int | None = None
    ) -> None:
        when = datetime.fromtimestamp(resume_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        super().__init__(
            what,
            method=method,
            url=url,
            status=status,
            hint=f"run the same command again after {when}; it goes on where it stopped",
        )
        self.resume_at = resume_at


@dataclass(frozen=True, slots=True)
class Budget:
    """What is left of the hour: as GitHub last said it."""

    limit: int
    remaining: int
    reset: float
    """When the hour begins anew, in seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class ApiReply:
    """An answer that was wanted."""

    url: str = field(repr=False)
    status: int
    headers: Headers = field(repr=False)
    body: bytes = field(repr=False)

    def decode(self, kind: type[T], what: str) -> T:
        """The document in it.

        Raises:
            MalformedDocument
        """
        try:
            return msgspec.json.decode(self.body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedDocument(f"{what}: GitHub's answer is not what it should be: {error}") from None


def find_token() -> str | None:
    """The token in the environment: ``GHCR_PAT``, else ``GITHUB_TOKEN``."""
    return next((token for name in ("GHCR_PAT", "GITHUB_TOKEN") if (token := os.environ.get(name, "").strip())), None)


def find_base() -> str:
    """The API's address: ``GITHUB_API_URL``, else GitHub's own."""
    return os.environ.get("GITHUB_API_URL", "").strip() or GITHUB


class GitHubApi:
    """One API for one token.

    Args:
        token: None for anonymous.
        base: its address; plain HTTP is for loopback only.
        concurrency: requests in flight.
        keep: requests of the hour that are left to others, who share the token.
        clock: seconds since the epoch.

    An async context manager. It belongs to one event loop.

    Raises:
        ConfigurationError: the address is none.
    """

    def __init__(
        self,
        token: str | None,
        *,
        base: str = GITHUB,
        concurrency: int = 4,
        keep: int = 0,
        retries: RetryPolicy | None = None,
        transport: Transport | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.base = _checked(base)
        self.budget: Budget | None = None
        self.calls = 0
        self._token, self._keep, self._clock = token, keep, clock
        self._retries = retries or RetryPolicy()
        self._transport = PooledTransport() if transport is None else transport
        self._owns_transport = transport is None
        self._slots = anyio.CapacityLimiter(concurrency)
        self._threads = anyio.CapacityLimiter(2 * concurrency + 2)
        self._pace = _Pace(clock, self._retries.sleep)

    def __repr__(self) -> str:
        return f"GitHubApi({self.base!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._owns_transport:
            self._transport.close()

    async def get(self, what: str, path: str, query: Mapping[str, str | int] | None = None) -> ApiReply:
        """Read something.

        Raises:
            NotFound, Denied, Rejected, RateLimited, RegistryUnavailable
        """
        return await self.send(what, "GET", self._url(path, query))

    async def pages(self, what: str, path: str, query: Mapping[str, str | int], kind: type[T]) -> list[T]:
        """All items of a list. The pages after the first are read at the same time.

        Raises:
            NotFound, Denied, Rejected, RateLimited, RegistryUnavailable, MalformedDocument
        """
        first = await self.get(what, path, {**query, "per_page": 100})
        others = [{**query, "per_page": 100, "page": number} for number in range(2, _last_page(first) + 1)]
        pages = [first, *await gather([partial(self.get, what, path, page) for page in others])]
        while (link := parse_next_link(pages[-1].headers.get("Link", ""))) is not None:
            target = join(pages[-1].url, link)
            if origin(target) != origin(self.base) or len(pages) >= _MAX_PAGES:
                raise RegistryError(f"{what}: the list's pages lead nowhere", url=redact(target))
            pages.append(await self.send(what, "GET", target))
        return [item for page in pages for item in page.decode(list[kind], what)]  # type: ignore[valid-type]

    async def send(
        self,
        what: str,
        method: str,
        url: str,
        body: Any = None,
        *,
        unless: Callable[[], Awaitable[ApiReply | None]] | None = None,
    ) -> ApiReply:
        """One request, repeated while that may help; ``url`` may be a path.

        Args:
            unless: asked before each repetition; an answer of its own makes it needless (what was to be made is
                there, and only the word of it got lost).

        Raises:
            NotFound: it is not there, or the token may not know of it: GitHub doesn't tell which.
            Denied, Rejected, RateLimited, RegistryUnavailable
        """
        url = url if "://" in url else self.base + url
        failures = 0
        while True:
            failures += 1
            asked: float | None = None
            try:
                reply = await self._once(method, url, body, what)
            except TransportFailure as broken:
                error: RegistryError = (RegistryError if broken.permanent else RegistryUnavailable)(
                    f"{what}: no answer from GitHub", method=method, url=redact(url), detail=str(broken)
                )
                final = broken.permanent
            else:
                if 200 <= reply.status < 300:
                    return reply
                limited = self._limited(reply)
                if limited is not None:
                    asked, final = limited, False
                    error = self._rate_limited(what, limited, method, url, reply.status)
                else:
                    error, final = self._error(what, method, reply), not is_transient(reply.status, reply.body)
            delay = None if final else self._retries.delay(failures, asked)
            if delay is None:
                raise error
            await self._retries.sleep(delay)
            if unless is not None and (found := await unless()) is not None:
                return found

    async def _once(self, method: str, url: str, body: Any, what: str) -> ApiReply:
        headers = {
            "Accept": "application/vnd.github+json",
            "Accept-Encoding": "identity",
            "User-Agent": f"shipgraph/{__version__}",
            "X-GitHub-Api-Version": VERSION,
        }
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        content = None if body is None else msgspec.json.encode(body)
        if content is not None:
            headers["Content-Type"] = "application/json"
        async with self._slots:
            await self._spend(method, url, what)
            exchange = Exchange(self._transport, Request(method, url, headers, content), self._threads)
            try:
                reply = await exchange.run(lambda response: _read(url, response))
            finally:
                exchange.end()
        self._note(reply.headers)
        return reply

    async def _spend(self, method: str, url: str, what: str) -> None:
        """Wait where the minute's points are spent; refuse where the hour's requests are."""
        self.calls += 1
        budget = self.budget
        if self._keep and budget is not None and budget.remaining <= self._keep and self._clock() < budget.reset:
            raise self._rate_limited(what, budget.reset - self._clock(), method, url, None)
        await self._pace.take(1 if method in {"GET", "HEAD"} else _CHANGE)

    def _note(self, headers: Headers) -> None:
        found = [_number(headers.get(f"X-RateLimit-{name}", "")) for name in ("Limit", "Remaining", "Reset")]
        limit, remaining, reset = found
        if limit is None or remaining is None or reset is None:
            return
        if self.budget is not None and self.budget.reset == reset:  # answers overtake each other
            remaining = min(remaining, self.budget.remaining)
        self.budget = Budget(limit, remaining, float(reset))

    def _limited(self, reply: ApiReply) -> float | None:
        """How long to wait where an answer says that there were too many requests."""
        if reply.status not in {403, 429}:
            return None
        asked = asked_wait(reply.headers, reply.body, now=self._clock)
        if asked is not None:
            return asked
        if reply.headers.get("X-RateLimit-Remaining") == "0":
            reset = _number(reply.headers.get("X-RateLimit-Reset", ""))
            return _MINUTE if reset is None else max(1.0, reset - self._clock())
        # "wait for at least one minute", GitHub's documentation says of answers without a time
        return _MINUTE if reply.status == 429 or is_transient(reply.status, reply.body) else None

    def _rate_limited(self, what: str, wait: float, method: str, url: str, status: int | None) -> RateLimited:
        return RateLimited(
            f"{what}: GitHub's rate limit is reached",
            resume_at=self._clock() + wait,
            method=method,
            url=redact(url),
            status=status,
        )

    def _error(self, what: str, method: str, reply: ApiReply) -> RegistryError:
        kind: type[RegistryError] = Rejected
        reason, hint = "refused", ""
        if reply.status == 401:
            reason, kind = "GitHub does not know who asks", Denied
            hint = "set GITHUB_TOKEN or GHCR_PAT to a token that has not expired"
        elif reply.status == 403:
            reason, kind = "not allowed", Denied
            hint = (
                "a classic token needs read:packages, to delete delete:packages, to restore write:packages;"
                " a workflow needs `permissions: packages: write`, and cannot list packages"
            )
        elif reply.status == 404:
            reason, kind = "not there, or the token may not see it", NotFound
            hint = (
                "GitHub answers 404 in both cases; for a private package the repository needs access"
                " (package settings, Manage Actions access), or the token read:packages"
            )
        elif is_transient(reply.status, reply.body):
            reason, kind = "no usable answer", RegistryUnavailable
        elif not 400 <= reply.status < 500:
            reason, kind = "the answer makes no sense", RegistryError
        return kind(
            f"{what}: {reason}",
            method=method,
            url=redact(reply.url),
            status=reply.status,
            detail=self._told(reply),
            hint=hint,
        )

    def _told(self, reply: ApiReply) -> str:
        """What GitHub says about it, on one line and without the token."""
        try:
            document = msgspec.json.decode(reply.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return "an HTML page" if reply.body.lstrip()[:1] == b"<" else ""
        told = document.get("message") if isinstance(document, dict) else None
        if not isinstance(told, str) or (self._token and self._token in told):
            return ""
        line = " ".join("".join(char if char.isprintable() else " " for char in told).split())
        return line if len(line) <= _DETAIL else line[: _DETAIL - 1] + "…"

    def _url(self, path: str, query: Mapping[str, str | int] | None) -> str:
        return f"{self.base}{path}?{urlencode(query)}" if query else self.base + path


class _Pace:
    """Spends at most a minute's points in any minute."""

    def __init__(self, clock: Callable[[], float], sleep: Callable[[float], Awaitable[None]]) -> None:
        self._clock, self._sleep = clock, sleep
        self._spent: deque[tuple[float, int]] = deque()
        self._sum = 0

    async def take(self, points: int) -> None:
        """Wait until so many points may be spent."""
        while True:
            now = self._clock()
            while self._spent and self._spent[0][0] <= now - _MINUTE:
                self._sum -= self._spent.popleft()[1]
            if self._sum + points <= POINTS:
                self._spent.append((now, points))
                self._sum += points
                return
            await self._sleep(max(0.05, self._spent[0][0] + _MINUTE - now))


def _checked(base: str) -> str:
    parts = urlsplit(base)
    plain = parts.scheme == "http" and is_loopback(parts.netloc)
    if not (parts.scheme == "https" or plain) or not parts.netloc or "@" in parts.netloc or parts.query:
        raise ConfigurationError(
            f"{redact(base)[:200]!r} can't be the address of GitHub's API", allowed="https://…, or http://… on loopback"
        )
    return base.rstrip("/")


def _read(url: str, response: Response) -> ApiReply:
    parts: list[bytes] = []
    size = 0
    while size <= _MAX_BODY and (piece := response.read(1 << 20)):
        parts.append(piece)
        size += len(piece)
    response.close()
    if size > _MAX_BODY:
        raise TransportFailure("the answer has no end", permanent=True)
    return ApiReply(url, response.status, response.headers, b"".join(parts))


def _last_page(reply: ApiReply) -> int:
    """The number of the last page, if the ``Link`` header tells it."""
    for part in reply.headers.get("Link", "").split(","):
        target, _, parameters = part.partition(";")
        if 'rel="last"' in parameters:
            pairs = [pair.partition("=") for pair in urlsplit(target.strip(" <>")).query.split("&")]
            number = next((_number(value) for key, _, value in pairs if key == "page"), None)
            return min(number or 1, _MAX_PAGES)
    return 1


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else None
