"""Keyless bundles through the attestation store: we and gh believe what comes back, and only if it is right."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import anyio.to_thread
import pytest
from tests.unit.evidence.made import GOOD

from shipgraph.embedded.ghcr.state import Ghcr
from shipgraph.embedded.serving import serve
from shipgraph.evidence.bundle import Bundle
from shipgraph.evidence.requirements import Kind
from shipgraph.evidence.statement import make_statement
from shipgraph.evidence.trust import SignerRule
from shipgraph.github.api import GitHubApi
from shipgraph.github.attestations import GitHubAttestations
from shipgraph.oci.digest import Digest
from shipgraph.store.disk import DiskStore

from .authorities import IDENTITY, REPOSITORY, Authorities
from .conftest import GHCR
from .foreign import gh

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.real]


async def test_what_comes_back_is_what_was_signed(authorities: Authorities, tmp_path: Path) -> None:
    content = b"what a release ships"
    digest = Digest.of(content)
    (tmp_path / "artifact").write_bytes(content)
    (tmp_path / "trusted_root.jsonl").write_text(authorities.trusted_root)
    statement = make_statement([("artifact", digest)], *GOOD[Kind.PROVENANCE])
    (good,) = await authorities.signer().sign([statement])
    (foreign,) = await authorities.signer("acme/other").sign([statement])
    ghcr = Ghcr(tmp_path / "root" / ".shipgraph", GHCR)
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(serve(DiskStore(tmp_path / "root"), ghcr=ghcr))
        api = await stack.enter_async_context(GitHubApi("ghs_release", base=f"http://{address}/api/v3"))
        store = GitHubAttestations(api, REPOSITORY)
        await store.publish(good)
        await store.publish(foreign)  # newer, and by nobody whom the project trusts
        found = await store.find(digest, Kind.PROVENANCE, authorities.policy(IDENTITY))
        assert found.verified is not None
        assert found.verified.signer.claims is not None
        main = SignerRule(refs=("refs/heads/main",))
        assert (await store.find(digest, Kind.PROVENANCE, authorities.policy(IDENTITY), rule=main)).verified is None
        others = authorities.policy(replace(IDENTITY, repository="https://github.com/acme/third"))
        nobody = await store.find(digest, Kind.PROVENANCE, others)
        assert nobody.verified is None
        assert len(nobody.reasons) == 2
        newest, oldest = await store.bundles(digest)
    accepted = {}
    for name, bundle in (("good", oldest), ("foreign", newest)):
        assert isinstance(bundle, Bundle)
        (tmp_path / "bundle.json").write_bytes(bundle.raw)
        ask = partial(
            gh, "artifact", "--bundle", "bundle.json", "--repo", REPOSITORY,
            "--custom-trusted-root", "trusted_root.jsonl", home=tmp_path, offline=True,
        )  # fmt: skip
        accepted[name] = (await anyio.to_thread.run_sync(ask)).accepted
    assert accepted == {"good": True, "foreign": False}
