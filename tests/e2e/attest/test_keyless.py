"""Keyless signing against mock authorities: one certificate for many statements; only the right identity counts."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest
from tests.unit.evidence.made import AMD64, ARM64, good

from shipgraph.attest.keyless import KeylessSigner
from shipgraph.evidence.bundle import parse_bundle
from shipgraph.evidence.refusals import EvidenceUntrusted, SigningFailed
from shipgraph.evidence.requirements import Kind
from shipgraph.evidence.trust import SignerRule
from shipgraph.evidence.verify import verify_evidence

from .authorities import IDENTITY, REF, WORKFLOW, Authorities

pytestmark = [pytest.mark.anyio, pytest.mark.real]


async def test_many_statements_cost_one_ceremony_and_verify(authorities: Authorities) -> None:
    signer = authorities.signer()
    before = authorities.certificates
    bundles = await signer.sign([good(Kind.GATE, AMD64), good(Kind.TEST, AMD64), good(Kind.GATE, ARM64)])
    assert authorities.certificates == before + 1
    assert [(bundle.log_entries, bundle.timestamps) for bundle in bundles] == [(1, 1)] * 3
    verified = verify_evidence(bundles[0], authorities.policy(IDENTITY), AMD64, Kind.GATE)
    assert verified.signer.claims is not None
    assert (verified.signer.claims.workflow, verified.signer.claims.ref) == (WORKFLOW, REF)
    verify_evidence(bundles[2], authorities.policy(IDENTITY), ARM64, Kind.GATE)
    SignerRule(refs=("refs/tags/v*",)).check(verified.signer)
    with pytest.raises(EvidenceUntrusted):
        SignerRule(refs=("refs/heads/main",)).check(verified.signer)


async def test_other_identities_subjects_and_bytes_are_refused(authorities: Authorities) -> None:
    (bundle,) = await authorities.signer().sign([good(Kind.GATE, AMD64)])
    for identity in (
        replace(IDENTITY, repository="https://github.com/acme/other"),
        replace(IDENTITY, workflow=".github/workflows/other.yml"),
        replace(IDENTITY, refs=("refs/heads/main",)),
        replace(IDENTITY, issuer="https://evil.example"),
    ):
        with pytest.raises(EvidenceUntrusted):
            verify_evidence(bundle, authorities.policy(identity), AMD64, Kind.GATE)
    with pytest.raises(EvidenceUntrusted, match="something else"):
        verify_evidence(bundle, authorities.policy(IDENTITY), ARM64, Kind.GATE)
    document = json.loads(bundle.raw)
    for swapped in (good(Kind.GATE, ARM64), good(Kind.TEST, AMD64)):
        document["dsseEnvelope"]["payload"] = base64.b64encode(swapped.raw).decode()
        forged = parse_bundle(json.dumps(document).encode(), where="it")
        with pytest.raises(EvidenceUntrusted, match="Sigstore refuses"):
            verify_evidence(forged, authorities.policy(IDENTITY), AMD64, Kind.GATE)


async def test_a_token_that_is_none_signs_nothing(authorities: Authorities) -> None:
    with pytest.raises(SigningFailed):
        await KeylessSigner(lambda: "nonsense", trust_config=authorities.trust).sign([good(Kind.GATE)])
