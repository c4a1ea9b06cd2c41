"""``gh attestation verify`` accepts and refuses what we do: out of a file without a network, out of the registry."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

import anyio.to_thread
import pytest
from tests.unit.evidence.made import GOOD

from shipgraph.errors import ShipgraphError
from shipgraph.evidence.bundle import parse_bundle
from shipgraph.evidence.requirements import Kind
from shipgraph.evidence.statement import Statement, make_statement
from shipgraph.evidence.verify import verify_evidence

from .authorities import IDENTITY, REF, REPOSITORY, WORKFLOW, Authorities
from .foreign import Said, gh, node
from .forging import forgeries, keyless_forgeries

if TYPE_CHECKING:
    from pathlib import Path

    from shipgraph.oci.digest import Digest

    from .conftest import Shop

pytestmark = [pytest.mark.anyio, pytest.mark.real]


def about(digest: Digest, kind: Kind = Kind.PROVENANCE) -> Statement:
    """A good statement about something."""
    return make_statement([("registry.example/acme/demo", digest)], *GOOD[kind])


async def asked(*arguments: str | Path, home: Path, offline: bool = False, token: str = "") -> Said:
    """What gh says."""
    more = {"GH_TOKEN": token} if token else {}
    call = partial(gh, *arguments, "--custom-trusted-root", "trusted_root.jsonl", home=home, offline=offline, more=more)
    return await anyio.to_thread.run_sync(call)


def ours(raw: bytes, authorities: Authorities, digest: Digest) -> bool:
    """What we say."""
    try:
        verify_evidence(parse_bundle(raw, where="it"), authorities.policy(IDENTITY), digest, Kind.PROVENANCE)
    except ShipgraphError:
        return False
    return True


async def test_bundles_in_files_are_verified_without_a_network_and_an_account(
    shop: Shop, authorities: Authorities, other_authorities: Authorities, modules: Path, tmp_path: Path
) -> None:
    index, platforms = await shop.image("acme/demo")
    (tmp_path / "manifest.json").write_bytes(index.raw)
    (tmp_path / "trusted_root.jsonl").write_text(authorities.trusted_root)
    other = next(iter(platforms.values())).digest
    (good,) = await authorities.signer().sign([about(index.digest)])
    (foreign,) = await authorities.signer("acme/other").sign([about(index.digest)])
    (untrusted,) = await other_authorities.signer().sign([about(index.digest)])
    (swapped,) = await authorities.signer().sign([about(other)])
    signatures = {
        **forgeries(good.raw, foreign.raw, index.digest, other),
        **keyless_forgeries(good.raw, foreign.raw),
        "authorities that nobody trusts": untrusted.raw,
    }
    cases = {"good": good.raw, **signatures, "another subject": swapped.raw}
    accepted = {}
    for name, raw in cases.items():
        (tmp_path / "bundle.json").write_bytes(raw)
        arguments = ("manifest.json", "--bundle", "bundle.json", "--repo", REPOSITORY)
        said = await asked(*arguments, home=tmp_path, offline=True)
        accepted[name] = said.accepted, ours(raw, authorities, index.digest)
    assert accepted == {name: (name == "good", name == "good") for name in cases}
    # the third verifier judges signatures and signers only, so another subject's is good to it
    answers = node(modules, list(cases.values()), root=authorities.trusted_root)
    assert dict(zip(cases, (said == "ok" for said in answers), strict=True)) == {
        name: name not in signatures for name in cases
    }


async def test_evidence_is_found_in_any_registry(any_shop: Shop, authorities: Authorities, tmp_path: Path) -> None:
    index, platforms = await any_shop.image("acme/demo")
    (tmp_path / "trusted_root.jsonl").write_text(authorities.trusted_root)
    first, second = platforms.values()
    statements = [about(index.digest), about(first.digest), about(first.digest, Kind.GATE)]
    for bundle, manifest in zip(await authorities.signer().sign(statements), (index, first, first), strict=True):
        await any_shop.attach("acme/demo", bundle.raw, manifest.descriptor)

    async def from_registry(digest: Digest, *arguments: str) -> Said:
        # gh wants to see some token before it starts, though nothing here is asked of GitHub
        name = f"oci://{any_shop.address}/acme/demo@{digest}"
        return await asked(name, "--bundle-from-oci", *arguments, home=tmp_path, token="unused")

    for digest in (index.digest, first.digest):
        said = await from_registry(digest, "--repo", REPOSITORY, "--format", "json")
        assert said.accepted, said.text
        statement = json.loads(said.text)[0]["verificationResult"]["statement"]
        assert statement["subject"][0]["digest"] == {"sha256": digest.hex}
    gate = ("--predicate-type", "urn:shipgraph:gate:v1")
    assert (await from_registry(first.digest, "--repo", REPOSITORY, *gate)).accepted
    assert not (await from_registry(index.digest, "--repo", REPOSITORY, *gate)).accepted
    assert not (await from_registry(second.digest, "--repo", REPOSITORY)).accepted
    workflow = ("--signer-workflow", f"{REPOSITORY}/{WORKFLOW}", "--source-ref", REF)
    assert (await from_registry(index.digest, "--repo", REPOSITORY, *workflow)).accepted
    assert not (await from_registry(index.digest, "--repo", "acme/other")).accepted
    assert not (await from_registry(index.digest, "--repo", REPOSITORY, "--source-ref", "refs/heads/main")).accepted
