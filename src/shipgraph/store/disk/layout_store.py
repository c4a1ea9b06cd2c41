"""One OCI image layout as a store of one repository, wherever it lies and whoever wrote it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shipgraph.errors import NotFound
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import MAX_MANIFEST, ImageIndex, ImageManifest, parse_manifest
from shipgraph.store.disk.repository import STATE, Repository
from shipgraph.store.disk.store import DiskStore
from shipgraph.store.disk.subjects import Subjects

if TYPE_CHECKING:
    from pathlib import Path

NAME = "layout"
"""The repository's name for those who must have one; any other names the same."""


class LayoutStore(DiskStore):
    """The layout at ``path``; what is written there needs a folder ``.shipgraph`` inside while it is being written."""

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        super().__init__(path, durable=durable)
        self._one = (Repository(path, NAME, durable=durable, path=path), Subjects(path / STATE / "subjects" / NAME))

    async def roots(self) -> list[str]:
        """The digests of the manifests that no tag and no listed index names."""
        repository = self._one[0]
        index = repository.index()
        named = set(index.tags.values())
        for digest in index.manifests:
            manifest = self._manifest(repository, Digest.parse(digest))
            if isinstance(manifest, ImageIndex):
                named |= {str(child.digest) for child in manifest.manifests}
        return [digest for digest in index.manifests if digest not in named]

    def _both(self, name: str) -> tuple[Repository, Subjects]:  # noqa: ARG002 (there is one)
        return self._one

    def _manifest(self, repository: Repository, digest: Digest) -> ImageManifest | ImageIndex:
        """Other tools list an index alone in ``index.json``; its children are blobs beside it."""
        try:
            return super()._manifest(repository, digest)
        except NotFound:
            try:
                with repository.blob_path(digest).open("rb") as file:
                    raw = file.read(MAX_MANIFEST + 1)
            except (FileNotFoundError, NotADirectoryError):
                raise NotFound(f"manifest {digest} is not in {repository.path}") from None
            return parse_manifest(raw, digest=digest, where=f"manifest {digest} in {repository.path}")
