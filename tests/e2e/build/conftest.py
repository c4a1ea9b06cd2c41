"""A job's registry on loopback with a 1 MB busybox in it, and builders that work on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
import pytest
from tests.real.busybox import busybox_layout

from shipgraph.build.builder import BaseImage
from shipgraph.build.context import read_context
from shipgraph.build.stage import PlatformBuild
from shipgraph.embedded.serving import serve
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import ImageManifest, parse_manifest
from shipgraph.oci.platform import Platform
from shipgraph.store.content import from_file
from shipgraph.store.disk import DiskStore

if TYPE_CHECKING:
    from pathlib import Path

    from shipgraph.events import Event

AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
CREATED = 1_700_000_000


@dataclass
class Job:
    """A registry that one job throws away, and the base that is in it."""

    store: DiskStore
    address: str
    bases: dict[Platform, BaseImage]


OpenJob = Callable[[], AbstractAsyncContextManager[Job]]


@pytest.fixture(scope="session")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("busybox") / "layout"
    busybox_layout(folder)
    return folder


@pytest.fixture
def open_job(layout: Path, tmp_path: Path) -> OpenJob:
    count = 0

    @asynccontextmanager
    async def opened() -> AsyncIterator[Job]:
        nonlocal count
        count += 1
        store = DiskStore(tmp_path / f"job-{count}", durable=False)
        index = layout / "blobs" / "sha256"
        bases = {}
        for path in sorted(index.iterdir()):
            content = path.read_bytes()
            if not content.startswith(b'{"schemaVersion":2,') or b'"manifests"' in content:
                continue
            manifest = parse_manifest(content)
            assert isinstance(manifest, ImageManifest)
            for blob in manifest.blobs:
                await store.push_blob("bases/busybox", blob, from_file(index / blob.digest.hex))
            await store.push_manifest("bases/busybox", manifest)
            architecture = "arm64" if b'"arm64"' in (index / manifest.config.digest.hex).read_bytes() else "amd64"
            bases[Platform("linux", architecture)] = BaseImage(
                "docker.io/library/busybox", "bases/busybox", manifest.digest
            )
        async with serve(store) as address:
            yield Job(store, address, bases)

    return opened


async def image_build(
    folder: Path, dockerfile: str, base: BaseImage | None, *, image: str = "tool", parent: bool = False, **more: object
) -> PlatformBuild:
    """The plan of an image whose context is a folder with one file."""
    await anyio.Path(folder).mkdir(parents=True, exist_ok=True)
    (folder / "Dockerfile").write_text(dockerfile)
    (folder / "file").write_text("hello\n")
    context = await read_context(folder, folder / "Dockerfile")
    settings: dict[str, object] = {
        "image": image,
        "repository": f"acme/{image}",
        "platform": AMD64,
        "context": context,
        "dockerfile": folder / "Dockerfile",
        "base": base,
        "commit": COMMIT,
        "created": CREATED,
        "parent": parent,
        **more,
    }
    return PlatformBuild(**settings)  # type: ignore[arg-type]


class Log:
    """Collects events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    @property
    def text(self) -> str:
        return "\n".join(getattr(event, "line", "") for event in self.events)


def digest(text: str) -> Digest:
    return Digest.parse(text)
