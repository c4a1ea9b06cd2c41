"""What an ``Authorization`` header says: a login, the registry's own short-lived token, or a PAT in base64."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

import msgspec

ANONYMOUS: Final = ""


@dataclass(frozen=True, slots=True)
class Scope:
    """``repository:NAME:ACTION,…``."""

    name: str
    actions: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> Scope | None:
        """Read a scope; None for any other resource than a repository."""
        kind, _, rest = text.partition(":")
        name, _, actions = rest.rpartition(":")
        return cls(name, frozenset(actions.split(","))) if kind == "repository" and name else None


class Pass(msgspec.Struct, frozen=True):
    """What a registry token stands for: the token that it was given for (empty: anybody), where, and until when."""

    token: str
    scopes: list[tuple[str, list[str]]]
    until: float

    def covers(self, name: str, action: str) -> bool:
        """Whether it was asked for this."""
        return any(name == own and (action in actions or "*" in actions) for own, actions in self.scopes)


def seal(granted: Pass, secret: bytes) -> str:
    """A registry token. (It holds the token that it stands for only as what looks random: this is a rehearsal.)"""
    content = base64.urlsafe_b64encode(msgspec.json.encode(granted)).rstrip(b"=")
    return f"{content.decode()}.{_mark(content, secret)}"


def unseal(text: str, secret: bytes) -> Pass | None:
    """Read a registry token; None if it isn't one of ours."""
    content, dot, mark = text.partition(".")
    if not dot or not hmac.compare_digest(mark.encode(), _mark(content.encode(), secret).encode()):
        return None
    return msgspec.json.decode(base64.urlsafe_b64decode(content + "=" * (-len(content) % 4)), type=Pass)


def sign(text: str, secret: bytes) -> str:
    """A signature for a URL."""
    return _mark(text.encode(), secret)


def basic_password(header: str) -> str | None:
    """The password of a Basic header, whatever the user; None if it is no such header."""
    scheme, _, value = header.partition(" ")
    decoded = _base64(value) if scheme.lower() == "basic" else None
    return None if decoded is None or ":" not in decoded else decoded.partition(":")[2]


def bearer(header: str) -> str | None:
    """The value of a Bearer header; None if it is no such header."""
    scheme, _, value = header.partition(" ")
    return value.strip() if scheme.lower() == "bearer" else None


def plain(value: str) -> str | None:
    """What a base64 text stands for: GHCR takes a PAT in that form without any handshake."""
    return _base64(value)


def _base64(value: str) -> str | None:
    try:
        return base64.b64decode(value.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return None


def _mark(content: bytes, secret: bytes) -> str:
    return hmac.new(secret, content, hashlib.sha256).hexdigest()
