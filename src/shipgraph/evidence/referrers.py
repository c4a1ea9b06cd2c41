"""Bundles in a registry: artifacts that refer to their subject, in the form that cosign and GitHub's action write.

What others attach to a subject is looked at, bounded in number and size, and never trusted for being there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import anyio

from shipgraph.errors import ContentError, NotFound
from shipgraph.evidence.bundle import BUNDLE_TYPE, MAX_BUNDLE, Bundle, parse_bundle
from shipgraph.evidence.predicates import PREDICATE_TYPES
from shipgraph.evidence.refusals import EvidenceUntrusted
from shipgraph.evidence.verify import Verified, verify_evidence
from shipgraph.oci import media_types
from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.manifest import EMPTY_CONFIG, EMPTY_DESCRIPTOR, ImageManifest, build_artifact
from shipgraph.store.content import from_bytes, read_blob
from shipgraph.store.protocols import Fetcher, Pusher, ReferrersLister

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from datetime import datetime

    from shipgraph.evidence.requirements import Kind, Subject
    from shipgraph.evidence.statement import Statement
    from shipgraph.evidence.trust import SignerRule, TrustPolicy
    from shipgraph.oci.digest import Digest

ANNOTATION_PREDICATE: Final = "dev.sigstore.bundle.predicateType"
ANNOTATION_CONTENT: Final = "dev.sigstore.bundle.content"
MOST_BUNDLES: Final = 200
"""Bundles of one kind at one subject that are looked at; an honest subject has a few."""


class Standing(Protocol):
    """Decides whether a trusted statement counts for what is done now; called in a thread."""

    def __call__(self, repository: str, digest: Digest, kind: Kind, predicate: Mapping[str, Any]) -> str:
        """Why it doesn't; empty if it does."""
        ...


class EvidenceReader(Fetcher, ReferrersLister, Protocol):
    """Reads referrers."""


def bundle_artifact(bundle: Bundle, statement: Statement, subject: Descriptor, *, created: str = "") -> ImageManifest:
    """The manifest of a bundle at its subject."""
    annotations = {ANNOTATION_CONTENT: "dsse-envelope", ANNOTATION_PREDICATE: statement.predicate_type}
    if created:
        annotations[media_types.ANNOTATION_CREATED] = created
    layer = Descriptor.of(BUNDLE_TYPE, bundle.raw)
    return build_artifact(BUNDLE_TYPE, [layer], annotations=annotations, subject=subject)


async def attach_bundle(
    store: Pusher, repository: str, bundle: Bundle, statement: Statement, subject: Descriptor, *, created: str = ""
) -> Digest:
    """Store a bundle as a referrer of its subject; the digest of its manifest.

    Raises:
        RegistryError
    """
    manifest = bundle_artifact(bundle, statement, subject, created=created)
    await store.push_blob(repository, EMPTY_DESCRIPTOR, from_bytes(EMPTY_CONFIG))
    await store.push_blob(repository, manifest.layers[0], from_bytes(bundle.raw))
    await store.push_manifest(repository, manifest)
    return manifest.digest


async def read_bundles(
    store: EvidenceReader, repository: str, digest: Digest, predicate_type: str | None = None
) -> AsyncIterator[Bundle | ContentError]:
    """The bundles at a subject, newest last; one that can't be read comes as its error.

    Args:
        predicate_type: leave out those that are labelled as something else; a label is nobody's word, but who labels
            his evidence wrongly does without it.

    Raises (while iterating):
        RegistryError
    """
    listed = await store.referrers(repository, digest, BUNDLE_TYPE)
    wanted = [
        descriptor
        for descriptor in listed
        if descriptor.artifact_type in (None, BUNDLE_TYPE)
        and predicate_type in (None, descriptor.annotations.get(ANNOTATION_PREDICATE, predicate_type))
    ]
    for descriptor in wanted[-MOST_BUNDLES:]:
        try:
            yield await _read(store, repository, digest, descriptor)
        except NotFound:
            continue  # it went meanwhile
        except ContentError as error:
            yield error


async def _read(store: EvidenceReader, repository: str, digest: Digest, descriptor: Descriptor) -> Bundle:
    where = f"bundle {repository}@{descriptor.digest}"
    manifest = await store.manifest(repository, descriptor.digest)
    if not isinstance(manifest, ImageManifest) or manifest.artifact_type != BUNDLE_TYPE or len(manifest.layers) != 1:
        raise ContentError(f"{where} is not an artifact with one bundle")
    if manifest.subject is None or manifest.subject.digest != digest:
        raise ContentError(f"{where} has another subject than {digest}")
    if manifest.layers[0].size > MAX_BUNDLE:
        raise ContentError(f"{where} has {manifest.layers[0].size} bytes, more than a bundle may")
    return parse_bundle(await read_blob(store, repository, manifest.layers[0]), where=where)


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about one subject and kind: the evidence that counts, or why each that is there doesn't."""

    verified: Verified | None
    reasons: tuple[str, ...] = ()


class ReferrerVerifier:
    """Looks evidence up at its subject: the ``Verifier`` that ``requirements.survey`` asks.

    What it has found once counts as long as it lives, which is one command: a digest's evidence doesn't go.

    Args:
        rule: who may have signed, where only some of the trusted may.
        at: the time by which keys count; now where None.
        standing: which verdicts count, where not all that were ever given do.
    """

    def __init__(
        self,
        store: EvidenceReader,
        policy: TrustPolicy,
        *,
        rule: SignerRule | None = None,
        at: datetime | None = None,
        standing: Standing | None = None,
    ) -> None:
        self._store, self._policy, self._rule, self._at = store, policy, rule, at
        self._standing = standing
        self._found: dict[tuple[str, Digest, Kind], Finding] = {}

    async def __call__(self, subject: Subject, kind: Kind) -> bool:
        """See ``Verifier``."""
        return (await self.find(subject.repository, subject.digest, kind)).verified is not None

    async def find(self, repository: str, digest: Digest, kind: Kind) -> Finding:
        """Trusted evidence of a kind about a digest, or why there is none.

        Raises:
            RegistryError: the registry gave no clear answer; that is not the same as no evidence.
        """
        if (known := self._found.get((repository, digest, kind))) is not None:
            return known
        reasons: list[str] = []
        async for bundle in read_bundles(self._store, repository, digest, PREDICATE_TYPES[kind]):
            try:
                if isinstance(bundle, ContentError):
                    raise bundle
                verified = await anyio.to_thread.run_sync(self._verify, bundle, repository, digest, kind)
            except (EvidenceUntrusted, ContentError) as error:
                reasons.append(str(error))
            else:
                return self._found.setdefault((repository, digest, kind), Finding(verified))
        return Finding(None, tuple(reasons))

    def _verify(self, bundle: Bundle, repository: str, digest: Digest, kind: Kind) -> Verified:
        verified = verify_evidence(bundle, self._policy, digest, kind, at=self._at)
        if self._rule is not None:
            self._rule.check(verified.signer)
        if self._standing is not None and (
            why := self._standing(repository, digest, kind, verified.statement.predicate)
        ):
            raise EvidenceUntrusted(f"its verdict as a {kind} counts no more: {why}")
        return verified
