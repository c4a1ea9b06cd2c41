"""What makes a build what it is: a hash for each component, and one over all of them.

Left out on purpose: host names, the commit, the builder and the time. Two runs anywhere that would build the same
have the same inputs, and the build record under that hash lets the second reuse what the first made.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from shipgraph.oci.platform import Platform

FORMAT: Final = "1"
"""Raised when shipgraph changes what it does with the same inputs, so that nothing older is reused."""

ANNOTATION_INPUTS: Final = "vnd.shipgraph.inputs"
"""The inputs hash, on every manifest that shipgraph builds: the way from an image to its build record."""

_WORDS: Final = {
    "format": "shipgraph itself",
    "image": "the image's key",
    "dockerfile": "the Dockerfile",
    "context": "files of the context",
    "arguments": "build arguments",
    "base": "the base image",
    "parent": "the parent image",
    "platform": "the platform",
    "labels": "labels",
    "secrets": "the declared build secrets",
    "epoch": "its maximum age",
    "platforms": "the images of its platforms",
    "annotations": "annotations",
}


@dataclass(frozen=True, slots=True)
class Inputs:
    """A build's components, each as the sha256 of its canonical JSON."""

    components: Mapping[str, str]

    @property
    def hash(self) -> str:
        """64 hexadecimal digits over all components."""
        return _hash(dict(self.components))

    def changes(self, before: Mapping[str, str]) -> tuple[str, ...]:
        """What differs from another build's components, in words; empty if nothing does."""
        names = [name for name in _WORDS if self.components.get(name) != before.get(name)]
        return tuple(_WORDS[name] for name in names)


def platform_inputs(
    *,
    image: str,
    platform: Platform,
    dockerfile: bytes,
    context: str,
    arguments: Mapping[str, str],
    parent: str = "",
    base: str = "",
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    secrets: Iterable[str] = (),
    epoch: int = 0,
) -> Inputs:
    """The inputs of one platform's build.

    Args:
        context: the hash of the context's files.
        parent: the digest of the parent's manifest for this platform, as it is in the registry.
        base: the digest of the external base's manifest for this platform.
        labels: only those that are the same for every commit.
        epoch: the age epoch of an image with a maximum age.
    """
    values: dict[str, Any] = {
        "format": FORMAT,
        "image": image,
        "platform": str(platform),
        "dockerfile": hashlib.sha256(dockerfile).hexdigest(),
        "context": context,
        "arguments": dict(arguments),
        "labels": dict(labels or {}),
        "annotations": dict(annotations or {}),
        "secrets": sorted(set(secrets)),
        "epoch": epoch,
    }
    if parent:
        values["parent"] = parent
    if base:
        values["base"] = base
    return Inputs({name: _hash(value) for name, value in values.items()})


def index_inputs(*, image: str, platforms: Mapping[Platform, str], annotations: Mapping[str, str]) -> Inputs:
    """The inputs of an assembled index. ``platforms`` maps each platform to the *inputs hash* of its build: so two runs
    of one commit agree on the index's inputs even where their builds came out differently."""
    values: dict[str, Any] = {
        "format": FORMAT,
        "image": image,
        "platforms": {str(platform): inputs for platform, inputs in platforms.items()},
        "annotations": dict(annotations),
    }
    return Inputs({name: _hash(value) for name, value in values.items()})


def _hash(value: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()
