"""Root file systems from Debian's packages, where a base image can't be pulled: made with mmdebstrap, kept as images.

The same recipe and state of the archive give the same bytes: SOURCE_DATE_EPOCH is the date of the archive's InRelease
file, the machine's names stay out, and the layer is packed with fixed settings. The images are kept in a store under
the state folder; one that is there is not made again.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import shutil
import tarfile
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread
import msgspec

from shipgraph import process
from shipgraph.build.archive import ArchiveState, apt_proxy, read_archive
from shipgraph.build.emulation import require_platform
from shipgraph.build.failures import builder_failures
from shipgraph.errors import BuildFailed, ShipgraphError
from shipgraph.events import Failed, Finished, LogLine, Note, Started
from shipgraph.oci import media_types
from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import ImageManifest, encode_json, parse_manifest
from shipgraph.store.content import from_bytes, from_file
from shipgraph.store.disk import DiskStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shipgraph.events import Emit
    from shipgraph.oci.platform import Platform
    from shipgraph.project.bases import RootRecipe

FORMAT: Final = "1"
"""Raised when the same recipe is made in another way, so that nothing older is used."""

INSTALL: Final = "install it (Debian: apt-get install mmdebstrap; other platforms also need qemu-user-static)"
_TIMEOUT: Final = 1800.0
_PIECE: Final = 1 << 20
_DEBS_LIMIT: Final = 2 << 30
_KEPT: Final = 8
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Documentation in languages nobody reads in a container, and apt's binary caches, which differ from run to run.
_SLIM: Final = (
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-include=/usr/share/doc/*/copyright",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    '--aptopt=Dir::Cache::pkgcache ""',
    '--aptopt=Dir::Cache::srcpkgcache ""',
    '--aptopt=Acquire::Languages "none"',
)


class RootMaker:
    """Makes root file systems and keeps them. ``state`` is a folder; any number of processes may share it."""

    def __init__(self, state: Path, *, logs: Path, emit: Emit) -> None:
        self._state = state / "roots"
        self._logs, self._emit = logs, emit
        self.store = DiskStore(self._state / "images", durable=False)

    @staticmethod
    def repository(recipe: RootRecipe) -> str:
        """Where in ``store`` the images of a recipe are."""
        return f"roots/{recipe.suite}"

    async def look(self, recipe: RootRecipe) -> ArchiveState:
        """The archive's state for a recipe.

        Raises:
            RegistryUnavailable, ToolMissing: see ``read_archive``.
        """
        return await read_archive(recipe.suite)

    async def make(self, recipe: RootRecipe, platform: Platform, archive: ArchiveState) -> ImageManifest:
        """The image of a recipe for one platform, made only if it isn't there.

        Raises:
            ToolMissing: there is no mmdebstrap, or programs of that platform don't run here.
            BuildFailed, DiskFull
        """
        repository, tag = self.repository(recipe), f"{root_key(recipe, archive)}-{platform.slug}"
        async with self._locked(f"{recipe.suite}-{platform.slug}"):
            there = await self.store.resolve(repository, tag)
            if there is not None:
                found = await self.store.manifest(repository, there.digest)
                assert isinstance(found, ImageManifest)  # noqa: S101 (nothing else is put here)
                return found
            task, title = f"root:{recipe.suite}:{platform.slug}", f"Debian {recipe.suite} {platform}"
            self._emit(Started(task, title))
            began = time.monotonic()
            try:
                manifest = await self._make(recipe, platform, archive, task)
            except ShipgraphError as error:
                self._emit(Failed(task, title, str(error)))
                raise
            await self._drop_old(repository, platform)
            await self.store.tag(repository, tag, manifest)
            self._emit(Finished(task, title, "made", time.monotonic() - began))
            return manifest

    async def has(self, recipe: RootRecipe, digest: Digest) -> bool:
        """Whether an image that was made before is still here."""
        return await self.store.has_manifest(self.repository(recipe), digest)

    async def _make(self, recipe: RootRecipe, platform: Platform, archive: ArchiveState, task: str) -> ImageManifest:
        program = process.find_tool("mmdebstrap", hint=INSTALL)
        require_platform(platform)
        log = self._logs / f"root-{recipe.suite}-{platform.slug}.log"
        await anyio.Path(self._logs).mkdir(parents=True, exist_ok=True)
        debs = self._state / "debs" / platform.debian
        await anyio.to_thread.run_sync(_bounded, debs)
        environment = {**os.environ, **await apt_proxy(), "SOURCE_DATE_EPOCH": str(archive.epoch)}
        what = f"making the root file system {recipe} for {platform} failed"
        work = await anyio.Path(self._state / "tmp").resolve()
        await work.mkdir(parents=True, exist_ok=True)
        with builder_failures(what, log=log), tempfile.TemporaryDirectory(prefix="root-", dir=work) as name:
            folder = Path(name)
            (folder / "sources.list").write_text("".join(f"{source.line}\n" for source in archive.sources))
            await process.run(
                [program, *_arguments(recipe, platform, archive, folder, debs)],
                env={**environment, "TMPDIR": name},
                timeout=_TIMEOUT,
                on_line=lambda line: self._emit(LogLine(task, line)),
                log=log,
            )
            used = {line.split()[0] for line in (folder / "releases").read_text().splitlines() if line.strip()}
            if used != set(archive.hashes):
                raise BuildFailed(
                    f"{what}: Debian's archive was updated meanwhile", hint="run the same command again", log=str(log)
                )
            layer = folder / "layer.tar.gz"
            diff_id = await anyio.to_thread.run_sync(pack_layer, folder / "root.tar", layer, archive.epoch)
            return await self._store(recipe, platform, archive, layer, diff_id)

    async def _store(
        self, recipe: RootRecipe, platform: Platform, archive: ArchiveState, layer: Path, diff_id: Digest
    ) -> ImageManifest:
        repository = self.repository(recipe)
        config = root_config(recipe, platform, archive, diff_id)
        config_descriptor = Descriptor.of(media_types.IMAGE_CONFIG, config)
        digest, size = await anyio.to_thread.run_sync(_hashed, layer)
        layer_descriptor = Descriptor(media_types.LAYER_TAR_GZIP, digest, size)
        document = {
            "schemaVersion": 2,
            "mediaType": media_types.IMAGE_MANIFEST,
            "config": config_descriptor.to_json(),
            "layers": [layer_descriptor.to_json()],
        }
        manifest = parse_manifest(encode_json(document))
        assert isinstance(manifest, ImageManifest)  # noqa: S101 (by its mediaType)
        await self.store.push_blob(repository, config_descriptor, from_bytes(config))
        await self.store.push_blob(repository, layer_descriptor, from_file(layer))
        await self.store.push_manifest(repository, manifest)
        return manifest

    async def _drop_old(self, repository: str, platform: Platform) -> None:
        """Start afresh once there are many: each state of the archive makes another, some 50 MB large."""
        old = [tag for tag in await self.store.tags(repository) if tag.endswith(f"-{platform.slug}")]
        for tag in old if len(old) >= _KEPT else ():
            there = await self.store.resolve(repository, tag)
            if there is not None:
                manifest = await self.store.manifest(repository, there.digest)
                await self.store.delete_manifest(repository, there.digest)
                for blob in manifest.blobs if isinstance(manifest, ImageManifest) else ():
                    await self.store.delete_blob(repository, blob.digest)

    @asynccontextmanager
    async def _locked(self, name: str) -> AsyncIterator[None]:
        """One process makes a root at a time; the others wait and then find it."""
        await anyio.Path(self._state).mkdir(parents=True, exist_ok=True)
        with (self._state / f"{name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._emit(Note(f"another process is making the root file system {name}: waiting for it"))
                while True:
                    await anyio.sleep(0.5)
                    try:
                        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError:
                        continue
                    break
            yield


def root_key(recipe: RootRecipe, archive: ArchiveState) -> str:
    """What a root file system is known by: 64 hexadecimal digits over its recipe and the archive's state."""
    value = {
        "format": FORMAT,
        "suite": recipe.suite,
        "variant": recipe.variant,
        "include": sorted(recipe.include),
        "releases": sorted(archive.hashes),
    }
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()


def root_config(recipe: RootRecipe, platform: Platform, archive: ArchiveState, diff_id: Digest) -> bytes:
    """The image's configuration: like Debian's own image, a shell and a path."""
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(archive.epoch))
    document: dict[str, Any] = {
        "created": created,
        "architecture": platform.architecture,
        "os": platform.os,
        "config": {"Env": [f"PATH={_PATH}"], "Cmd": ["bash"]},
        "rootfs": {"type": "layers", "diff_ids": [str(diff_id)]},
        "history": [{"created": created, "created_by": str(recipe)}],
    }
    if platform.variant:
        document["variant"] = platform.variant
    return encode_json(document)


def pack_layer(tar: Path, layer: Path, epoch: int) -> Digest:
    """Compress a root's tar, the same bytes on any number of cores; the digest of what was packed is its diff id.

    An empty ``/dev`` is put before it: a container gets its devices from its runtime, and only root could unpack any.
    """
    from isal import igzip_threaded

    dev = tarfile.TarInfo("./dev")
    dev.type, dev.mode, dev.mtime = tarfile.DIRTYPE, 0o755, epoch
    piece = dev.tobuf(tarfile.USTAR_FORMAT)
    hasher = hashlib.sha256()
    with (
        tar.open("rb") as source,
        igzip_threaded.open(  # type: ignore[no-untyped-call]
            layer, "wb", compresslevel=2, threads=os.cpu_count() or 1, block_size=_PIECE
        ) as target,
    ):
        while piece:
            hasher.update(piece)
            target.write(piece)
            piece = source.read(_PIECE)
    return Digest("sha256", hasher.hexdigest())


def _arguments(
    recipe: RootRecipe, platform: Platform, archive: ArchiveState, folder: Path, debs: Path
) -> list[str | Path]:
    cache, releases = shlex.quote(str(debs)), shlex.quote(str(folder / "releases"))
    hooks = [
        # packages that were fetched before are fetched no more: the hooks carry them in and out
        '--setup-hook=mkdir -p "$1"/var/cache/apt/archives',
        f"--setup-hook=sync-in {cache} /var/cache/apt/archives",
        f"--customize-hook=sync-out /var/cache/apt/archives {cache}",
        # what the archive was when the packages came from it
        f'--customize-hook=sha256sum "$1"/var/lib/apt/lists/*InRelease >{releases}',
        # the machine's names, and the address of its mirror, are nobody's business
        '--customize-hook=rm -rf "$1"/etc/resolv.conf "$1"/etc/hostname "$1"/etc/apt/sources.list.d/*',
        f"--customize-hook=upload {shlex.quote(str(folder / 'sources.list'))} /etc/apt/sources.list",
    ]
    include = [f"--include={','.join(sorted(recipe.include))}"] if recipe.include else []
    return [
        f"--mode={'root' if os.geteuid() == 0 else 'unshare'}",
        f"--variant={recipe.variant}",
        f"--architectures={platform.debian}",
        "--format=tar",
        "--skip=download/empty,essential/unlink,output/dev",
        *include,
        *_SLIM,
        *hooks,
        recipe.suite,
        folder / "root.tar",
        *(source.mirror_line for source in archive.sources),
    ]


def _hashed(path: Path) -> tuple[Digest, int]:
    with path.open("rb") as file:
        return Digest("sha256", hashlib.file_digest(file, "sha256").hexdigest()), path.stat().st_size


def _bounded(folder: Path) -> None:
    """Make the folder of packages, and start it afresh once it has grown too large."""
    if folder.is_dir() and sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) > _DEBS_LIMIT:
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
