"""What a scanner found, without the secret: it is masked where it is found, and no later value holds it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from shipgraph.scan.known import KNOWN
from shipgraph.scan.severity import Severity

SHOWN: Final = 4
LEAST: Final = 16
"""Characters that a secret needs for its first ``SHOWN`` to be shown."""
PATH_LIMIT: Final = 512
UNSCANNABLE: Final = "shipgraph.unscannable"
BOMB: Final = "shipgraph.bomb"
UNREADABLE: Final = "shipgraph.unreadable"
CONFIGURATION: Final = "(configuration)"


@dataclass(frozen=True, slots=True)
class Hit:
    """A scanner's word about one piece of content; ``secret`` never gets into its repr."""

    rule: str
    title: str
    severity: Severity
    confidence: str
    secret: str = field(repr=False)
    line: int = 0
    encoded: bool = False


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """A finding as everybody may see it.

    ``path`` is the file's within the layer (``outer.zip!member`` in archives, ``(configuration) Env NAME`` in the
    image's configuration); ``line`` is 0 where unknown; ``masked`` says what the secret looks like; ``fingerprint``
    is the same for the same secret, under whatever path; ``encoded`` if it was base64.
    """

    path: str
    line: int
    rule: str
    title: str
    severity: Severity
    confidence: str
    masked: str
    fingerprint: str
    encoded: bool = False

    @classmethod
    def of(cls, hit: Hit, path: str, *, first_line: int = 1) -> Finding:
        """The finding of a hit in the content that begins at line ``first_line`` (0: unknown) of ``path``."""
        mark = fingerprint(hit.secret)
        known = KNOWN.get(mark)
        return cls(
            path=clean_path(path, hit.secret),
            line=hit.line + first_line - 1 if hit.line and first_line else 0,
            rule=hit.rule,
            title=known or hit.title,
            severity=Severity.LOW if known else hit.severity,
            confidence=hit.confidence,
            masked=mask(hit.secret),
            fingerprint=mark,
            encoded=hit.encoded,
        )

    @classmethod
    def problem(cls, rule: str, path: str, what: str, severity: Severity) -> Finding:
        """Something that could not be looked at."""
        place = clean_path(path)
        return cls(place, 0, rule, what, severity, "high", "", fingerprint(f"{rule} {place}"))


def mask(secret: str) -> str:
    """What a secret looks like: the first characters of a long one, and its length."""
    head = secret[:SHOWN] if len(secret) >= LEAST else ""
    head = "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in head)
    return f"{head}… ({len(secret)} characters)"


@lru_cache(maxsize=4096)
def fingerprint(secret: str) -> str:
    """Twelve hexadecimal digits of a slow hash: good for telling secrets apart, bad for guessing them."""
    content = secret.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(content, salt=b"shipgraph finding v1", n=1 << 13, r=8, p=1, dklen=6).hex()


def clean_path(path: str, secret: str = "") -> str:
    """A path that can be printed: no control characters, no secret, and not endless."""
    if secret:
        path = path.replace(secret, "***")
        for line in secret.splitlines():
            if len(line) >= LEAST // 2:
                path = path.replace(line, "***")
    path = "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in path)
    return path if len(path) <= PATH_LIMIT else path[: PATH_LIMIT // 2] + "…" + path[-PATH_LIMIT // 2 :]
