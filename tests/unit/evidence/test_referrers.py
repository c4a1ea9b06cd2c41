"""Evidence in a registry: what is attached counts only where its signature, subject and verdict do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from shipgraph.errors import EvidenceMissing
from shipgraph.evidence.bundle import BUNDLE_TYPE, MAX_BUNDLE, make_key_bundle
from shipgraph.evidence.referrers import (
    ANNOTATION_PREDICATE,
    MOST_BUNDLES,
    ReferrerVerifier,
    attach_bundle,
    read_bundles,
)
from shipgraph.evidence.requirements import Kind, Subject, survey
from shipgraph.evidence.trust import SignerRule
from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.manifest import EMPTY_CONFIG, EMPTY_DESCRIPTOR, build_artifact
from shipgraph.store.content import from_bytes
from shipgraph.store.decorators.counted import Counted
from shipgraph.store.memory import MemoryStore

from .made import REPOSITORY, good, new_signer, policy_of, push_subject

if TYPE_CHECKING:
    from shipgraph.store.protocols import Store

pytestmark = pytest.mark.anyio

SIGNER = new_signer()


async def test_attached_evidence_is_found() -> None:
    store, subject = MemoryStore(), None
    subject = await push_subject(store)
    statement = good(Kind.GATE, subject.digest)
    (bundle,) = await SIGNER.sign([statement])
    digest = await attach_bundle(store, REPOSITORY, bundle, statement, subject.descriptor)
    (listed,) = await store.referrers(REPOSITORY, subject.digest, BUNDLE_TYPE)
    assert listed.digest == digest
    assert listed.annotations[ANNOTATION_PREDICATE] == statement.predicate_type
    assert [found async for found in read_bundles(store, REPOSITORY, subject.digest)] == [bundle]
    verifier = ReferrerVerifier(store, policy_of(SIGNER))
    wanted = Subject("app", REPOSITORY, subject.digest, frozenset({Kind.GATE, Kind.TEST}))
    found = await survey([wanted], ["gate", "test"], verifier)
    assert found.missing == {Kind.GATE: (), Kind.TEST: (wanted,), Kind.PROVENANCE: ()}
    with pytest.raises(EvidenceMissing, match="test of app"):
        found.check()


async def test_good_evidence_counts_beside_any_amount_of_bad() -> None:
    store = MemoryStore()
    subject, other = await push_subject(store), await push_subject(store, "other")
    statement = good(Kind.GATE, subject.digest)
    for signer in (new_signer(), SIGNER, new_signer()):
        (bundle,) = await signer.sign([statement])
        await attach_bundle(store, REPOSITORY, bundle, statement, subject.descriptor)
    about_other = good(Kind.GATE, other.digest)
    (bundle,) = await SIGNER.sign([about_other])
    await attach_bundle(store, REPOSITORY, bundle, about_other, subject.descriptor)
    await _attach_rubbish(store, subject.descriptor, b"rubbish")
    finding = await ReferrerVerifier(store, policy_of(SIGNER)).find(REPOSITORY, subject.digest, Kind.GATE)
    assert finding.verified is not None
    nobody = await ReferrerVerifier(store, policy_of(new_signer())).find(REPOSITORY, subject.digest, Kind.GATE)
    assert nobody.verified is None
    assert len(nobody.reasons) == 5


async def test_what_is_too_large_for_a_bundle_is_not_even_read() -> None:
    store = Counted(MemoryStore())
    subject = await push_subject(store)
    await _attach_rubbish(store, subject.descriptor, b"x" * (MAX_BUNDLE + 1))
    before = store.count("blob")
    finding = await ReferrerVerifier(store, policy_of(SIGNER)).find(REPOSITORY, subject.digest, Kind.GATE)
    assert finding.verified is None
    assert "more than a bundle may" in finding.reasons[0]
    assert store.count("blob") == before


async def test_no_more_bundles_are_read_than_there_may_honestly_be() -> None:
    store = Counted(MemoryStore())
    subject = await push_subject(store)
    for number in range(MOST_BUNDLES + 20):
        await _attach_rubbish(store, subject.descriptor, f"rubbish {number}".encode())
    before = store.count("blob")
    finding = await ReferrerVerifier(store, policy_of(SIGNER)).find(REPOSITORY, subject.digest, Kind.GATE)
    assert finding.verified is None
    assert store.count("blob") - before == len(finding.reasons) == MOST_BUNDLES


async def test_evidence_copied_to_another_platform_does_not_count() -> None:
    store = MemoryStore()
    amd64, arm64 = await push_subject(store, "amd64"), await push_subject(store, "arm64")
    statement = good(Kind.TEST, amd64.digest)
    (bundle,) = await SIGNER.sign([statement])
    await attach_bundle(store, REPOSITORY, bundle, statement, arm64.descriptor)
    finding = await ReferrerVerifier(store, policy_of(SIGNER)).find(REPOSITORY, arm64.digest, Kind.TEST)
    assert finding.verified is None
    assert "something else" in finding.reasons[0]


async def test_a_wrong_label_is_no_evidence_and_none_is_no_hindrance() -> None:
    store = MemoryStore()
    subject = await push_subject(store)
    statement = good(Kind.TEST, subject.digest)
    (bundle,) = await SIGNER.sign([statement])
    verifier = ReferrerVerifier(store, policy_of(SIGNER))
    await attach_bundle(store, REPOSITORY, bundle, good(Kind.GATE, subject.digest), subject.descriptor)
    assert (await verifier.find(REPOSITORY, subject.digest, Kind.GATE)).verified is None
    assert (await verifier.find(REPOSITORY, subject.digest, Kind.TEST)).verified is None
    await _attach_rubbish(store, subject.descriptor, bundle.raw)  # without a label
    assert (await verifier.find(REPOSITORY, subject.digest, Kind.TEST)).verified is not None


async def test_a_rule_narrows_who_may_sign() -> None:
    store = MemoryStore()
    subject = await push_subject(store)
    statement = good(Kind.PROVENANCE, subject.digest)
    (bundle,) = await SIGNER.sign([statement])
    await attach_bundle(store, REPOSITORY, bundle, statement, subject.descriptor)
    for rule, ok in ((SignerRule(keys=("release",)), True), (SignerRule(keys=("other",)), False)):
        verifier = ReferrerVerifier(store, policy_of(SIGNER), rule=rule)
        found = await verifier.find(REPOSITORY, subject.digest, Kind.PROVENANCE)
        assert (found.verified is not None) == ok


async def test_an_unsigned_statement_is_no_evidence() -> None:
    store = MemoryStore()
    subject = await push_subject(store)
    statement = good(Kind.GATE, subject.digest)
    (bundle,) = await SIGNER.sign([statement])
    bare = make_key_bundle(
        type(bundle.envelope)(bundle.envelope.payload_type, statement.raw, (b"",)), SIGNER.public.hint
    )
    await attach_bundle(store, REPOSITORY, bare, statement, subject.descriptor)
    assert not await ReferrerVerifier(store, policy_of(SIGNER))(
        Subject("app", REPOSITORY, subject.digest, frozenset({Kind.GATE})), Kind.GATE
    )


async def _attach_rubbish(store: Store, subject: Descriptor, content: bytes) -> None:
    layer = Descriptor.of(BUNDLE_TYPE, content)
    await store.push_blob(REPOSITORY, EMPTY_DESCRIPTOR, from_bytes(EMPTY_CONFIG))
    await store.push_blob(REPOSITORY, layer, from_bytes(content))
    await store.push_manifest(REPOSITORY, build_artifact(BUNDLE_TYPE, [layer], subject=subject))
