"""Pull: a channel's payload, verified, unpacked beside what is installed, and switched to in one step.

::

    DIR/current -> versions/NAME      what is installed; the link is replaced by one rename
    DIR/previous -> versions/NAME     what was installed before it
    DIR/versions/NAME/                the payload's files
    DIR/versions/NAME.json            the channel's metadata that it came with

Whatever is refused, ``current`` stays as it was.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread
import msgspec

from shipgraph.channel.metadata import ChannelMetadata, repository_path
from shipgraph.consume.archive import IMAGES, Bounds, unpack_payload
from shipgraph.errors import ConfigurationError, Conflict, MalformedDocument, Refused
from shipgraph.evidence.refusals import EvidenceUntrusted
from shipgraph.evidence.requirements import Kind
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import ImageManifest, encode_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

    from shipgraph.consume.channel import Believed, ConsumerStore
    from shipgraph.evidence.referrers import ReferrerVerifier
    from shipgraph.oci.descriptor import Descriptor

CURRENT: Final = "current"
PREVIOUS: Final = "previous"
VERSIONS: Final = "versions"
LOCK: Final = ".lock"
MOST_PACKED: Final = 8 << 30
_NEEDED: Final = frozenset({Kind.GATE, Kind.PROVENANCE})


@dataclass(frozen=True, slots=True)
class Installed:
    """What is installed now: its folder, what it was before (None for the first), and whether anything changed."""

    folder: Path
    before: str | None
    changed: bool


async def install(
    store: ConsumerStore,
    believed: Believed,
    folder: Path,
    *,
    payload_repository: str,
    verifier: ReferrerVerifier,
    required: Iterable[str],
    bounds: Bounds | None = None,
) -> Installed:
    """Install the payload of a channel that was believed.

    Args:
        verifier: without the channel's rule, which binds the metadata alone.
        required: the project's kinds of evidence; of these a payload needs gate and provenance.

    Raises:
        Refused: something is not as it must be; what is installed stays.
        Conflict: another pull works on the folder.
        ConfigurationError: the channel has no payload.
        MalformedDocument, RegistryError
    """
    metadata = believed.metadata
    if metadata.payload is None:
        raise ConfigurationError(f"the channel {metadata.channel} has no payload to install")
    if repository_path(metadata.payload.ref.partition("@")[0].rpartition(":")[0]) != payload_repository:
        raise Refused(f"the metadata names the payload {metadata.payload.ref}, not one of {payload_repository}")
    async with _locked(folder):
        name = f"{metadata.immutable_tag}-{believed.digest.short}"
        before = _target(folder / CURRENT)
        if before == name and (folder / VERSIONS / name).is_dir():
            return Installed(folder / VERSIONS / name, before, changed=False)
        believed.check_fresh()
        manifest = await _payload(store, payload_repository, metadata, verifier, required)
        new = folder / VERSIONS / f".new-{secrets.token_hex(4)}"
        archive = new.with_suffix(".tar.gz")
        try:
            new.mkdir(parents=True)
            await _fetch(store, payload_repository, manifest.layers[0], archive)
            await anyio.to_thread.run_sync(partial(unpack_payload, archive, new, bounds=bounds))
            check_images(new / IMAGES, metadata)
            await anyio.to_thread.run_sync(partial(_switch, folder, new, name, before, metadata))
        finally:
            with anyio.CancelScope(shield=True):
                archive.unlink(missing_ok=True)
                await anyio.to_thread.run_sync(lambda: shutil.rmtree(new, ignore_errors=True))
        return Installed(folder / VERSIONS / name, before, changed=True)


async def _payload(
    store: ConsumerStore,
    repository: str,
    metadata: ChannelMetadata,
    verifier: ReferrerVerifier,
    required: Iterable[str],
) -> ImageManifest:
    assert metadata.payload is not None  # noqa: S101 (checked before)
    digest = Digest.parse(metadata.payload.digest)
    for kind in sorted(_NEEDED & set(map(Kind, required))):
        finding = await verifier.find(repository, digest, kind)
        if finding.verified is None:
            reasons = "; ".join(dict.fromkeys(finding.reasons)) or "there is none"
            raise EvidenceUntrusted(f"the payload {repository}@{digest} has no {kind} that counts: {reasons}")
    manifest = await store.manifest(repository, digest)
    if not isinstance(manifest, ImageManifest) or not manifest.layers:
        raise MalformedDocument(f"{repository}@{digest} is not a payload")
    return manifest


async def _fetch(store: ConsumerStore, repository: str, layer: Descriptor, target: Path) -> None:
    if layer.size > MOST_PACKED:
        raise Refused(f"the payload has {layer.size} bytes, more than {MOST_PACKED}")
    async with store.blob(repository, layer) as pieces, await anyio.open_file(target, "xb") as file:
        async for piece in pieces:
            await file.write(piece)


def check_images(place: Path, metadata: ChannelMetadata) -> None:
    """The payload must belong to exactly the images of the metadata: parts of two releases are never mixed.

    Raises:
        Refused
    """
    try:
        found = msgspec.json.decode(place.read_bytes(), type=list[dict[str, Any]])
        belongs = {entry["image"]: entry["digest"] for entry in found}
    except (OSError, msgspec.MsgspecError, KeyError, TypeError) as error:
        raise Refused(f"the payload does not say which images it belongs to: {error}") from error
    wanted = {image.image: image.digest for image in metadata.images}
    if belongs != wanted:
        wrong = sorted(name for name in belongs.keys() | wanted.keys() if belongs.get(name) != wanted.get(name))
        raise Refused(f"the payload belongs to other images than the channel names: {', '.join(wrong[:5])}")


def _switch(folder: Path, new: Path, name: str, before: str | None, metadata: ChannelMetadata) -> None:
    """Put the new version in its place, then move the links: first ``previous``, then, in one step, ``current``."""
    place = folder / VERSIONS / name
    if place.exists():  # left by a pull that was killed before it switched
        shutil.rmtree(place)
    place.with_name(f"{name}.json").write_bytes(encode_json(metadata))
    _sync(new)
    new.rename(place)
    if before is not None:
        _link(folder / PREVIOUS, f"{VERSIONS}/{before}")
    _link(folder / CURRENT, f"{VERSIONS}/{name}")
    kept = {name, before}
    for old in list((folder / VERSIONS).iterdir()):
        if old.name.removesuffix(".json") not in kept:
            if old.is_dir():
                shutil.rmtree(old, ignore_errors=True)
            else:
                old.unlink(missing_ok=True)


def _link(place: Path, target: str) -> None:
    new = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
    try:
        new.symlink_to(target)
        new.replace(place)
    finally:
        with suppress(OSError):
            new.unlink(missing_ok=True)
    handle = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync(folder: Path) -> None:
    """What is switched to must be on the disk before the link is."""
    for place in folder.rglob("*"):
        if place.is_file():
            with place.open("rb") as file:
                os.fsync(file.fileno())


def _target(link: Path) -> str | None:
    """The version that a link names."""
    try:
        return os.path.basename(os.readlink(link))  # noqa: PTH115, PTH119 (a target is text)
    except OSError:
        return None


@asynccontextmanager
async def _locked(folder: Path) -> AsyncIterator[None]:
    await anyio.Path(folder / VERSIONS).mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Conflict(f"another pull works on {folder}", hint="wait until it has ended") from None
        yield
    finally:
        os.close(handle)
