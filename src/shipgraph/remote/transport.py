"""The one seam to the network: a blocking exchange of one request for one response.

Everything above speaks ``Transport``; fakes, faults and servers in the same process enter here. ``PooledTransport`` is
the real one: urllib3's connection pools, TLS by the system's trust store, proxies from the environment.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse, RemoteDisconnected
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable
from urllib.parse import unquote, urlsplit

from shipgraph.errors import ConfigurationError
from shipgraph.oci.reference import is_loopback

if TYPE_CHECKING:
    import ssl

    import urllib3
    from urllib3.response import BaseHTTPResponse

    from shipgraph.remote.answer import Whole

Body: TypeAlias = bytes | Iterable[bytes] | None


class Headers(Mapping[str, str]):
    """Header fields, found without regard to case; repeated fields are joined by a comma (RFC 9110 § 5.3)."""

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self._fields: dict[str, list[str]] = {}
        for name, value in pairs:
            self._fields.setdefault(name.lower(), []).append(value)

    def __getitem__(self, name: str) -> str:
        return ", ".join(self._fields[name.lower()])

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def all(self, name: str) -> tuple[str, ...]:
        """Each value of a repeated field by itself."""
        return tuple(self._fields.get(name.lower(), ()))


@dataclass(frozen=True, slots=True)
class Request:
    """One request. Headers and URL may carry secrets, so neither shows up in its repr.

    ``length`` is the number of bytes of an iterable body. ``on_socket`` is told which socket carries the request, so
    that another thread can wake this one by shutting the socket down; a transport without sockets never calls it.
    """

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Body = field(default=None, repr=False)
    length: int | None = None
    on_socket: Callable[[socket.socket], None] | None = field(default=None, repr=False)


class Response(Protocol):
    """A response whose body has not been read yet."""

    @property
    def status(self) -> int:
        """The status code."""
        ...

    @property
    def headers(self) -> Headers:
        """The header fields."""
        ...

    def read(self, limit: int) -> bytes:
        """At most ``limit`` bytes of the raw body (no content coding undone); empty at its proper end.

        Raises:
            TransportFailure: the connection broke, stalled, or ended before the announced length.
        """
        ...

    def close(self) -> None:
        """Give the connection back, or drop it if the body has not been read to its end."""
        ...


class Transport(Protocol):
    """Carries requests."""

    def exchange(self, request: Request) -> Response:
        """Send one request, once, following no redirect; called from many threads at a time.

        Raises:
            TransportFailure: no response came.
        """
        ...

    def close(self) -> None:
        """Close idle connections."""
        ...


@runtime_checkable
class SmallTransport(Protocol):
    """Carries small requests without a thread."""

    async def fetch(self, request: Request, cap: Callable[[int], int]) -> Whole | None:
        """Send one request, once, and read its answer, at most ``cap(status)`` bytes of it; None: it isn't small.

        Raises:
            TransportFailure: no whole answer came.
        """
        ...


class TransportFailure(Exception):
    """No whole response came. The text holds neither URL nor header; ``permanent`` where repeating won't help."""

    def __init__(self, reason: str, *, permanent: bool = False) -> None:
        super().__init__(reason)
        self.permanent = permanent


class PooledTransport:
    """urllib3's pools. ``connect_timeout`` and ``read_timeout`` are in seconds, the second for each wait for bytes."""

    def __init__(self, *, connect_timeout: float = 10.0, read_timeout: float = 60.0, pool_size: int = 32) -> None:
        import urllib3

        from shipgraph.remote.direct import Direct

        self._timeout = urllib3.Timeout(connect=connect_timeout, read=read_timeout)
        self._pool_size = pool_size
        self._managers: dict[tuple[str, str | None], urllib3.PoolManager] = {}
        self._lock = threading.Lock()
        self._direct = Direct(connect_timeout=connect_timeout, read_timeout=read_timeout, tls=tls_context)

    def exchange(self, request: Request) -> Response:
        """See ``Transport``."""
        import urllib3

        manager = self._manager(request.url)
        headers = dict(request.headers)
        if request.length is not None:
            headers["Content-Length"] = str(request.length)
        _serving.on_socket = request.on_socket
        try:
            raw = manager.urlopen(
                request.method,
                request.url,
                body=request.body,
                headers=headers,
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
                assert_same_host=False,
                timeout=self._timeout,
            )
        except (urllib3.exceptions.HTTPError, HTTPException, OSError) as error:
            raise _failure(error) from error
        finally:
            _serving.on_socket = None
        return _PooledResponse(raw)

    async def fetch(self, request: Request, cap: Callable[[int], int]) -> Whole | None:
        """See ``SmallTransport``."""
        parts = urlsplit(request.url)
        if not self._direct.takes(request) or proxy_for(parts.scheme, parts.netloc) is not None:
            return None
        return await self._direct.fetch(request, cap)

    def close(self) -> None:
        """See ``Transport``."""
        self._direct.close()
        with self._lock:
            managers, self._managers = self._managers, {}
        for manager in managers.values():
            manager.clear()

    def _manager(self, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        proxy = proxy_for(parts.scheme, parts.netloc.rpartition("@")[2])
        key = (parts.scheme, proxy)
        with self._lock:
            found = self._managers.get(key)
            if found is None:
                found = self._managers[key] = self._make(parts.scheme, proxy)
        return found

    def _make(self, scheme: str, proxy: str | None) -> urllib3.PoolManager:
        import urllib3

        options: dict[str, Any] = {"num_pools": 16, "maxsize": self._pool_size, "block": False}
        if scheme == "https":
            options["ssl_context"] = tls_context()
        if proxy is None:
            manager = urllib3.PoolManager(**options)
        else:
            parts = urlsplit(proxy)
            if parts.scheme not in {"http", "https"}:
                raise ConfigurationError(
                    f"a {parts.scheme or 'malformed'} proxy is not supported", allowed="http, https"
                )
            if parts.username:
                login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
                options["proxy_headers"] = urllib3.make_headers(proxy_basic_auth=login)
            manager = urllib3.ProxyManager(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", **options)
        manager.pool_classes_by_scheme = _pool_classes()
        return manager


def proxy_for(scheme: str, netloc: str) -> str | None:
    """The proxy that the environment wants for ``HOST[:PORT]``; never one for loopback."""
    from urllib import request as urllib_request

    if is_loopback(netloc):
        return None
    proxies = urllib_request.getproxies_environment()
    found = proxies.get(scheme) or proxies.get("all")
    if not found or _bypassed(netloc, proxies):
        return None
    return found if "://" in found else f"http://{found}"


def _bypassed(netloc: str, proxies: dict[str, str]) -> bool:
    from urllib import request as urllib_request

    # typeshed declares it for some systems only
    return bool(urllib_request.proxy_bypass_environment(netloc, proxies))  # type: ignore[attr-defined]


def tls_context() -> ssl.SSLContext:
    """The system's trust store, or exactly what SSL_CERT_FILE and SSL_CERT_DIR say."""
    import ssl

    file, directory = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if file or directory:
        return ssl.create_default_context(cafile=file or None, capath=directory or None)
    import truststore

    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class _PooledResponse:
    def __init__(self, raw: BaseHTTPResponse) -> None:
        self._raw = raw
        self.status = raw.status
        self.headers = Headers(raw.headers.iteritems())

    def read(self, limit: int) -> bytes:
        import urllib3

        try:
            return self._raw.read(limit)
        except (urllib3.exceptions.HTTPError, HTTPException, OSError, ValueError) as error:
            raise _failure(error) from error

    def close(self) -> None:
        self._raw.close()
        self._raw.release_conn()


class _Serving(threading.local):
    on_socket: Callable[[socket.socket], None] | None = None


_serving = _Serving()
"""Whom this thread's exchange wants told about its socket; urllib3 has no parameter for that."""


def _announce(found: object) -> None:
    if _serving.on_socket is not None and isinstance(found, socket.socket):
        _serving.on_socket(found)


class _Lines:
    """A response's stream while its head is read, which remembers the last line."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.last = b""

    def readline(self, limit: int = -1) -> bytes:
        self.last = self.stream.readline(limit)
        return self.last

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class _WholeHead(HTTPResponse):
    """http.client takes a head that breaks off for a whole one, and half a field for the field. This one doesn't."""

    def begin(self) -> None:
        stream: Any = self.fp
        lines = _Lines(stream)
        self.fp = lines  # type: ignore[assignment]
        try:
            super().begin()
        finally:
            if self.fp is not None:
                self.fp = stream
        if lines.last not in {b"\r\n", b"\n"}:
            self.close()
            raise RemoteDisconnected("the connection was cut inside the head")


def _pool_classes() -> dict[str, Any]:
    """Pools whose connections tell which socket they use, just before they use it."""
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

    class Plain(HTTPConnection):
        response_class = _WholeHead

        def connect(self) -> None:
            super().connect()
            _announce(self.sock)

        def request(self, *args: Any, **kwargs: Any) -> None:
            _announce(self.sock)
            super().request(*args, **kwargs)

    class Secure(HTTPSConnection):
        response_class = _WholeHead

        def connect(self) -> None:
            super().connect()
            _announce(self.sock)

        def request(self, *args: Any, **kwargs: Any) -> None:
            _announce(self.sock)
            super().request(*args, **kwargs)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


def _failure(error: Exception) -> TransportFailure:
    """urllib3's and the system's errors as one, by cause, without the URLs that their texts hold."""
    from ssl import SSLCertVerificationError

    from urllib3 import exceptions

    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        nested = link.args[-1] if link.args and isinstance(link.args[-1], BaseException) else None
        link = nested or link.__cause__ or link.__context__
    for cause in chain:
        if isinstance(cause, SSLCertVerificationError):
            return TransportFailure(f"the certificate is not trusted ({cause.verify_message})", permanent=True)
    for cause in chain:
        if isinstance(cause, exceptions.NameResolutionError | socket.gaierror):
            return TransportFailure("the host name does not resolve")
        if isinstance(cause, OSError) and cause.strerror and not isinstance(cause, TimeoutError):
            return TransportFailure(cause.strerror[:1].lower() + cause.strerror[1:])
    for cause in chain:
        if isinstance(cause, exceptions.ConnectTimeoutError):
            return TransportFailure("connecting timed out")
        if isinstance(cause, exceptions.TimeoutError | TimeoutError):
            return TransportFailure("the answer timed out")
        if isinstance(cause, exceptions.IncompleteRead):
            return TransportFailure("the connection was cut inside the body")
    return TransportFailure(f"the connection broke ({type(chain[-1]).__name__})")
