"""The store over a folder: ``ROOT/<namespace>/<repository>/`` is an OCI image layout each."""

from __future__ import annotations

import errno
import os
import threading
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import anyio.to_thread

from shipgraph.errors import DigestMismatch, InvalidReference, NotFound, Rejected, TagMoved
from shipgraph.oci import media_types
from shipgraph.oci.digest import Digest
from shipgraph.oci.distribution import ErrorCode
from shipgraph.oci.manifest import MAX_MANIFEST, ImageIndex, ImageManifest, parse_manifest
from shipgraph.oci.reference import check_tag
from shipgraph.oci.referrers import referrer_descriptor, referrer_type
from shipgraph.store.content import checked
from shipgraph.store.disk.collect import DAY, Collected, Collection
from shipgraph.store.disk.files import named_causes, sync_directory, write_whole
from shipgraph.store.disk.repository import STATE, Repository, check_name
from shipgraph.store.disk.subjects import Subjects
from shipgraph.store.disk.upload import STALE, Uploads, remove_older
from shipgraph.store.protocols import ANY, PIECE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from shipgraph.oci.descriptor import Descriptor
    from shipgraph.store.disk.layout import LayoutIndex
    from shipgraph.store.disk.upload import Upload
    from shipgraph.store.protocols import BlobSource, Expect

_NO_LINK = frozenset({errno.EMLINK, errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP})
"""A file system that can't link this file (again): upload it instead."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A manifest of a repository, its tags, and when it was stored or last asked for, in seconds since the epoch."""

    digest: Digest
    tags: tuple[str, ...]
    stored_at: float


class DiskStore:
    """Repositories as image layouts below ``root``; server state in ``root/.shipgraph``.

    Any number of threads, event loops and processes may use one root at the same time. Repository names that the
    specification refuses, or that would lie inside another's layout, raise ``InvalidReference``; a full disk raises
    ``DiskFull`` and leaves nothing half-written.

    Args:
        durable: flush to the disk before anything is said to be done. Without it a power cut may lose what was
            written last (a killed process never does); good for a registry that one job throws away.
    """

    def __init__(self, root: Path, *, durable: bool = True) -> None:
        self.root = root
        self._durable = durable
        self._state = root / STATE
        self._uploads = Uploads(self._state)
        self._lock = threading.Lock()
        self._repositories: dict[str, tuple[Repository, Subjects]] = {}

    # --- reading

    async def manifest(self, repository: str, digest: Digest) -> ImageManifest | ImageIndex:
        """See ``Fetcher``."""
        return await anyio.to_thread.run_sync(self._manifest, self._repository(repository), digest)

    @asynccontextmanager
    async def blob(self, repository: str, descriptor: Descriptor) -> AsyncIterator[AsyncIterator[bytes]]:
        """See ``Fetcher``."""
        async with self.blob_range(repository, descriptor.digest) as pieces:
            yield checked(pieces, descriptor, where=f"blob {repository}@{descriptor.digest}")

    @asynccontextmanager
    async def blob_range(
        self, repository: str, digest: Digest, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Bytes ``start`` to ``stop`` (exclusive; None: the end) of a blob, **unchecked**, for a server to pass on.

        Raises:
            NotFound: the blob is not there.
        """
        path = self._repository(repository).blob_path(digest)
        try:
            descriptor = await anyio.to_thread.run_sync(os.open, path, os.O_RDONLY)
        except (FileNotFoundError, NotADirectoryError):
            raise _no_blob(repository, digest) from None
        try:
            yield _pieces(descriptor, start, stop)
        finally:
            os.close(descriptor)

    async def blob_size(self, repository: str, digest: Digest) -> int | None:
        """Length in bytes of a blob, or None if it is not there."""
        return self._repository(repository).asked_for(digest)

    async def has_blob(self, repository: str, digest: Digest) -> bool:
        """See ``Prober``."""
        return self._repository(repository).asked_for(digest) is not None

    async def has_manifest(self, repository: str, digest: Digest) -> bool:
        """See ``Prober``."""
        return str(digest) in (await self._index(repository)).manifests

    async def resolve(self, repository: str, tag: str) -> Descriptor | None:
        """See ``Resolver``."""
        index = await self._index(repository)
        digest = index.tags.get(tag)
        return None if digest is None else index.descriptor(digest)

    async def tags(self, repository: str) -> list[str]:
        """See ``Lister``."""
        return sorted((await self._index(repository)).tags)

    async def listing(self, repository: str, digest: Digest | None = None) -> list[Listed]:
        """Every manifest of a repository, or that one, tagged or not; empty where the repository is not there."""
        return await anyio.to_thread.run_sync(self._listing, self._repository(repository), digest)

    async def referrers(
        self, repository: str, digest: Digest, artifact_type: str | None = None
    ) -> tuple[Descriptor, ...]:
        """See ``ReferrersLister``."""
        return await anyio.to_thread.run_sync(self._referrers, repository, digest, artifact_type)

    async def now(self) -> float:
        """See ``Clock``."""
        return time.time()

    async def exists(self, repository: str) -> bool:
        """Whether anything was ever stored in a repository."""
        return self._repository(repository).exists()

    async def repositories(self) -> list[str]:
        """The names of all repositories, sorted."""
        return await anyio.to_thread.run_sync(self._names)

    # --- writing

    async def push_blob(
        self, repository: str, descriptor: Descriptor, source: BlobSource, *, mount_from: str | None = None
    ) -> bool:
        """See ``Pusher``."""
        target = self._repository(repository)
        if target.asked_for(descriptor.digest) is not None:
            return False
        if mount_from is not None and await self.mount_blob(mount_from, repository, descriptor.digest):
            return False
        async with source() as pieces, self._uploads.open(target, await self._uploads.begin(target)) as upload:
            try:
                # checked here, or where they come from; the upload's own hash is for those who send in several requests
                right = checked(pieces, descriptor, where=f"blob {repository}@{descriptor.digest}")
                await upload.append(right, limit=descriptor.size, trusted=True)
                if upload.offset < descriptor.size:
                    raise DigestMismatch(
                        f"blob {repository}@{descriptor.digest}",
                        want=f"{descriptor.size} bytes",
                        got=f"{upload.offset} bytes",
                    )
                await upload.commit(descriptor.digest, trusted=True)
            finally:
                if not upload.finished:
                    with anyio.CancelScope(shield=True):
                        await upload.discard()
        return True

    async def push_manifest(self, repository: str, manifest: ImageManifest | ImageIndex) -> None:
        """See ``Pusher``."""
        await anyio.to_thread.run_sync(self._put, self._repository(repository), manifest, None, ANY)

    async def tag(
        self,
        repository: str,
        tag: str,
        manifest: ImageManifest | ImageIndex,
        *,
        expect: Expect = ANY,
        once: bool = False,  # noqa: ARG002 (nothing is ever sent twice)
    ) -> None:
        """See ``Tagger``."""
        check_tag(tag)
        await anyio.to_thread.run_sync(self._put, self._repository(repository), manifest, tag, expect)

    async def conditional(self) -> bool:
        """See ``Tagger``."""
        return True

    async def delete_manifest(self, repository: str, digest: Digest) -> None:
        """See ``Deleter``. The bytes stay until garbage is collected."""
        await self._edit(repository, lambda index: index.without_manifest(str(digest)))

    async def delete_tag(self, repository: str, tag: str) -> None:
        """See ``Deleter``."""
        await self._edit(repository, lambda index: index.without_tag(tag))

    async def delete_blob(self, repository: str, digest: Digest) -> bool:
        """Delete a blob; whether it was there.

        Raises:
            Rejected: it is a manifest that the repository lists.
        """
        return await anyio.to_thread.run_sync(self._delete_blob, self._repository(repository), digest)

    async def mount_blob(self, source: str, target: str, digest: Digest) -> bool:
        """Let a blob of one repository be in another too, as a hard link; whether it was there."""
        if source == target:
            return await self.has_blob(source, digest)
        return await anyio.to_thread.run_sync(self._mount, self._repository(source), self._repository(target), digest)

    # --- uploads in pieces, for a server

    async def begin_upload(self, repository: str) -> str:
        """Start an upload; its identifier, good for a day after the last byte."""
        return await self._uploads.begin(self._repository(repository))

    def upload(self, repository: str, identifier: str) -> AbstractAsyncContextManager[Upload]:
        """Go on with an upload, locked while the block runs; see ``Uploads.open``."""
        return self._uploads.open(self._repository(repository), identifier)

    async def clean(self, *, older_than: float = STALE) -> int:
        """Remove what dead processes and given-up uploads left behind; how many files that were."""

        def both() -> int:
            return self._uploads.clean(older_than=older_than) + remove_older(self._state / "tmp", older_than)

        return await anyio.to_thread.run_sync(both)

    async def collect(self, *, grace: float = DAY, untagged: bool = False, dry_run: bool = False) -> Collected:
        """Remove what nothing refers to and nobody has asked for within ``grace`` seconds; see ``collect``.

        Args:
            untagged: remove old manifests, too, that no tag reaches.
            dry_run: only say what would be removed.
        """
        return await anyio.to_thread.run_sync(lambda: self.collect_now(grace=grace, untagged=untagged, dry_run=dry_run))

    def collect_now(self, *, grace: float = DAY, untagged: bool = False, dry_run: bool = False) -> Collected:
        """See ``collect``; blocks."""
        total = Collected()
        for name in self._names():
            repository = self._repository(name)
            total += Collection(repository, partial(self._manifest, repository), grace=grace).run(
                untagged=untagged, dry_run=dry_run
            )
        return total

    # --- the blocking half

    def _repository(self, name: str) -> Repository:
        return self._both(name)[0]

    def _both(self, name: str) -> tuple[Repository, Subjects]:
        found = self._repositories.get(name)
        if found is None:
            check_name(name)
            with self._lock:
                repository = Repository(self.root, name, durable=self._durable)
                subjects = Subjects(self._state / "subjects" / repository.flat_name)
                found = self._repositories.setdefault(name, (repository, subjects))
        return found

    async def _index(self, repository: str) -> LayoutIndex:
        found = self._repository(repository)
        known = found.index_if_known()
        return known if known is not None else await anyio.to_thread.run_sync(found.index)

    async def _edit(self, repository: str, edit: Callable[[LayoutIndex], LayoutIndex]) -> None:
        target = self._repository(repository)
        if target.exists():
            await anyio.to_thread.run_sync(target.change, edit)

    def _listing(self, repository: Repository, only: Digest | None) -> list[Listed]:
        index = repository.index()
        tags: dict[str, list[str]] = {}
        for tag, digest in sorted(index.tags.items()):
            tags.setdefault(digest, []).append(tag)
        found = []
        for name in index.manifests if only is None else {str(only)} & index.manifests.keys():
            listed = Digest.parse(name)
            with suppress(FileNotFoundError):
                stored_at = repository.blob_path(listed).stat().st_mtime
                found.append(Listed(listed, tuple(tags.get(name, ())), stored_at))
        return found

    def _manifest(self, repository: Repository, digest: Digest) -> ImageManifest | ImageIndex:
        entry = repository.index().manifests.get(str(digest))
        where = f"manifest {repository.name}@{digest}"
        if entry is None:
            raise NotFound(f"{where} is not there", codes=(ErrorCode.MANIFEST_UNKNOWN,))
        try:
            with repository.blob_path(digest).open("rb") as file:
                raw = file.read(MAX_MANIFEST + 1)
        except FileNotFoundError:
            raise NotFound(f"{where} is listed, but its blob is gone", codes=(ErrorCode.MANIFEST_UNKNOWN,)) from None
        return parse_manifest(raw, media_type=entry.media_type, digest=digest, where=where)

    def _put(
        self, repository: Repository, manifest: ImageManifest | ImageIndex, tag: str | None, expect: Expect
    ) -> None:
        written = False

        def edit(index: LayoutIndex) -> LayoutIndex:
            if tag is not None and expect is not ANY:
                _check_expected(index, repository.name, tag, expect)
            _check_complete(index, repository, manifest)
            if written and repository.blob_size(manifest.digest) is None:
                raise Rejected(
                    f"manifest {repository.name}@{manifest.digest} was collected as garbage before it was listed",
                    codes=(ErrorCode.MANIFEST_BLOB_UNKNOWN,),
                )
            return index.with_manifest(manifest, tag)

        current = repository.index()
        there = repository.asked_for(manifest.digest) == manifest.size
        if edit(current) is current and there:  # refuses early, and is quick where there is nothing to do
            return
        repository.create()
        path = repository.blob_path(manifest.digest)
        if not there:
            with named_causes(f"write {path}"):
                write_whole(path, manifest.raw, aside=repository.aside, durable=self._durable)
        self._both(repository.name)[1].learn(
            str(manifest.digest), None if manifest.subject is None else manifest.subject.digest
        )
        written = True
        repository.change(edit)

    def _referrers(self, name: str, digest: Digest, artifact_type: str | None) -> tuple[Descriptor, ...]:
        repository, subjects = self._both(name)
        index = repository.index()

        def subject_of(digest: str) -> Digest | None:
            try:
                subject = self._manifest(repository, Digest.parse(digest)).subject
            except Exception:  # what another program wrote, or lost, refers to nothing
                return None
            return None if subject is None else subject.digest

        found = []
        for referrer in subjects.referrers(digest, index.manifests, subject_of):
            with suppress(NotFound):  # deleted meanwhile
                manifest = self._manifest(repository, Digest.parse(referrer))
                if artifact_type in (None, referrer_type(manifest)):
                    found.append(referrer_descriptor(manifest))
        return tuple(found)

    def _delete_blob(self, repository: Repository, digest: Digest) -> bool:
        with named_causes(f"delete {repository.blob_path(digest)}"):
            if not repository.exists():
                return False
            with repository.locked():
                if str(digest) in repository.index().manifests:
                    raise Rejected(
                        f"{repository.name}@{digest} is a manifest; delete it as one", codes=(ErrorCode.UNSUPPORTED,)
                    )
                try:
                    repository.blob_path(digest).unlink()
                except FileNotFoundError:
                    return False
                return True

    def _mount(self, source: Repository, target: Repository, digest: Digest) -> bool:
        if source.blob_size(digest) is None:
            return False
        target.create()
        path = target.blob_path(digest)
        with named_causes(f"write {path}"):
            try:
                os.utime(source.blob_path(digest))  # both are as good as new to garbage collection
                os.link(source.blob_path(digest), path)
            except FileExistsError:
                return True
            except FileNotFoundError:
                return False
            except OSError as error:
                if error.errno in _NO_LINK:
                    return False
                raise
            if self._durable:
                sync_directory(path.parent)
        return True

    def _names(self) -> list[str]:
        names = []
        for directory, folders, files in os.walk(self.root):
            if "oci-layout" in files:
                names.append(os.path.relpath(directory, self.root))
                folders[:] = [folder for folder in folders if folder != "blobs"]
            folders[:] = [folder for folder in folders if folder != STATE]
        return sorted(name for name in names if _is_name(name))


def _check_expected(index: LayoutIndex, repository: str, tag: str, expect: Digest | None) -> None:
    current = index.tags.get(tag)
    if current != (None if expect is None else str(expect)):
        raise TagMoved(f"{repository}:{tag} is {current or 'absent'}, not {expect or 'absent'}")


def _check_complete(index: LayoutIndex, repository: Repository, manifest: ImageManifest | ImageIndex) -> None:
    """All that a manifest refers to must be there, but its subject (distribution specification 1.1, § Pushing)."""
    if isinstance(manifest, ImageIndex):
        missing = [str(child.digest) for child in manifest.manifests if not _has_child(index, repository, child)]
    else:
        missing = [
            str(blob.digest)
            for blob in manifest.blobs
            if repository.blob_size(blob.digest) is None and blob.media_type not in media_types.NONDISTRIBUTABLE
        ]
    if missing:
        raise Rejected(
            f"manifest {repository.name}@{manifest.digest} refers to missing {', '.join(missing)}",
            codes=(ErrorCode.MANIFEST_BLOB_UNKNOWN,),
        )


def _has_child(index: LayoutIndex, repository: Repository, child: Descriptor) -> bool:
    if child.media_type in media_types.INDEXES | media_types.MANIFESTS:
        return str(child.digest) in index.manifests
    return repository.blob_size(child.digest) is not None  # BuildKit's cache is an index over layers


async def _pieces(descriptor: int, start: int, stop: int | None) -> AsyncIterator[bytes]:
    position = start
    while stop is None or position < stop:
        size = PIECE if stop is None else min(PIECE, stop - position)
        piece = await anyio.to_thread.run_sync(os.pread, descriptor, size, position)
        if not piece:
            return
        position += len(piece)
        yield piece


def _no_blob(repository: str, digest: Digest) -> NotFound:
    return NotFound(f"blob {repository}@{digest} is not there", codes=(ErrorCode.BLOB_UNKNOWN,))


def _is_name(name: str) -> bool:
    try:
        check_name(name)
    except InvalidReference:
        return False
    return True
