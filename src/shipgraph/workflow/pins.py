"""The actions of others that the workflow uses, each at a commit that was looked up in its repository.

To move one: read the tag in the action's own repository (``git ls-remote --tags``), take the commit that it points at
(for an annotated tag the one with ``^{}``), and change ``action.yml`` with it; a test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Pin:
    """An action at a commit, and the release that this is."""

    name: str
    commit: str
    version: str

    @property
    def uses(self) -> str:
        """The value of ``uses``."""
        return f"{self.name}@{self.commit}"


CHECKOUT: Final = Pin("actions/checkout", "3d3c42e5aac5ba805825da76410c181273ba90b1", "v7.0.1")
SCRIPT: Final = Pin("actions/github-script", "ed597411d8f924073f98dfc5c65a23a2325f34cd", "v8.0.0")
PINS: Final = (CHECKOUT, SCRIPT)
