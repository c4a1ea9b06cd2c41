"""The Builder protocol: one image, one platform, pushed to the job's own registry on loopback.

What a builder says about its work is not believed: the stage reads the manifest again from that registry (``stage``),
and gives it its final form (``finish``).

The registry's address differs from run to run and must not get into an image. So a base is named by an *alias* under a
host that can't exist (RFC 2606), and each builder maps it to the loopback registry in its own way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from shipgraph.events import Emit
    from shipgraph.oci.digest import Digest
    from shipgraph.oci.platform import Platform

ALIAS_HOST: Final = "shipgraph.invalid"
BASE_ARGUMENT: Final = "BASE_IMAGE"
DEFAULT_TIMEOUT: Final = 3600.0


@dataclass(frozen=True, slots=True)
class BaseImage:
    """What a build starts from: a platform's manifest in the job's registry.

    ``name`` is the part of the alias after its host: the same in every run, whatever the registry
    (``containai-base``, ``docker.io/library/debian``).
    """

    name: str
    repository: str
    digest: Digest

    @property
    def alias(self) -> str:
        """The name the build sees, without the digest."""
        return f"{ALIAS_HOST}/{self.name}"

    @property
    def reference(self) -> str:
        """The value of ``BASE_IMAGE``."""
        return f"{self.alias}@{self.digest}"


@dataclass(frozen=True, slots=True)
class Cache:
    """A place where a builder keeps layers between runs.

    ``place`` is a folder (local), ``host/repository`` (registry), or a scope (gha: the GitHub Actions cache). A build
    that publishes must not read a cache that a pull request could write; who makes these values sees to that.
    """

    kind: Literal["local", "registry", "gha"]
    place: str
    read: bool = True
    write: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """One image for one platform.

    ``registry`` is the ``host:port`` of the job's registry, ``repository`` where in it the image goes. ``epoch`` is
    SOURCE_DATE_EPOCH. ``base`` is None for an image from scratch, which gets no ``BASE_IMAGE``. ``secrets`` maps the id
    of a build secret to the file that holds it. ``age_epoch`` isn't 0 for an image with a maximum age: no layer of an
    earlier one may be used (``ages``). ``http_proxy`` lets commands in the build see the machine's proxy
    settings; the image never does. ``fresh`` runs every step, whatever any cache holds.
    """

    image: str
    platform: Platform
    context: Path
    dockerfile: Path
    base: BaseImage | None
    registry: str
    repository: str
    epoch: int
    log: Path
    ignore_file: Path | None = None
    arguments: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Path] = field(default_factory=dict)
    caches: tuple[Cache, ...] = ()
    age_epoch: int = 0
    timeout: float = DEFAULT_TIMEOUT
    http_proxy: bool = True
    fresh: bool = False

    @property
    def task(self) -> str:
        """The name of this build in events."""
        return build_task(self.image, self.platform)

    @property
    def all_arguments(self) -> dict[str, str]:
        """The build arguments, those that shipgraph sets among them, in a fixed order."""
        base = {} if self.base is None else {BASE_ARGUMENT: self.base.reference}
        return {**base, "SOURCE_DATE_EPOCH": str(self.epoch), **dict(sorted(self.arguments.items()))}


@dataclass(frozen=True, slots=True)
class BuildOutcome:
    """What a builder pushed: the digest of one image manifest in the request's registry and repository."""

    digest: Digest


class Builder(Protocol):
    """Builds images; several builds may run at the same time."""

    @property
    def description(self) -> str:
        """Name and version, for records: ``buildah 1.28.2 (overlay)``."""
        ...

    async def build(self, request: BuildRequest, *, emit: Emit) -> BuildOutcome:
        """Build and push.

        Raises:
            BuildFailed: the Dockerfile or the push failed; the message ends with the last lines of the log.
            DiskFull: no room left.
            ToolMissing: a program, or the emulation of a foreign platform, isn't there.
        """
        ...


def build_task(image: str, platform: Platform) -> str:
    """The name of a platform's build in events."""
    return f"build:{image}:{platform.slug}"
