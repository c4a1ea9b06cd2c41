"""Names of things in a registry: distribution specification 1.1, § Pulling manifests (<name> and <reference>)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from shipgraph.errors import InvalidReference
from shipgraph.oci.digest import Digest

_COMPONENT: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY: Final = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)
_HOST: Final = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[0-9A-Fa-f:]+\])"
    r"(?::([0-9]{1,5}))?",
    re.ASCII,
)
MAX_REPOSITORY: Final = 255
MAX_PORT: Final = 65535


def check_repository(text: str) -> str:
    """The repository name itself, if the specification allows it.

    Raises:
        InvalidReference: upper case, a bad separator, empty, or over 255 characters.
    """
    if len(text) > MAX_REPOSITORY or not _REPOSITORY.fullmatch(text):
        hint = "registries take lower case only" if text != text.lower() else ""
        raise InvalidReference(
            f"{text[:300]!r} is not a repository name",
            allowed="lower-case letters, digits, and single . _ - between them, parts split by /",
            hint=hint,
        )
    return text


def check_tag(text: str) -> str:
    """The tag itself, if the specification allows it.

    Raises:
        InvalidReference: it doesn't match ``[A-Za-z0-9_][A-Za-z0-9._-]{0,127}``.
    """
    if not _TAG.fullmatch(text):
        raise InvalidReference(f"{text[:200]!r} is not a tag", allowed="[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
    return text


def check_host(text: str) -> str:
    """A registry's ``HOST[:PORT]`` itself, if it is one.

    Raises:
        InvalidReference: it is a URL, has a path, or is empty.
    """
    match = _HOST.fullmatch(text)
    if match is None or int(match[1] or 0) > MAX_PORT:
        raise InvalidReference(f"{text[:200]!r} is not a registry host", allowed="HOST or HOST:PORT, without a scheme")
    return text


@dataclass(frozen=True, slots=True)
class Reference:
    """``host/repository[:tag][@digest]``; host may be empty where the registry is known already."""

    host: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str, *, default_host: str = "", default_tag: str | None = None) -> Reference:
        """Parse a reference the way container tools do.

        The first part is a host if it has a dot or a colon or is ``localhost``. With ``default_host="docker.io"`` a
        bare name gets Docker Hub's ``library/``.

        Raises:
            InvalidReference: some part of it is malformed.
        """
        rest, _, digest_text = text.partition("@")
        digest = Digest.parse(digest_text) if digest_text else None
        if "@" in text and digest is None:
            raise InvalidReference(f"{text[:300]!r} ends in @ without a digest", allowed="NAME[:TAG][@sha256:…]")
        first, slash, remainder = rest.partition("/")
        if slash and (first == "localhost" or "." in first or ":" in first):
            host, path = check_host(first), remainder
        else:
            host, path = default_host, rest
        name, colon, tag = path.partition(":")
        if host == "docker.io" and "/" not in name:
            name = f"library/{name}"
        check_repository(name)
        if colon:
            check_tag(tag)
        found = tag if colon else None
        return cls(host, name, default_tag if found is None and digest is None else found, digest)

    def __str__(self) -> str:
        text = f"{self.host}/{self.repository}" if self.host else self.repository
        if self.tag is not None:
            text += f":{self.tag}"
        if self.digest is not None:
            text += f"@{self.digest}"
        return text


def is_loopback(host: str) -> bool:
    """Whether ``HOST[:PORT]`` is this machine's loopback, where plain HTTP is allowed."""
    name = host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host
    return name == "localhost" or name == "[::1]" or re.fullmatch(r"127(?:\.[0-9]{1,3}){3}", name) is not None
