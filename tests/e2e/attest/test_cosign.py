"""cosign finds our evidence in any registry, and accepts and refuses what we do: by key, and by identity."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

import anyio.to_thread
import pytest
from tests.unit.evidence.made import GOOD, new_signer, policy_of

from shipgraph.evidence.predicates import PREDICATE_TYPES
from shipgraph.evidence.referrers import ReferrerVerifier
from shipgraph.evidence.requirements import Kind
from shipgraph.evidence.statement import Statement, make_statement

from .authorities import IDENTITY, Authorities
from .foreign import Said, cosign, identity, write_key
from .forging import forgeries, keyless_forgeries

if TYPE_CHECKING:
    from pathlib import Path

    from shipgraph.attest.key import KeySigner
    from shipgraph.evidence.trust import TrustPolicy
    from shipgraph.oci.digest import Digest

    from .conftest import Shop

pytestmark = [pytest.mark.anyio, pytest.mark.real]


def about(digest: Digest, kind: Kind = Kind.PROVENANCE) -> Statement:
    """A good statement about something."""
    return make_statement([("registry.example/acme/demo", digest)], *GOOD[kind])


async def by_key(shop: Shop, signer: KeySigner, subject: str, home: Path, kind: Kind = Kind.PROVENANCE) -> Said:
    """What cosign says about evidence in the registry; a key's is in no log."""
    verify = partial(
        cosign, "verify-attestation", "--key", write_key(signer, home), "--insecure-ignore-tlog", home=home
    )
    return await anyio.to_thread.run_sync(partial(verify, "--type", PREDICATE_TYPES[kind], f"{shop.address}/{subject}"))


async def ours(shop: Shop, policy: TrustPolicy, repository: str, digest: Digest) -> bool:
    """What we say."""
    verifier = ReferrerVerifier(shop.store, policy)
    return (await verifier.find(repository, digest, Kind.PROVENANCE)).verified is not None


async def test_evidence_of_every_kind_is_found_in_any_registry(any_shop: Shop, tmp_path: Path) -> None:
    signer = new_signer()
    index, platforms = await any_shop.image("acme/demo")
    for manifest, kinds in ((index, [Kind.PROVENANCE]), *((one, list(Kind)) for one in platforms.values())):
        for bundle in await signer.sign([about(manifest.digest, kind) for kind in kinds]):
            await any_shop.attach("acme/demo", bundle.raw, manifest.descriptor)
        for kind in kinds:
            said = await by_key(any_shop, signer, f"acme/demo@{manifest.digest}", tmp_path, kind)
            assert said.accepted, said.text
        assert await ours(any_shop, policy_of(signer), "acme/demo", manifest.digest)
    said = await by_key(any_shop, signer, f"acme/demo@{index.digest}", tmp_path, Kind.GATE)
    assert not said.accepted, "the index has no gate of its own"


async def test_forgeries_by_key_are_refused(shop: Shop, tmp_path: Path) -> None:
    signer = new_signer()
    index, platforms = await shop.image("acme/good")
    amd64, arm64 = (
        platforms["linux/amd64"],
        platforms["linux/arm64/v8" if "linux/arm64/v8" in platforms else "linux/arm64"],
    )
    (good,) = await signer.sign([about(amd64.digest)])
    (foreign,) = await new_signer().sign([about(amd64.digest)])
    (swapped,) = await signer.sign([about(arm64.digest)])
    (of_the_index,) = await signer.sign([about(index.digest)])
    cases = {
        **forgeries(good.raw, foreign.raw, amd64.digest, arm64.digest),
        "the other platform's": swapped.raw,
        "the index's": of_the_index.raw,
    }
    accepted: dict[str, tuple[bool, bool]] = {}
    for number, (name, raw) in enumerate(cases.items()):
        repository = f"acme/bad-{number}"
        await shop.image(repository)
        await shop.attach(repository, raw, amd64.descriptor)
        said = await by_key(shop, signer, f"{repository}@{amd64.digest}", tmp_path)
        accepted[name] = said.accepted, await ours(shop, policy_of(signer), repository, amd64.digest)
    assert accepted == dict.fromkeys(cases, (False, False))
    await shop.attach("acme/good", good.raw, amd64.descriptor)
    assert (await by_key(shop, signer, f"acme/good@{amd64.digest}", tmp_path)).accepted


async def test_by_identity_in_any_registry(any_shop: Shop, authorities: Authorities, tmp_path: Path) -> None:
    index, _ = await any_shop.image("acme/demo")
    (bundle,) = await authorities.signer().sign([about(index.digest)])
    await any_shop.attach("acme/demo", bundle.raw, index.descriptor)
    root = tmp_path / "trusted_root.json"
    root.write_text(authorities.trusted_root)
    name = f"{any_shop.address}/acme/demo@{index.digest}"
    verify = partial(cosign, "verify-attestation", "--type", "slsaprovenance1", home=tmp_path)
    said = await anyio.to_thread.run_sync(partial(verify, *identity(root), name))
    assert said.accepted, said.text
    other = [str(word).replace("acme/demo", "acme/other") for word in identity(root)]
    assert not (await anyio.to_thread.run_sync(partial(verify, *other, name))).accepted
    assert await ours(any_shop, authorities.policy(IDENTITY), "acme/demo", index.digest)


async def test_bundles_in_files_are_verified_without_a_network(
    shop: Shop, authorities: Authorities, other_authorities: Authorities, tmp_path: Path
) -> None:
    index, platforms = await shop.image("acme/demo")
    (tmp_path / "manifest.json").write_bytes(index.raw)
    root = tmp_path / "trusted_root.json"
    root.write_text(authorities.trusted_root)
    other = next(iter(platforms.values())).digest
    (good,) = await authorities.signer().sign([about(index.digest)])
    (foreign,) = await authorities.signer("acme/other").sign([about(index.digest)])
    (untrusted,) = await other_authorities.signer().sign([about(index.digest)])
    (swapped,) = await authorities.signer().sign([about(other)])
    cases = {
        "good": good.raw,
        **forgeries(good.raw, foreign.raw, index.digest, other),
        **keyless_forgeries(good.raw, foreign.raw),
        "authorities that nobody trusts": untrusted.raw,
        "another subject": swapped.raw,
    }
    accepted = {}
    for name, raw in cases.items():
        (tmp_path / "bundle.json").write_bytes(raw)
        said = await anyio.to_thread.run_sync(
            partial(
                cosign,
                *("verify-blob-attestation", "--bundle", "bundle.json", "--type", "slsaprovenance1"),
                *(*identity(root), "manifest.json"),
                home=tmp_path,
                offline=True,
            )
        )
        accepted[name] = said.accepted
    assert accepted == {name: name == "good" for name in cases}


async def test_a_keys_bundles_in_files_are_verified_without_a_network(shop: Shop, tmp_path: Path) -> None:
    signer = new_signer()
    key = write_key(signer, tmp_path)
    index, platforms = await shop.image("acme/demo")
    (tmp_path / "manifest.json").write_bytes(index.raw)
    other = next(iter(platforms.values())).digest
    (good,) = await signer.sign([about(index.digest)])
    (foreign,) = await new_signer().sign([about(index.digest)])
    (swapped,) = await signer.sign([about(other)])
    cases = {
        "good": good.raw,
        **forgeries(good.raw, foreign.raw, index.digest, other),
        "another subject": swapped.raw,
    }
    verify = ("verify-blob-attestation", "--bundle", "bundle.json", "--type", "slsaprovenance1")
    accepted = {}
    for name, raw in cases.items():
        (tmp_path / "bundle.json").write_bytes(raw)
        arguments = (*verify, "--key", key, "--insecure-ignore-tlog", "manifest.json")
        said = await anyio.to_thread.run_sync(partial(cosign, *arguments, home=tmp_path, offline=True))
        accepted[name] = said.accepted
    assert accepted == {name: name == "good" for name in cases}


async def test_what_is_in_the_registry_is_what_cosign_downloads(shop: Shop, tmp_path: Path) -> None:
    signer = new_signer()
    index, _ = await shop.image("acme/demo")
    (bundle,) = await signer.sign([about(index.digest)])
    await shop.attach("acme/demo", bundle.raw, index.descriptor)
    name = f"{shop.address}/acme/demo@{index.digest}"
    said = await anyio.to_thread.run_sync(partial(cosign, "download", "attestation", name, home=tmp_path))
    assert said.accepted, said.text
    assert json.loads(said.text)["dsseEnvelope"] == json.loads(bundle.raw)["dsseEnvelope"]
