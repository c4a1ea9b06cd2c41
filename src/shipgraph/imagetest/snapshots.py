"""File systems of images out of their layers: each layer is unpacked once, onto those below it, by overlay mounts."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
import tempfile
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import anyio
import anyio.to_thread
import msgspec

from shipgraph.errors import MalformedDocument
from shipgraph.imagetest.engine import EngineBroken
from shipgraph.imagetest.unpack import unpack_layer
from shipgraph.oci import media_types
from shipgraph.process import run
from shipgraph.store.content import read_blob
from shipgraph.store.protocols import Fetcher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shipgraph.imagetest.engine import TestImage
    from shipgraph.oci.descriptor import Descriptor

MOUNT_SECONDS: Final = 60.0
LOCK: Final = "lock"
_LAYERS: Final = frozenset(
    {
        media_types.LAYER_TAR,
        media_types.LAYER_TAR_GZIP,
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    }
)


class Blobs(Fetcher, Protocol):
    """Reads layers."""


class Snapshots:
    """Unpacked layers below a folder of this run; root's rights are needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._locks: dict[str, anyio.Lock] = {}

    async def layers(self, store: Blobs, image: TestImage) -> tuple[list[str], dict[str, Any]]:
        """Unpack what is missing of an image; its layers' folders from the bottom up, and its configuration.

        Raises:
            MalformedDocument, DigestMismatch: the image is broken.
            EngineBroken: this file system takes no overlay mounts.
            RegistryError
        """
        content = await read_blob(store, image.repository, image.manifest.config)
        where = f"{image.repository}@{image.manifest.digest}"
        try:
            config: dict[str, Any] = msgspec.json.decode(content, type=dict[str, Any])
            diff_ids = msgspec.convert(config["rootfs"]["diff_ids"], list[str])
        except (msgspec.MsgspecError, KeyError, TypeError) as error:
            raise MalformedDocument(f"the configuration of {where} is not an image's: {error}") from error
        layers = image.manifest.layers
        if len(diff_ids) != len(layers) or not layers:
            raise MalformedDocument(f"{where} has {len(layers)} layers, but {len(diff_ids)} diff ids")
        chain: list[str] = []
        name = ""
        for layer, diff_id in zip(layers, diff_ids, strict=True):
            name = hashlib.sha256(f"{name} {diff_id}".encode()).hexdigest()[:16]
            async with self._locks.setdefault(name, anyio.Lock()):
                if not await anyio.Path(self._folder / name).is_dir():
                    await self._unpack(store, image, layer, diff_id, chain, name)
            chain.append(name)
        return chain, config

    async def _unpack(
        self, store: Blobs, image: TestImage, layer: Descriptor, diff_id: str, below: list[str], name: str
    ) -> None:
        where = f"layer {image.repository}@{layer.digest}"
        if layer.media_type not in _LAYERS:
            raise EngineBroken(f"{where} is of type {layer.media_type}, which can't be unpacked here")
        archive = self._folder / f"{name}.layer"
        new = self._folder / f"{name}.new"
        await anyio.Path(new).mkdir()
        try:
            async with store.blob(image.repository, layer) as pieces, await anyio.open_file(archive, "wb") as file:
                async for piece in pieces:
                    await file.write(piece)
            async with self.mounted(below, f"{name}.new") if below else _plain(new) as root:
                await anyio.to_thread.run_sync(
                    lambda: unpack_layer(archive, root, diff_id=diff_id, where=where), abandon_on_cancel=False
                )
            await anyio.Path(new).rename(self._folder / name)
        finally:
            archive.unlink(missing_ok=True)

    @asynccontextmanager
    async def mounted(self, chain: list[str], upper: str | None = None) -> AsyncIterator[Path]:
        """The file system of a chain of layers, writable; what is written goes with the block.

        Args:
            upper: the folder that keeps what is written instead.
        """
        made = Path(tempfile.mkdtemp(prefix="m", dir=self._folder))
        root, work = made / "root", made / "work"
        writes = made / "upper" if upper is None else self._folder / upper
        for folder in (root, work):
            folder.mkdir()
        writes.mkdir(exist_ok=True)
        # relative names: a page of options holds hundreds of layers
        options = f"lowerdir={':'.join(reversed(chain))},upperdir={_inside(writes, self._folder)}"
        options += f",workdir={_inside(work, self._folder)}"
        mount = ["mount", "-t", "overlay", "overlay", "-o"]
        # volatile (Linux 5.10): unmounting needn't wait until the disk has what is deleted right after
        done = await run([*mount, f"{options},volatile", root], cwd=self._folder, timeout=MOUNT_SECONDS, check=False)
        if done.status != 0:
            done = await run([*mount, options, root], cwd=self._folder, timeout=MOUNT_SECONDS, check=False)
        if done.status != 0:
            await anyio.to_thread.run_sync(lambda: shutil.rmtree(made, ignore_errors=True))
            raise EngineBroken(f"an overlay can't be mounted in {self._folder}: {done.tail.strip()}")
        try:
            yield root
        finally:
            with anyio.CancelScope(shield=True):
                ended = await run(["umount", root], timeout=MOUNT_SECONDS, check=False)
                if ended.status != 0:
                    await run(["umount", "--lazy", root], timeout=MOUNT_SECONDS, check=False)
                await anyio.to_thread.run_sync(lambda: shutil.rmtree(made, ignore_errors=True))


@asynccontextmanager
async def _plain(folder: Path) -> AsyncIterator[Path]:
    yield folder


def _inside(place: Path, folder: Path) -> str:
    return str(place.relative_to(folder))


@asynccontextmanager
async def open_snapshots(folder: Path) -> AsyncIterator[Snapshots]:
    """A place for this run's layers, removed at the end; those of killed runs are removed now."""
    await anyio.Path(folder).mkdir(parents=True, exist_ok=True)
    for left in [left async for left in anyio.Path(folder).glob("run-*")]:
        await _remove_if_left(Path(left))
    mine = folder / f"run-{secrets.token_hex(4)}"
    mine.mkdir(mode=0o700)
    handle = os.open(mine / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield Snapshots(mine)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(lambda: shutil.rmtree(mine, ignore_errors=True))
        os.close(handle)


async def _remove_if_left(folder: Path) -> None:
    with suppress(OSError):
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mounts = [line.split()[1] for line in (await anyio.Path("/proc/self/mounts").read_text()).splitlines()]
            for mount in reversed([mount for mount in mounts if Path(mount).is_relative_to(folder)]):
                await run(["umount", "--lazy", mount], timeout=MOUNT_SECONDS, check=False)
            await anyio.to_thread.run_sync(lambda: shutil.rmtree(folder, ignore_errors=True))
        finally:
            os.close(handle)
