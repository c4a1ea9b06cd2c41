"""What runs images: the protocol of an engine, and the values that go in and come out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from shipgraph.errors import ShipgraphError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager

    from shipgraph.imagetest.seccomp import Profile
    from shipgraph.oci.manifest import ImageManifest
    from shipgraph.oci.platform import Platform


class EngineBroken(ShipgraphError):
    """An engine can't run anything here, whatever the image; another one may."""


@dataclass(frozen=True, slots=True)
class TestImage:
    """An image of one platform: where it is in the store, and its reference by digest for programs that pull it."""

    __test__ = False

    key: str
    repository: str
    manifest: ImageManifest
    platform: Platform
    reference: str

    @property
    def title(self) -> str:
        """The image for people."""
        return f"{self.key} ({self.platform})"


@dataclass(frozen=True, slots=True)
class Command:
    """What is run in a container without network; ``entrypoint`` None is the image's."""

    run: tuple[str, ...]
    entrypoint: tuple[str, ...] | None = None
    user: str | None = None
    read_only: bool = False
    tmpfs: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, hash=False)
    seccomp: Profile | None = None
    apparmor: str | None = None
    timeout: float = 60.0


@dataclass(frozen=True, slots=True)
class Ran:
    """How it ended: its exit status, all that it printed (standard output and error), and whether its time was up."""

    status: int
    output: str
    timed_out: bool = False


class Container(Protocol):
    """An image that is ready to be run, in a fresh file system each time."""

    async def run(self, command: Command) -> Ran:
        """Run it to its end.

        Raises:
            EngineBroken: the engine itself failed.
        """
        ...


class Engine(Protocol):
    """Runs images."""

    @property
    def description(self) -> str:
        """The engine and its version, for people and verdicts."""
        ...

    def open(self, image: TestImage) -> AbstractAsyncContextManager[Container]:
        """Get the image ready; what was made for it goes with the block.

        Raises:
            EngineBroken: the engine can't.
            RegistryError
        """
        ...
