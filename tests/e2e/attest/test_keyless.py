"""Keyless signing against mock authorities: one certificate for many statements; only the right identity counts."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.request
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import jwt
import pytest
from tests.real.tools import debian
from tests.unit.evidence.made import AMD64, ARM64, good

from shipgraph.attest.keyless import KeylessSigner
from shipgraph.evidence.bundle import parse_bundle
from shipgraph.evidence.refusals import EvidenceUntrusted, SigningFailed
from shipgraph.evidence.requirements import Kind
from shipgraph.evidence.trust import Identity, SignerRule, TrustPolicy
from shipgraph.evidence.verify import verify_evidence

from .node import node_modules

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.anyio, pytest.mark.real]

REPOSITORY, WORKFLOW, REF = "acme/demo", ".github/workflows/release.yml", "refs/tags/v1.0.0"
IDENTITY = Identity(f"https://github.com/{REPOSITORY}", WORKFLOW, ("refs/tags/*",))


@dataclass(frozen=True)
class Authorities:
    """Where the mock authorities are, and the configuration that trusts them."""

    address: str
    trust: str

    @property
    def certificates(self) -> int:
        """How many certificates were given out: ceremonies."""
        with urllib.request.urlopen(f"{self.address}/certificates") as answer:
            return int(answer.read())

    def policy(self, *identities: Identity) -> TrustPolicy:
        """Trust in these authorities and identities."""
        return TrustPolicy(identities=identities, trust_config=self.trust)


@pytest.fixture(scope="module")
def authorities() -> Iterator[Authorities]:
    modules = node_modules()
    script = Path(__file__).with_name("mock.mjs")
    environment = {**os.environ, "MODULES": str(modules)}
    with subprocess.Popen([debian("node"), script], stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout is not None
        try:
            found = json.loads(process.stdout.readline())
            yield Authorities(found["address"], json.dumps(found["trust"]))
        finally:
            process.terminate()


def token() -> str:
    """What GitHub gives a job, signed by nobody that the mock would ask."""
    now = int(time.time())
    claims = {
        "iss": "https://token.actions.githubusercontent.com",
        "sub": f"https://github.com/{REPOSITORY}/{WORKFLOW}@{REF}",
        "aud": "sigstore",
        "iat": now,
        "nbf": now,
        "exp": now + 300,
        "repository": REPOSITORY,
        "ref": REF,
    }
    return jwt.encode(claims, "a secret that nobody checks, of some length", algorithm="HS256")


async def test_many_statements_cost_one_ceremony_and_verify(authorities: Authorities) -> None:
    signer = KeylessSigner(token, trust_config=authorities.trust)
    before = authorities.certificates
    bundles = await signer.sign([good(Kind.GATE, AMD64), good(Kind.TEST, AMD64), good(Kind.GATE, ARM64)])
    assert authorities.certificates == before + 1
    verified = verify_evidence(bundles[0], authorities.policy(IDENTITY), AMD64, Kind.GATE)
    assert verified.signer.claims is not None
    assert (verified.signer.claims.workflow, verified.signer.claims.ref) == (WORKFLOW, REF)
    verify_evidence(bundles[2], authorities.policy(IDENTITY), ARM64, Kind.GATE)
    SignerRule(refs=("refs/tags/v*",)).check(verified.signer)
    with pytest.raises(EvidenceUntrusted):
        SignerRule(refs=("refs/heads/main",)).check(verified.signer)


async def test_other_identities_subjects_and_bytes_are_refused(authorities: Authorities) -> None:
    (bundle,) = await KeylessSigner(token, trust_config=authorities.trust).sign([good(Kind.GATE, AMD64)])
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
        import base64

        document["dsseEnvelope"]["payload"] = base64.b64encode(swapped.raw).decode()
        forged = parse_bundle(json.dumps(document).encode(), where="it")
        with pytest.raises(EvidenceUntrusted, match="Sigstore refuses"):
            verify_evidence(forged, authorities.policy(IDENTITY), AMD64, Kind.GATE)


async def test_a_token_that_is_none_signs_nothing(authorities: Authorities) -> None:
    with pytest.raises(SigningFailed):
        await KeylessSigner(lambda: "nonsense", trust_config=authorities.trust).sign([good(Kind.GATE)])
