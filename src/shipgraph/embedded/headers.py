"""Grammar of the request headers and parameters that the server understands: pure, and no trust in what comes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from shipgraph.errors import InvalidReference
from shipgraph.oci.digest import Digest
from shipgraph.oci.distribution import ErrorCode

_RANGE: Final = re.compile(r"bytes\s*=\s*([0-9]{0,18})\s*-\s*([0-9]{0,18})", re.ASCII | re.IGNORECASE)
_CONTENT_RANGE: Final = re.compile(r"(?:bytes[ =])?\s*([0-9]{1,18})-([0-9]{1,18})(?:/(?:[0-9]{1,18}|\*))?", re.ASCII)
_ETAG: Final = re.compile(r'\s*(?:W/)?"([^"]*)"\s*(?:,|$)', re.ASCII)


class Refusal(Exception):
    """A request that gets an error for an answer: status, the specification's code, and a sentence for people."""

    def __init__(self, status: int, code: ErrorCode, message: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers or {}


class Unsatisfiable(Exception):
    """A range that lies outside the content."""


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Start and stop (exclusive) of a ``Range`` header; None if the whole is to be sent (RFC 9110 § 14.2).

    Several ranges, other units and malformed headers are ignored, as the RFC allows.

    Raises:
        Unsatisfiable: it asks for nothing that is there.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        length = min(int(match[2]), size)
        if length == 0:
            raise Unsatisfiable
        return size - length, size
    start = int(match[1])
    stop = size if match[2] == "" else min(int(match[2]) + 1, size)
    if match[2] and int(match[2]) < start:
        return None
    if start >= size:
        raise Unsatisfiable
    return start, stop


def parse_content_range(header: str) -> tuple[int, int] | None:
    """Start and stop (exclusive) of an upload's ``Content-Range: <start>-<end>``; None if it is malformed."""
    match = _CONTENT_RANGE.fullmatch(header.strip())
    if match is None or int(match[2]) < int(match[1]):
        return None
    return int(match[1]), int(match[2]) + 1


@dataclass(frozen=True, slots=True)
class Condition:
    """An ``If-Match`` or ``If-None-Match`` header: any (``*``), or entity tags without their quotes."""

    any: bool
    tags: frozenset[str]

    @classmethod
    def parse(cls, header: str | None) -> Condition | None:
        """Read the header; None if there is none (RFC 9110 § 13.1). What is malformed matches nothing."""
        if header is None:
            return None
        if header.strip() == "*":
            return cls(any=True, tags=frozenset())
        return cls(any=False, tags=frozenset(_ETAG.findall(header)))

    def matches(self, digest: Digest | None) -> bool:
        """Whether what is there (None: nothing) is among those named."""
        return digest is not None and (self.any or str(digest) in self.tags)


def digest_of(text: str | None) -> Digest:
    """A digest out of a path or query.

    Raises:
        Refusal: 400 DIGEST_INVALID.
    """
    try:
        return Digest.parse(text or "")
    except InvalidReference as error:
        raise Refusal(400, ErrorCode.DIGEST_INVALID, str(error)) from error


def etag(digest: Digest) -> str:
    """The entity tag of a manifest: its quoted digest."""
    return f'"{digest}"'
