"""A transport without a network: a function answers each request, and every request is remembered."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from shipgraph.remote import Credentials, RemoteStore, RetryPolicy, TransportFailure
from shipgraph.remote.transport import Headers, Request, Response

HOST = "registry.example"


class FakeResponse:
    """A whole response in memory, or one that breaks after its body."""

    def __init__(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None, *, cut: bool = False):
        self.status = status
        self.headers = Headers((headers or {}).items())
        self._body, self._cut = body, cut
        self.closed = False

    def read(self, limit: int) -> bytes:
        piece, self._body = self._body[:limit], self._body[limit:]
        if not piece and self._cut:
            raise TransportFailure("the connection was cut inside the body")
        return piece

    def close(self) -> None:
        self.closed = True


@dataclass
class Seen:
    """One request as the server saw it."""

    method: str
    url: str
    headers: Headers
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.url).path

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(self.query_string)

    @property
    def query_string(self) -> str:
        return urlsplit(self.url).query

    @property
    def authorization(self) -> str | None:
        return self.headers.get("Authorization")

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


Answer = Callable[[Seen], FakeResponse]


@dataclass
class FakeTransport:
    """Answers by a function."""

    answer: Answer
    seen: list[Seen] = field(default_factory=list)

    def exchange(self, request: Request) -> Response:
        body = request.body
        content = body if isinstance(body, bytes) else b"".join(body or ())
        seen = Seen(request.method, request.url, Headers(request.headers.items()), content)
        self.seen.append(seen)
        return self.answer(seen)

    def close(self) -> None:
        pass

    def lines(self) -> list[str]:
        """What was asked, as ``METHOD path``."""
        return [str(seen) for seen in self.seen]


def script(*responses: FakeResponse | Exception) -> Answer:
    """These answers, in this order, and not one more."""
    waiting: Iterator[FakeResponse | Exception] = iter(responses)

    def answer(seen: Seen) -> FakeResponse:
        found = next(waiting, None)
        if found is None:
            raise AssertionError(f"unexpected request: {seen}")
        if isinstance(found, Exception):
            raise found
        return found

    return answer


def error(status: int, code: str, message: str = "", **headers: str) -> FakeResponse:
    """A registry's error document."""
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    fields = {"Content-Type": "application/json", **{key.replace("_", "-"): value for key, value in headers.items()}}
    return FakeResponse(status, body, fields)


@dataclass
class Naps:
    """A sleep that takes no time and remembers."""

    slept: list[float] = field(default_factory=list)

    async def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)


def quick(naps: Naps | None = None, **options: Any) -> RetryPolicy:
    """Retries without waiting; jitter is always half of the most."""
    return RetryPolicy(sleep=naps or Naps(), random=lambda: 0.5, **options)


def store(
    answer: Answer, *, host: str = HOST, naps: Naps | None = None, **options: Any
) -> tuple[RemoteStore, FakeTransport]:
    """A store over a fake transport."""
    transport = FakeTransport(answer)
    options.setdefault("credentials", None)
    options.setdefault("retries", quick(naps))
    return RemoteStore(host, transport=transport, **options), transport


SECRET = "s3cr3t-passw0rd"
LOGIN = Credentials("user", SECRET)
