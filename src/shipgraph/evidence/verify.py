"""Verifies bundles, step by step; whatever can't be verified is refused with its reason.

1. The bundle parses, and names exactly one signer.
2. The signer is trusted by the policy: a key by its hint, or a certificate with its authorities and its claims.
3. The signature covers the envelope's type and payload (DSSE's encoding of the two).
4. The payload is an in-toto statement about the digest that was asked for; another platform's is not.
5. Its predicate is of the type that was asked for, and says yes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from shipgraph.evidence.predicates import PREDICATE_TYPES, passes
from shipgraph.evidence.refusals import EvidenceUntrusted
from shipgraph.evidence.statement import PAYLOAD_TYPE, Statement, parse_statement
from shipgraph.evidence.trust import SignedBy

if TYPE_CHECKING:
    from shipgraph.evidence.bundle import Bundle
    from shipgraph.evidence.envelope import Envelope
    from shipgraph.evidence.requirements import Kind
    from shipgraph.evidence.trust import TrustedKey, TrustPolicy
    from shipgraph.oci.digest import Digest


@dataclass(frozen=True, slots=True)
class Verified:
    """A statement whose signer is trusted."""

    statement: Statement
    signer: SignedBy


def verify_bundle(bundle: Bundle, policy: TrustPolicy, *, at: datetime | None = None) -> Verified:
    """Steps 1 to 3: the statement, and who signed it.

    Args:
        at: the verifier's time; now where None.

    Raises:
        EvidenceUntrusted: nobody whom the policy trusts signed it, or the signature is wrong.
        MalformedDocument: what was signed is not a statement.
    """
    now = at or datetime.now(UTC)
    envelope = bundle.envelope
    if envelope.payload_type != PAYLOAD_TYPE:
        raise EvidenceUntrusted(f"it holds {envelope.payload_type[:100]}, not an in-toto statement")
    if bundle.key_hint is not None:
        key = policy.find_key(bundle.key_hint)
        key.check_time(now)
        _check_signature(envelope, key)
        return Verified(parse_statement(envelope.payload, where="statement"), SignedBy(f"key {key.name}", key=key))
    from shipgraph.evidence.certificate import verify_certificate

    claims, signed_at = verify_certificate(bundle, policy)
    policy.find_identity(claims, signed_at)
    signer = SignedBy(claims.subject, claims=claims, at=signed_at)
    return Verified(parse_statement(envelope.payload, where="statement"), signer)


def verify_evidence(
    bundle: Bundle, policy: TrustPolicy, digest: Digest, kind: Kind, *, at: datetime | None = None
) -> Verified:
    """All five steps: trusted evidence of a kind about a digest.

    Raises:
        EvidenceUntrusted, MalformedDocument
    """
    verified = verify_bundle(bundle, policy, at=at)
    statement = verified.statement
    if not statement.about(digest):
        raise EvidenceUntrusted(f"it is about something else than {digest}")
    if statement.predicate_type != PREDICATE_TYPES[kind]:
        raise EvidenceUntrusted(f"it is a {statement.predicate_type[:100]}, not a {PREDICATE_TYPES[kind]}")
    if not passes(kind, statement.predicate):
        raise EvidenceUntrusted(f"its verdict as a {kind} is no")
    return verified


def _check_signature(envelope: Envelope, key: TrustedKey) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256

    for signature in envelope.signatures:
        try:
            key.public.verify(signature, envelope.signed_bytes, ECDSA(SHA256()))
        except InvalidSignature:
            continue
        return
    raise EvidenceUntrusted(f"the signature is not one of key {key.name} over this content")
