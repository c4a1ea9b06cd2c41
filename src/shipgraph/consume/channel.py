"""A channel as a consumer may believe it, step by step; each step that fails is a refusal with its reason.

1. The tag ``<channel>`` names a manifest; its document is read within bounds, and every byte has its digest.
2. It is this channel's metadata, of this project's type, and names each image once, by digest.
3. Somebody whom the channel's signer rule accepts signed a provenance about exactly this manifest.
4. Its serial is not below the one remembered from last time, and the same serial is the same manifest: an older
   release can't be played back. A lower one is read again first, since a registry may show what was before.
5. It has not expired. Expiry blocks new installs; what is installed already goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from shipgraph.channel.metadata import ChannelMetadata, decode_metadata, parse_time, repository_path
from shipgraph.consume.memory import Seen
from shipgraph.errors import ConfigurationError, InvalidReference, MalformedDocument, Refused
from shipgraph.evidence.refusals import EvidenceUntrusted
from shipgraph.evidence.requirements import Kind
from shipgraph.oci.digest import Digest
from shipgraph.oci.reference import check_host, check_repository, check_tag
from shipgraph.records.document import read_document
from shipgraph.store.protocols import Fetcher, ReferrersLister, Resolver

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from shipgraph.consume.memory import SerialMemory
    from shipgraph.evidence.referrers import ReferrerVerifier
    from shipgraph.evidence.trust import SignedBy

READS: Final = 4
"""How often a serial that is too low is looked at before it counts."""


class ConsumerStore(Fetcher, Resolver, ReferrersLister, Protocol):
    """Reads what a channel is made of."""


@dataclass(frozen=True, slots=True)
class Believed:
    """A channel's metadata that passed steps 1 to 4: its digest, who signed it, and whether it has expired."""

    metadata: ChannelMetadata
    digest: Digest
    signer: SignedBy
    expired: bool

    def check_fresh(self) -> None:
        """Step 5.

        Raises:
            Refused: it has expired.
        """
        if self.expired:
            raise Refused(
                f"the metadata of {self.metadata.channel} expired at {self.metadata.expires_at}",
                hint="its project must run `shipgraph refresh`; if it did, something keeps the newer one from you",
            )


async def read_believed(
    store: ConsumerStore,
    channel: str,
    *,
    repository: str,
    artifact_type: str,
    verifier: ReferrerVerifier,
    memory: SerialMemory,
    now: datetime,
    lag: float,
    sleep: Callable[[float], Awaitable[object]],
) -> Believed:
    """Steps 1 to 4; what is believed is remembered.

    Args:
        verifier: with the channel's signer rule.
        lag: seconds for which the registry may show an old value.

    Raises:
        Refused: there is no such channel, or a step failed.
        MalformedDocument, RegistryError
    """
    seen = memory.get(repository, channel)
    for attempt in range(READS):
        found = await _read(store, channel, repository, artifact_type)
        if seen is None or found[0].serial >= seen.serial:
            break
        if attempt < READS - 1:
            await sleep(max(lag, 0.2))
    metadata, digest = found
    signer = await _signer(verifier, repository, digest, metadata)
    if seen is not None:
        _check_serial(metadata, digest, seen)
    memory.remember(repository, channel, Seen(metadata.serial, str(digest)))
    return Believed(metadata, digest, signer, parse_time(metadata.expires_at) <= now)


async def _read(
    store: ConsumerStore, channel: str, repository: str, artifact_type: str
) -> tuple[ChannelMetadata, Digest]:
    found = await store.resolve(repository, channel)
    if found is None:
        raise Refused(f"the channel {channel} was never published: {repository}:{channel} is not there")
    document = await read_document(store, repository, found.digest, artifact_type)
    metadata = decode_metadata(document.content, where=f"{repository}:{channel}")
    check_metadata(metadata, channel, where=f"{repository}:{channel}")
    return metadata, found.digest


def check_metadata(metadata: ChannelMetadata, channel: str, *, where: str) -> None:
    """Step 2.

    Raises:
        MalformedDocument
    """
    if metadata.channel != channel:
        raise MalformedDocument(f"{where} is the metadata of channel {metadata.channel[:60]!r}")
    if not metadata.images or metadata.serial < 1:
        raise MalformedDocument(f"{where} names no image or has no serial")
    if len({image.image for image in metadata.images}) != len(metadata.images):
        raise MalformedDocument(f"{where} names an image twice")
    try:
        parse_time(metadata.expires_at)
        check_tag(metadata.immutable_tag)
        check_tag(metadata.version)
        for image in metadata.images:
            Digest.parse(image.digest)
            check_name(image.repository)
        if metadata.payload is not None:
            Digest.parse(metadata.payload.digest)
            if not metadata.payload.ref.endswith(f"@{metadata.payload.digest}"):
                raise MalformedDocument(f"{where} names a payload by two digests")
    except (ValueError, InvalidReference) as error:
        raise MalformedDocument(f"{where}: {error}") from error


def check_name(name: str) -> None:
    """Refuse a name that is not ``HOST/repository``: it is printed into files that others read.

    Raises:
        InvalidReference
    """
    path = repository_path(name)
    check_repository(path)
    host = name.removesuffix(path).removesuffix("/")
    if host:
        try:
            check_host(host)
        except ConfigurationError as error:
            raise InvalidReference(str(error)) from error


async def _signer(verifier: ReferrerVerifier, repository: str, digest: Digest, metadata: ChannelMetadata) -> SignedBy:
    finding = await verifier.find(repository, digest, Kind.PROVENANCE)
    if finding.verified is None:
        reasons = "; ".join(dict.fromkeys(finding.reasons)) or "it is not signed"
        raise EvidenceUntrusted(
            f"the metadata of {metadata.channel} ({repository}@{digest}) can't be believed: {reasons}",
            hint="trusted keys and identities stand in [signing] of shipgraph.toml, the channel's rule in its `signer`",
        )
    return finding.verified.signer


def _check_serial(metadata: ChannelMetadata, digest: Digest, seen: Seen) -> None:
    if metadata.serial < seen.serial:
        raise Refused(
            f"the channel {metadata.channel} shows serial {metadata.serial}, and had {seen.serial} before:"
            " somebody plays an older release back, or the registry lost the newer one",
            hint="nothing was changed; ask the project which serial is the newest",
        )
    if metadata.serial == seen.serial and str(digest) != seen.digest:
        raise Refused(
            f"the channel {metadata.channel} shows another manifest for serial {metadata.serial} than before: {digest},"
            f" not {seen.digest}",
            hint="nothing was changed; a serial is given once, so one of the two is not the project's",
        )
