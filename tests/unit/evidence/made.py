"""Things to sign and who signs them, for tests of evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from shipgraph.attest.key import KeySigner
from shipgraph.evidence.predicates import GATE, PROVENANCE, TEST_RESULT, gate_verdict, verdict_of_tests
from shipgraph.evidence.requirements import Kind
from shipgraph.evidence.statement import Statement, make_statement
from shipgraph.evidence.trust import TrustPolicy
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import EMPTY_CONFIG, EMPTY_DESCRIPTOR, build_artifact
from shipgraph.store.content import from_bytes

if TYPE_CHECKING:
    from typing import Any

    from shipgraph.oci.manifest import ImageManifest
    from shipgraph.store.protocols import Store

REPOSITORY = "acme/demo-app"
AMD64, ARM64 = Digest.of(b"the image for amd64"), Digest.of(b"the image for arm64")
GOOD: dict[Kind, tuple[str, dict[str, Any]]] = {
    Kind.PROVENANCE: (
        PROVENANCE,
        {
            "buildDefinition": {"buildType": "urn:shipgraph:build:v1", "externalParameters": {}},
            "runDetails": {"builder": {"id": "urn:shipgraph:builder:local"}},
        },
    ),
    Kind.TEST: (TEST_RESULT, verdict_of_tests(passed=["squid -v"], warned=[], failed=[], configuration=[])),
    Kind.GATE: (
        GATE,
        gate_verdict(
            scanner="kingfisher",
            version="1.5.0",
            rules="7",
            passed=True,
            finished_on="2026-11-25T00:00:00Z",
            blobs=3,
            size=100,
            findings={},
        ),
    ),
}


def new_signer(name: str = "release") -> KeySigner:
    """A key that was just made."""
    return KeySigner(generate_private_key(SECP256R1()), name)


def policy_of(*signers: KeySigner) -> TrustPolicy:
    """Trust in exactly these keys."""
    return TrustPolicy(keys=tuple(signer.public for signer in signers))


def good(kind: Kind, *digests: Digest) -> Statement:
    """A statement of a kind that says yes."""
    return make_statement([("app", digest) for digest in digests or (AMD64,)], *GOOD[kind])


async def push_subject(store: Store, name: str = "app", repository: str = REPOSITORY) -> ImageManifest:
    """Something in a registry that evidence can be about."""
    await store.push_blob(repository, EMPTY_DESCRIPTOR, from_bytes(EMPTY_CONFIG))
    manifest = build_artifact("application/vnd.example", [], annotations={"name": name})
    await store.push_manifest(repository, manifest)
    return manifest
