"""What counts as evidence, and every reason why something doesn't."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from shipgraph.errors import ConfigurationError, ShipgraphError
from shipgraph.evidence.bundle import make_key_bundle, parse_bundle
from shipgraph.evidence.envelope import Envelope
from shipgraph.evidence.predicates import PREDICATE_TYPES, passes, verdict_of_tests
from shipgraph.evidence.refusals import EvidenceUntrusted
from shipgraph.evidence.requirements import Kind
from shipgraph.evidence.statement import make_statement
from shipgraph.evidence.trust import Claims, Identity, SignedBy, SignerRule, TrustedKey, TrustPolicy
from shipgraph.evidence.verify import verify_evidence

from .made import AMD64, ARM64, GOOD, good, new_signer, policy_of

pytestmark = pytest.mark.anyio

SIGNER = new_signer()
POLICY = policy_of(SIGNER)


@pytest.mark.parametrize("kind", Kind)
async def test_good_evidence_counts(kind: Kind) -> None:
    (bundle,) = await SIGNER.sign([good(kind, AMD64)])
    verified = verify_evidence(bundle, POLICY, AMD64, kind)
    assert verified.signer.key == SIGNER.public


async def test_one_ceremony_signs_many_statements() -> None:
    statements = [good(Kind.GATE, AMD64), good(Kind.TEST, ARM64)]
    bundles = await SIGNER.sign(statements)
    assert [bundle.envelope.payload for bundle in bundles] == [statement.raw for statement in statements]


async def test_the_same_statement_makes_the_same_bundle() -> None:
    assert await SIGNER.sign([good(Kind.GATE)]) == await SIGNER.sign([good(Kind.GATE)])


async def test_another_key_is_refused() -> None:
    (bundle,) = await new_signer().sign([good(Kind.GATE)])
    with pytest.raises(EvidenceUntrusted, match="doesn't trust"):
        verify_evidence(bundle, POLICY, AMD64, Kind.GATE)


async def test_another_key_with_a_trusted_ones_hint_is_refused() -> None:
    (bundle,) = await new_signer().sign([good(Kind.GATE)])
    forged = make_key_bundle(bundle.envelope, SIGNER.public.hint)
    with pytest.raises(EvidenceUntrusted, match="signature"):
        verify_evidence(forged, POLICY, AMD64, Kind.GATE)


@pytest.mark.parametrize("digest", [ARM64], ids=["the other platform"])
async def test_another_subject_is_refused(digest: Any) -> None:
    (bundle,) = await SIGNER.sign([good(Kind.GATE, AMD64)])
    with pytest.raises(EvidenceUntrusted, match="something else"):
        verify_evidence(bundle, POLICY, digest, Kind.GATE)


async def test_every_changed_byte_is_refused() -> None:
    (bundle,) = await SIGNER.sign([good(Kind.TEST)])
    payload, signature = bundle.envelope.payload, bundle.envelope.signatures[0]
    for position in range(len(payload)):
        changed = payload[:position] + bytes([payload[position] ^ 1]) + payload[position + 1 :]
        forged = make_key_bundle(replace(bundle.envelope, payload=changed), SIGNER.public.hint)
        with pytest.raises(EvidenceUntrusted, match="signature"):
            verify_evidence(forged, POLICY, AMD64, Kind.TEST)
    for position in range(len(signature)):
        changed = signature[:position] + bytes([signature[position] ^ 1]) + signature[position + 1 :]
        forged = make_key_bundle(replace(bundle.envelope, signatures=(changed,)), SIGNER.public.hint)
        with pytest.raises(EvidenceUntrusted, match="signature"):
            verify_evidence(forged, POLICY, AMD64, Kind.TEST)


async def test_another_payload_type_is_refused() -> None:
    (bundle,) = await SIGNER.sign([good(Kind.TEST)])
    forged = make_key_bundle(replace(bundle.envelope, payload_type="application/json"), SIGNER.public.hint)
    with pytest.raises(EvidenceUntrusted, match="not an in-toto statement"):
        verify_evidence(forged, POLICY, AMD64, Kind.TEST)


@pytest.mark.parametrize("wanted", [Kind.GATE, Kind.PROVENANCE])
async def test_another_kind_is_refused(wanted: Kind) -> None:
    (bundle,) = await SIGNER.sign([good(Kind.TEST)])
    with pytest.raises(EvidenceUntrusted, match="not a"):
        verify_evidence(bundle, POLICY, AMD64, wanted)


async def test_a_signed_no_is_no_evidence() -> None:
    verdict = verdict_of_tests(passed=["a"], warned=[], failed=["b"], configuration=[])
    (bundle,) = await SIGNER.sign([make_statement([("app", AMD64)], PREDICATE_TYPES[Kind.TEST], verdict)])
    with pytest.raises(EvidenceUntrusted, match="verdict"):
        verify_evidence(bundle, POLICY, AMD64, Kind.TEST)


async def test_nobody_is_trusted_by_default() -> None:
    (bundle,) = await SIGNER.sign([good(Kind.GATE)])
    with pytest.raises(EvidenceUntrusted):
        verify_evidence(bundle, TrustPolicy(), AMD64, Kind.GATE)
    document = json.loads(bundle.raw)
    document["verificationMaterial"] = {"certificate": {"rawBytes": "AAAA"}}
    with pytest.raises(EvidenceUntrusted, match="no identity"):
        verify_evidence(parse_bundle(json.dumps(document).encode(), where="it"), POLICY, AMD64, Kind.GATE)


async def test_a_certificate_that_sigstore_refuses_is_refused() -> None:
    (bundle,) = await SIGNER.sign([good(Kind.GATE)])
    document = json.loads(bundle.raw)
    document["verificationMaterial"] = {"certificate": {"rawBytes": "AAAA"}, "tlogEntries": []}
    policy = TrustPolicy(identities=(Identity("https://github.com/acme/demo"),), offline=True)
    with pytest.raises(ShipgraphError):
        verify_evidence(parse_bundle(json.dumps(document).encode(), where="it"), policy, AMD64, Kind.GATE)


@pytest.mark.parametrize(
    ("at", "ok"),
    [
        ("2025-12-31T23:59:59", False),
        ("2026-01-01T00:00:00", True),
        ("2026-12-31T23:59:59", True),
        ("2027-01-01", False),
    ],
)
async def test_a_key_counts_between_its_dates(at: str, ok: bool) -> None:
    key = replace(SIGNER.public, since=datetime(2026, 1, 1, tzinfo=UTC), until=datetime(2027, 1, 1, tzinfo=UTC))
    (bundle,) = await SIGNER.sign([good(Kind.GATE)])
    moment = datetime.fromisoformat(at).replace(tzinfo=UTC)
    if ok:
        verify_evidence(bundle, TrustPolicy(keys=(key,)), AMD64, Kind.GATE, at=moment)
    else:
        with pytest.raises(EvidenceUntrusted, match=r"counts only from|counted only until"):
            verify_evidence(bundle, TrustPolicy(keys=(key,)), AMD64, Kind.GATE, at=moment)


@pytest.mark.parametrize(
    ("kind", "predicate"),
    [
        (Kind.TEST, {}),
        (Kind.TEST, {"result": "PASSED"}),
        (Kind.TEST, {"result": "PASSED", "passedTests": []}),
        (Kind.TEST, {"result": "FAILED", "passedTests": ["a"]}),
        (Kind.TEST, {"result": "PASSED", "passedTests": ["a"], "failedTests": ["b"]}),
        (Kind.TEST, {"result": "PASSED", "passedTests": ["a"], "failedTests": "b"}),
        (Kind.TEST, verdict_of_tests(passed=[], warned=[], failed=[], configuration=[])),
        (Kind.GATE, {}),
        (Kind.GATE, {**GOOD[Kind.GATE][1], "result": "FAILED"}),
        (Kind.GATE, {**GOOD[Kind.GATE][1], "scanned": {"blobs": 0}}),
        (Kind.GATE, {**GOOD[Kind.GATE][1], "scanned": None}),
        (Kind.PROVENANCE, {}),
        (Kind.PROVENANCE, {"buildDefinition": {"buildType": "x"}, "runDetails": {}}),
        (Kind.PROVENANCE, {"buildDefinition": [], "runDetails": {"builder": {"id": "x"}}}),
    ],
    ids=str,
)
def test_what_says_nothing_says_no(kind: Kind, predicate: dict[str, Any]) -> None:
    assert not passes(kind, predicate)
    assert passes(kind, GOOD[kind][1])


CLAIMS = Claims(
    issuer="https://token.actions.githubusercontent.com",
    subject="https://github.com/acme/demo/.github/workflows/release.yml@refs/tags/v1",
    repository="https://github.com/acme/demo",
    workflow=".github/workflows/release.yml",
    ref="refs/tags/v1",
)
NOW = datetime(2026, 11, 25, tzinfo=UTC)


def test_an_identity_is_an_issuer_a_repository_and_a_workflow() -> None:
    identity = Identity("https://github.com/Acme/demo", ".github/workflows/release.yml")
    assert TrustPolicy(identities=(identity,)).find_identity(CLAIMS, NOW) == identity
    for wrong in (
        replace(CLAIMS, issuer="https://evil.example"),
        replace(CLAIMS, repository="https://github.com/acme/demo2"),
        replace(CLAIMS, repository=""),
        replace(CLAIMS, workflow=".github/workflows/other.yml"),
    ):
        with pytest.raises(EvidenceUntrusted):
            TrustPolicy(identities=(identity,)).find_identity(wrong, NOW)
    ended = replace(identity, until=NOW)
    with pytest.raises(EvidenceUntrusted, match="until"):
        TrustPolicy(identities=(ended,)).find_identity(CLAIMS, NOW)
    assert TrustPolicy(identities=(ended, identity)).find_identity(CLAIMS, NOW) == identity


def test_a_channels_rule_binds_refs_and_keys() -> None:
    by_ref, by_key = SignedBy("workflow", claims=CLAIMS), SignedBy("key release", key=SIGNER.public)
    SignerRule(refs=("refs/tags/v*", "refs/heads/main")).check(by_ref)
    SignerRule().check(by_ref)
    SignerRule().check(by_key)
    SignerRule(refs=("refs/tags/v*",)).check(by_key)  # a key has no ref; `keys` restricts keys
    SignerRule(keys=("release",)).check(by_key)
    for rule, signer in (
        (SignerRule(refs=("refs/heads/main",)), by_ref),
        (SignerRule(keys=()), by_key),
        (SignerRule(keys=("other",)), by_key),
        (SignerRule(refs=("refs/tags/v*",)), SignedBy("workflow", claims=replace(CLAIMS, ref=""))),
    ):
        with pytest.raises(EvidenceUntrusted):
            rule.check(signer)


def test_public_keys_are_read_as_one_line_or_as_pem() -> None:
    text = SIGNER.public_text
    assert TrustedKey.parse("release", text) == SIGNER.public
    assert (
        TrustedKey.parse("release", f"-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n") == SIGNER.public
    )
    for wrong in ("", "!", "AAAA", text[:-8]):
        with pytest.raises(ConfigurationError):
            TrustedKey.parse("release", wrong)


def test_an_envelope_may_have_more_signatures_than_one() -> None:
    envelope = Envelope("application/vnd.in-toto+json", good(Kind.GATE).raw, (b"nonsense", b""))
    with pytest.raises(EvidenceUntrusted, match="signature"):
        verify_evidence(make_key_bundle(envelope, SIGNER.public.hint), POLICY, AMD64, Kind.GATE)
