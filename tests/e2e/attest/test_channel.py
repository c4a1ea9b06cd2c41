"""A consumer of a keyless channel believes the project's own workflow, where the channel lets it sign, and no other."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.unit.consume.test_pull import Scene
from tests.unit.engine.world import make_world
from tests.unit.evidence.made import new_signer

from shipgraph.evidence.refusals import EvidenceUntrusted
from shipgraph.evidence.trust import SignerRule

from .authorities import IDENTITY, REF, REPOSITORY, WORKFLOW, Authorities

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.real]

ANY_REF = replace(IDENTITY, refs=())


@pytest.fixture
async def scene(tmp_path: Path, authorities: Authorities) -> Scene:
    found = Scene(make_world(tmp_path / "demo"), tmp_path / "consumer", new_signer())
    found.place.mkdir()
    await found.publish()
    found.policy, found.rule = authorities.policy(ANY_REF), SignerRule(refs=("refs/tags/v*",))
    return found


async def test_the_projects_own_workflow_is_believed(scene: Scene, authorities: Authorities) -> None:
    digest = await scene.forge(signer=authorities.signer(), version="v1.0.0")
    believed = await scene.believe()
    assert (believed.digest, believed.metadata.version) == (digest, "v1.0.0")
    assert believed.signer.claims is not None
    assert believed.signer.claims.repository == f"https://github.com/{REPOSITORY}"


async def test_a_release_of_another_repository_is_not(scene: Scene, authorities: Authorities) -> None:
    for repository in ("acme/demo-fork", "evil/demo", "acme/demo.evil"):
        await scene.forge(signer=authorities.signer(repository), version=repository.replace("/", "-"))
        with pytest.raises(EvidenceUntrusted, match=f"signed by https://github.com/{repository}"):
            await scene.believe()


async def test_another_workflow_of_the_same_repository_is_not(scene: Scene, authorities: Authorities) -> None:
    await scene.forge(signer=authorities.signer(workflow=".github/workflows/test.yml"), version="v1.0.1")
    with pytest.raises(EvidenceUntrusted, match=r"workflow \.github/workflows/test\.yml, not"):
        await scene.believe()
    await scene.forge(signer=authorities.signer(workflow=f"x/{WORKFLOW}"), version="v1.0.2")
    with pytest.raises(EvidenceUntrusted, match="workflow x/"):
        await scene.believe()


async def test_a_branch_that_may_release_another_channel_is_not(scene: Scene, authorities: Authorities) -> None:
    for ref in ("refs/heads/main", "refs/pull/7/merge", f"refs/heads/{REF}"):
        await scene.forge(signer=authorities.signer(ref=ref), version=f"v1-{len(ref)}")
        with pytest.raises(EvidenceUntrusted, match="may not be signed at"):
            await scene.believe()


async def test_other_authorities_are_not(
    scene: Scene, authorities: Authorities, other_authorities: Authorities
) -> None:
    await scene.forge(signer=other_authorities.signer(), version="v1.0.3")
    with pytest.raises(EvidenceUntrusted, match="Sigstore refuses"):
        await scene.believe()
    await scene.forge(signer=authorities.signer(), version="v1.0.4")
    assert (await scene.believe()).metadata.version == "v1.0.4"


async def test_a_key_vouches_for_nothing_where_only_identities_are_trusted(scene: Scene) -> None:
    await scene.forge(signer=scene.signer, version="v1.0.5")
    with pytest.raises(EvidenceUntrusted, match="a key that the project doesn't trust"):
        await scene.believe()
