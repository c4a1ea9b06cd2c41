"""URLs: what may be shown of them, where they lead, and whether a redirect may be followed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, quote, urljoin, urlsplit, urlunsplit

from shipgraph.errors import RegistryError
from shipgraph.oci.reference import is_loopback

if TYPE_CHECKING:
    from urllib.parse import SplitResult

SHOWN: Final = frozenset(
    {"scope", "service", "digest", "n", "last", "mount", "from", "artifactType", "per_page", "page", "package_type"}
)
"""Query keys whose values may appear in errors and logs; of others (signatures, states, tokens) only the name does."""

_PORTS: Final = {"http": 80, "https": 443}


def redact(url: str) -> str:
    """The URL without user, password, fragment, and the values of query keys that are not on the allow-list."""
    try:
        parts = urlsplit(url)
        query = "&".join(
            f"{quote(key, safe='')}={quote(value, safe=':/,') if key in SHOWN else '***'}"
            for key, value in parse_qsl(parts.query, keep_blank_values=True)
        )
    except ValueError:
        return "(malformed URL)"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, ""))


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port (RFC 6454); empty where the URL is malformed, which equals no real origin."""
    try:
        parts = urlsplit(url)
        return parts.scheme, (parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        return "", "", 0


def join(current: str, location: str) -> str:
    """An absolute or relative reference, resolved (RFC 3986 § 5).

    Raises:
        RegistryError: it is malformed.
    """
    try:
        return urljoin(current, location)
    except ValueError:
        raise RegistryError("the registry names a malformed URL", url=redact(current)) from None


def follow(current: str, location: str, *, plain_http: bool) -> str:
    """Where a ``Location`` leads, if it may be followed.

    TLS is never left. From plain HTTP, plain HTTP elsewhere is allowed only to loopback, or where it was switched on
    explicitly for the registry (``plain_http``).

    Raises:
        RegistryError: another scheme, a user in the URL, or a way out of TLS.
    """
    target = join(current, location)
    parts = _split(target)
    if parts is None or parts.scheme not in _PORTS or not parts.hostname or "@" in parts.netloc:
        raise RegistryError("the registry redirects to something that is no plain web address", url=redact(current))
    if parts.scheme == "http" and origin(target) != origin(current):
        left_tls = urlsplit(current).scheme == "https"
        if left_tls or not (plain_http or is_loopback(parts.netloc)):
            raise RegistryError(
                f"the registry redirects out of TLS, to http://{parts.netloc}; refused", url=redact(current)
            )
    return target


def with_query(url: str, **added: str) -> str:
    """The URL with query parameters added behind those that it has, which stay byte for byte."""
    pairs = "&".join(f"{key}={quote(value, safe=':/')}" for key, value in added.items())
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query=f"{parts.query}&{pairs}" if parts.query else pairs, fragment=""))


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts
