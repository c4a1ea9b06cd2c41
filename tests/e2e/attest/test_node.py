"""Somebody else's verifier, Node's ``@sigstore/verify``, accepts and refuses what ours does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.evidence.made import AMD64, ARM64, good, new_signer, policy_of

from shipgraph.errors import ShipgraphError
from shipgraph.evidence.bundle import Bundle, parse_bundle
from shipgraph.evidence.requirements import Kind
from shipgraph.evidence.verify import verify_evidence

from .foreign import node
from .forging import forgeries

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.real]

SIGNER = new_signer()


def ours(bundle: Bundle, digest: Any = AMD64, kind: Kind = Kind.GATE) -> str:
    """What our verifier says."""
    try:
        verify_evidence(bundle, policy_of(SIGNER), digest, kind)
    except ShipgraphError as error:
        return str(error)
    return "ok"


async def test_good_bundles_are_accepted_by_both(modules: Path) -> None:
    bundles = await SIGNER.sign([good(kind, AMD64) for kind in Kind])
    assert node(modules, [bundle.raw for bundle in bundles], signer=SIGNER) == ["ok"] * len(bundles)
    assert [ours(bundle, kind=kind) for bundle, kind in zip(bundles, Kind, strict=True)] == ["ok"] * len(bundles)


async def test_forged_bundles_are_refused_by_both(modules: Path) -> None:
    (bundle,) = await SIGNER.sign([good(Kind.GATE, AMD64)])
    (foreign,) = await new_signer().sign([good(Kind.GATE, AMD64)])
    cases = forgeries(bundle.raw, foreign.raw, AMD64, ARM64)
    said = node(modules, list(cases.values()), signer=SIGNER)
    assert all(answer != "ok" for answer in said), dict(zip(cases, said, strict=True))
    for raw in cases.values():
        assert ours(parse_bundle(raw, where="it")) != "ok"
        assert ours(parse_bundle(raw, where="it"), ARM64) != "ok"


async def test_a_bundle_about_something_else_is_signed_well_and_still_no_evidence(modules: Path) -> None:
    (bundle,) = await SIGNER.sign([good(Kind.GATE, AMD64)])
    assert node(modules, [bundle.raw], signer=SIGNER) == ["ok"]
    assert "something else" in ours(bundle, ARM64)


async def test_both_read_a_bundle_that_was_written_anew(modules: Path) -> None:
    (bundle,) = await SIGNER.sign([good(Kind.GATE, AMD64)])
    again = json.dumps(json.loads(bundle.raw), indent=4, sort_keys=True).encode()
    assert node(modules, [again], signer=SIGNER) == ["ok"]
    assert ours(parse_bundle(again, where="it")) == "ok"
