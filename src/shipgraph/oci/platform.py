"""Platforms: image specification 1.1, image-index.md § platform; written as containerd does, ``os/arch[/variant]``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from shipgraph.errors import InvalidReference

_PATTERN: Final = re.compile(r"([a-z0-9]+)/([a-z0-9]+)(?:/([a-z0-9.]+))?", re.ASCII)
_DEBIAN: Final = {"amd64": "amd64", "arm64": "arm64", "arm": "armhf", "386": "i386", "ppc64le": "ppc64el",
                  "s390x": "s390x", "riscv64": "riscv64"}  # fmt: skip


@dataclass(frozen=True, slots=True, order=True)
class Platform:
    """An operating system, an architecture (Go's names) and, rarely, a variant."""

    os: str
    architecture: str
    variant: str | None = None

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Parse ``os/arch[/variant]``; ``linux/arm64/v8`` is ``linux/arm64``.

        Raises:
            InvalidReference: it isn't a platform.
        """
        match = _PATTERN.fullmatch(text)
        if match is None:
            raise InvalidReference(f"{text[:100]!r} is not a platform", allowed="os/arch[/variant], like linux/amd64")
        variant = None if (match[2], match[3]) == ("arm64", "v8") else match[3]
        return cls(match[1], match[2], variant)

    @property
    def slug(self) -> str:
        """The platform as a part of a file or task name: ``linux-amd64``."""
        return str(self).replace("/", "-")

    @property
    def debian(self) -> str:
        """Debian's name of the architecture.

        Raises:
            InvalidReference: Debian has none.
        """
        try:
            return _DEBIAN[self.architecture]
        except KeyError:
            raise InvalidReference(f"Debian has no architecture for {self}", allowed=", ".join(_DEBIAN)) from None

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)
