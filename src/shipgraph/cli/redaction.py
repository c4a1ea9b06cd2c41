"""Takes the secrets that this process holds out of what it prints.

GitHub's own way, the command ``add-mask``, writes the secret into the stream first: whoever pipes a step's output into
a file (``2>&1 | tee release.log``) would keep it. So nothing is announced; the text itself is cleaned.
"""

from __future__ import annotations

import base64
import os
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

VARIABLES: Final = (
    "GHCR_PAT",
    "GITHUB_TOKEN",
    "GH_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "ACTIONS_RUNTIME_TOKEN",
    "SHIPGRAPH_SIGNING_KEY",
)
_SHORTEST: Final = 8
"""Shorter values are words that a log may hold by chance."""
STARS: Final = "***"


class Redactor:
    """Replaces secrets, as they are and within base64 (as in a Basic header), by stars."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets for form in _forms(secret) if len(form) >= _SHORTEST}
        ordered = sorted(forms, key=lambda form: (-len(form), form))  # the longest first: one may hold another
        self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> Redactor:
        """The secrets of the environment; those of a key in PEM are its lines."""
        lines = [line.strip() for name in VARIABLES for line in environment.get(name, "").splitlines()]
        return cls(line for line in lines if not line.startswith("-----"))

    def __call__(self, text: str) -> str:
        """The text without them."""
        return text if self._pattern is None else self._pattern.sub(STARS, text)


def _forms(secret: str) -> list[str]:
    """A secret, and what of its base64 is the same whatever stands before and after it."""
    found = [secret]
    content = secret.encode()
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + content).rstrip(b"=").decode()
        first = (0, 2, 3)[before]
        last = (before + len(content)) * 8 // 6
        inner = encoded[first:last]
        found += [inner, inner.replace("+", "-").replace("/", "_")]
    return found
