"""Content digests: image specification 1.1, descriptor.md § Digests."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from shipgraph.errors import InvalidReference

_HEX_LENGTH: Final = {"sha256": 64, "sha512": 128}
_PATTERN: Final = re.compile(r"(sha256|sha512):([0-9a-f]+)", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A registered digest: algorithm (sha256 or sha512) and lower-case hexadecimal value."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Parse ``algorithm:hex``.

        Raises:
            InvalidReference: it isn't a sha256 or sha512 digest in its one canonical spelling.
        """
        match = _PATTERN.fullmatch(text)
        if match is None or len(match[2]) != _HEX_LENGTH[match[1]]:
            raise InvalidReference(f"{text[:200]!r} is not a digest", allowed="sha256:<64 hex> or sha512:<128 hex>")
        return cls(match[1], match[2])

    @classmethod
    def of(cls, content: bytes) -> Digest:
        """The sha256 digest of some bytes."""
        return cls("sha256", hashlib.sha256(content).hexdigest())

    def hasher(self) -> hashlib._Hash:
        """A new hash object of this digest's algorithm."""
        return hashlib.new(self.algorithm)

    @property
    def short(self) -> str:
        """The first twelve hexadecimal digits, for people."""
        return self.hex[:12]

    @property
    def fallback_tag(self) -> str:
        """The referrers tag of this digest (distribution specification 1.1, § Referrers Tag Schema)."""
        return f"{self.algorithm}-{self.hex[:64]}"

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"
