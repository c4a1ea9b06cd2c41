"""Wire facts of the distribution specification 1.1 for client and server: codes and header grammar, no logic."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class ErrorCode(StrEnum):
    """Error codes of § Error Codes, and those that real registries add."""

    BLOB_UNKNOWN = "BLOB_UNKNOWN"
    BLOB_UPLOAD_INVALID = "BLOB_UPLOAD_INVALID"
    BLOB_UPLOAD_UNKNOWN = "BLOB_UPLOAD_UNKNOWN"
    DIGEST_INVALID = "DIGEST_INVALID"
    MANIFEST_BLOB_UNKNOWN = "MANIFEST_BLOB_UNKNOWN"
    MANIFEST_INVALID = "MANIFEST_INVALID"
    MANIFEST_UNKNOWN = "MANIFEST_UNKNOWN"
    NAME_INVALID = "NAME_INVALID"
    NAME_UNKNOWN = "NAME_UNKNOWN"
    SIZE_INVALID = "SIZE_INVALID"
    UNAUTHORIZED = "UNAUTHORIZED"
    DENIED = "DENIED"
    UNSUPPORTED = "UNSUPPORTED"
    TOOMANYREQUESTS = "TOOMANYREQUESTS"
    RANGE_INVALID = "RANGE_INVALID"
    PRECONDITION_FAILED = "PRECONDITION_FAILED"
    UNKNOWN = "UNKNOWN"


HEADER_DIGEST: Final = "Docker-Content-Digest"
HEADER_SUBJECT: Final = "OCI-Subject"
HEADER_CHUNK_MINIMUM: Final = "OCI-Chunk-Min-Length"
HEADER_FILTERS: Final = "OCI-Filters-Applied"
HEADER_UPLOAD: Final = "Docker-Upload-UUID"

# of the embedded registry alone, in its answer to GET /v2/
HEADER_CONDITIONAL: Final = "Shipgraph-Conditional-Put"
"""``1``: it honours ``If-Match`` and ``If-None-Match`` when a tag is written."""
HEADER_LAG: Final = "Shipgraph-Lag"
"""Seconds for which a tag may read as it was before it was written."""

_PARAMETER: Final = re.compile(r'([a-zA-Z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_LINK: Final = re.compile(r'<([^<>]*)>\s*((?:;\s*[a-zA-Z0-9_-]+\s*=\s*(?:"[^"]*"|[^\s;,"]+)\s*)*)')
_REL: Final = re.compile(r';\s*rel\s*=\s*(?:"([^"]*)"|([^\s;,"]+))', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Challenge:
    """One ``WWW-Authenticate`` challenge: a lower-case scheme and its parameters."""

    scheme: str
    parameters: tuple[tuple[str, str], ...]

    def get(self, name: str) -> str | None:
        """The value of a parameter, by its lower-case name."""
        return dict(self.parameters).get(name)


def parse_challenge(header: str) -> Challenge | None:
    """The first Bearer or Basic challenge of a ``WWW-Authenticate`` header (RFC 9110 § 11.6.1), or None."""
    scheme, _, rest = header.strip().partition(" ")
    if scheme.lower() not in {"bearer", "basic"}:
        return None
    found = tuple(
        (name.lower(), re.sub(r"\\(.)", r"\1", quoted) if quoted or not plain else plain)
        for name, quoted, plain in _PARAMETER.findall(rest)
    )
    return Challenge(scheme.lower(), found)


def parse_next_link(header: str) -> str | None:
    """The target of the link with ``rel="next"`` in a ``Link`` header (RFC 8288), or None."""
    for target, parameters in _LINK.findall(header):
        rel = _REL.search(parameters)
        if rel is not None and "next" in (rel[1] or rel[2] or "").lower().split():
            return str(target)
    return None
