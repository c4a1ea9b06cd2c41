"""Bundles that go to a second store go there first."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.evidence.made import GOOD, REPOSITORY, new_signer, policy_of, push_subject

from shipgraph.attest import stage
from shipgraph.attest.stage import Intent, attest
from shipgraph.errors import RegistryUnavailable
from shipgraph.evidence.referrers import ReferrerVerifier
from shipgraph.evidence.requirements import Kind, Subject
from shipgraph.evidence.verify import verify_evidence
from shipgraph.store.memory import MemoryStore

if TYPE_CHECKING:
    from shipgraph.evidence.bundle import Bundle


class Flaky:
    """A second store that fails once."""

    def __init__(self) -> None:
        self.kept: list[Bundle] = []
        self.calls = 0

    async def publish(self, bundle: Bundle) -> None:
        self.calls += 1
        if self.calls == 1:
            raise RegistryUnavailable("no answer")
        self.kept.append(bundle)


async def test_what_is_attached_has_reached_the_second_store() -> None:
    store, also, signer = MemoryStore(), Flaky(), new_signer()
    manifest = await push_subject(store)
    subject = Subject("app", REPOSITORY, manifest.digest, frozenset({Kind.PROVENANCE}))
    intent = Intent(subject, manifest.descriptor, "app", Kind.PROVENANCE, lambda: GOOD[Kind.PROVENANCE][1])
    policy = policy_of(signer)

    async def once() -> int:
        verifier = ReferrerVerifier(store, policy)
        return len((await attest(store, [intent], signer=signer, verifier=verifier, policy=policy, also=also)).made)

    with pytest.raises(RegistryUnavailable):
        await once()
    assert not await ReferrerVerifier(store, policy)(subject, Kind.PROVENANCE)  # so the next run does it again
    assert await once() == 1
    assert await once() == 0
    assert len(also.kept) == 1


async def test_what_was_signed_is_checked_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first check of a keyless signature may read Sigstore's root of trust from the network."""
    store, signer = MemoryStore(), new_signer()
    manifest = await push_subject(store)
    subject = Subject("app", REPOSITORY, manifest.digest, frozenset({Kind.PROVENANCE}))
    intent = Intent(subject, manifest.descriptor, "app", Kind.PROVENANCE, lambda: GOOD[Kind.PROVENANCE][1])
    policy, where = policy_of(signer), []

    def checked(*arguments: Any, **more: Any) -> Any:
        where.append(threading.current_thread())
        return verify_evidence(*arguments, **more)

    monkeypatch.setattr(stage, "verify_evidence", checked)
    await attest(store, [intent], signer=signer, verifier=ReferrerVerifier(store, policy), policy=policy)
    assert where
    assert threading.current_thread() not in where
