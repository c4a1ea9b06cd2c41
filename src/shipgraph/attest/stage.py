"""Attest: what is missing at each subject is stated, signed in one ceremony, checked, and attached.

What is there already and trusted is left alone, so the stage run twice does nothing the second time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import anyio.to_thread

from shipgraph.evidence.predicates import PREDICATE_TYPES
from shipgraph.evidence.referrers import attach_bundle
from shipgraph.evidence.statement import make_statement
from shipgraph.evidence.verify import verify_evidence
from shipgraph.tasks import gather

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shipgraph.evidence.bundle import Bundle
    from shipgraph.evidence.requirements import Kind, Subject, Verifier
    from shipgraph.evidence.signer import Signer
    from shipgraph.evidence.statement import Statement
    from shipgraph.evidence.trust import SignerRule, TrustPolicy
    from shipgraph.oci.descriptor import Descriptor
    from shipgraph.oci.digest import Digest
    from shipgraph.store.protocols import Pusher


class AttestationStore(Protocol):
    """Another place where bundles are looked for: GitHub's attestation store."""

    async def publish(self, bundle: Bundle) -> None:
        """Store a bundle under its subjects' digests; fine if it is there.

        Raises:
            RegistryError
        """
        ...


@dataclass(frozen=True, slots=True)
class Intent:
    """What is to be stated about a subject, if it isn't yet: ``name`` is its full name, ``HOST/repository``."""

    subject: Subject
    descriptor: Descriptor
    name: str
    kind: Kind
    predicate: Callable[[], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Attested:
    """What the stage did: bundles that were made, by subject, and how many were there already."""

    made: tuple[tuple[Intent, Digest], ...]
    there: int
    signer: str


async def attest(
    store: Pusher,
    intents: Sequence[Intent],
    *,
    signer: Signer,
    verifier: Verifier,
    policy: TrustPolicy,
    rule: SignerRule | None = None,
    also: AttestationStore | None = None,
) -> Attested:
    """Make the evidence that is missing.

    Args:
        verifier: finds what is there already, and trusted.
        policy, rule: what is signed must be trusted by these, or nothing is attached: a release that nobody can
            verify is found out here, not by its consumers.
        also: gets every new bundle as well.

    Raises:
        EvidenceUntrusted: the signer is not one whom the project trusts.
        SigningFailed, RegistryError
    """
    there = await gather([partial(verifier, intent.subject, intent.kind) for intent in intents]) if intents else []
    missing = [intent for intent, found in zip(intents, there, strict=True) if not found]
    if not missing:
        return Attested((), len(intents), signer.description)
    statements = [_state(intent) for intent in missing]
    bundles = await signer.sign(statements)

    def check() -> None:
        for intent, bundle in zip(missing, bundles, strict=True):
            verified = verify_evidence(bundle, policy, intent.subject.digest, intent.kind)
            if rule is not None:
                rule.check(verified.signer)

    await anyio.to_thread.run_sync(check)  # Sigstore's root of trust may be read from the network for it

    async def attach(intent: Intent, statement: Statement, bundle: Bundle) -> Digest:
        if also is not None:  # first: what is attached counts as done, and would never be published again
            await also.publish(bundle)
        return await attach_bundle(store, intent.subject.repository, bundle, statement, intent.descriptor)

    digests = await gather(
        [partial(attach, *one) for one in zip(missing, statements, bundles, strict=True)],
    )
    return Attested(tuple(zip(missing, digests, strict=True)), len(intents) - len(missing), signer.description)


def _state(intent: Intent) -> Statement:
    kind = PREDICATE_TYPES[intent.kind]
    return make_statement([(intent.name, intent.subject.digest)], kind, intent.predicate())
