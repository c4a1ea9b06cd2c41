"""Somebody else's verifier, Node's ``@sigstore/verify``, accepts and refuses what ours does."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.real.tools import debian
from tests.unit.evidence.made import AMD64, ARM64, good, new_signer, policy_of

from shipgraph.errors import ShipgraphError
from shipgraph.evidence.bundle import Bundle, make_key_bundle, parse_bundle
from shipgraph.evidence.requirements import Kind
from shipgraph.evidence.verify import verify_evidence

from .node import node_modules

pytestmark = [pytest.mark.anyio, pytest.mark.real]

SCRIPT = Path(__file__).with_name("verify.mjs")
SIGNER = new_signer()


@pytest.fixture(scope="session")
def modules() -> Path:
    return node_modules()


def node(modules: Path, *bundles: bytes) -> list[str]:
    """What the other verifier says about each bundle's signature; it trusts ``SIGNER`` alone."""
    pem = f"-----BEGIN PUBLIC KEY-----\n{SIGNER.public_text}\n-----END PUBLIC KEY-----\n"
    cases = [json.loads(bundle) for bundle in bundles]
    done = subprocess.run(
        [debian("node"), SCRIPT],
        input=json.dumps({"publicKeys": {SIGNER.public.hint: pem}, "cases": cases}),
        env={**os.environ, "MODULES": str(modules)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said: list[str] = json.loads(done.stdout)
    return said


def ours(bundle: Bundle, digest: Any = AMD64, kind: Kind = Kind.GATE) -> str:
    """What our verifier says."""
    try:
        verify_evidence(bundle, policy_of(SIGNER), digest, kind)
    except ShipgraphError as error:
        return str(error)
    return "ok"


async def test_good_bundles_are_accepted_by_both(modules: Path) -> None:
    bundles = await SIGNER.sign([good(kind, AMD64) for kind in Kind])
    assert node(modules, *(bundle.raw for bundle in bundles)) == ["ok"] * len(bundles)
    assert [ours(bundle, kind=kind) for bundle, kind in zip(bundles, Kind, strict=True)] == ["ok"] * len(bundles)


async def test_forged_bundles_are_refused_by_both(modules: Path) -> None:
    (bundle,) = await SIGNER.sign([good(Kind.GATE, AMD64)])
    (foreign,) = await new_signer().sign([good(Kind.GATE, AMD64)])
    payload = bundle.envelope.payload
    swapped = payload.replace(AMD64.hex.encode(), ARM64.hex.encode())
    assert swapped != payload
    signature = bundle.envelope.signatures[0]
    hint = SIGNER.public.hint
    forged = {
        "one byte of the payload": replace(bundle.envelope, payload=payload[:-1] + b" "),
        "one byte of the signature": replace(
            bundle.envelope, signatures=(signature[:-1] + bytes([signature[-1] ^ 1]),)
        ),
        "another type": replace(bundle.envelope, payload_type="application/vnd.in-toto+jsom"),
        "a swapped platform": replace(bundle.envelope, payload=swapped),
        "another key under this one's name": foreign.envelope,
    }
    bundles = [foreign, *(make_key_bundle(envelope, hint) for envelope in forged.values())]
    said = node(modules, *(one.raw for one in bundles))
    assert all(answer != "ok" for answer in said), dict(zip(["another key", *forged], said, strict=True))
    assert all(ours(one) != "ok" for one in bundles)
    assert ours(make_key_bundle(forged["a swapped platform"], hint), ARM64) != "ok"


async def test_a_bundle_about_something_else_is_signed_well_and_still_no_evidence(modules: Path) -> None:
    (bundle,) = await SIGNER.sign([good(Kind.GATE, AMD64)])
    assert node(modules, bundle.raw) == ["ok"]
    assert "something else" in ours(bundle, ARM64)


async def test_both_read_a_bundle_that_was_written_anew(modules: Path) -> None:
    (bundle,) = await SIGNER.sign([good(Kind.GATE, AMD64)])
    again = json.dumps(json.loads(bundle.raw), indent=4, sort_keys=True).encode()
    assert node(modules, again) == ["ok"]
    assert ours(parse_bundle(again, where="it")) == "ok"
