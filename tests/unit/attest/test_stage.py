"""Provenance of a whole release: of every index, platform and the payload, in one ceremony, and nothing twice."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.engine.world import IMAGES, World, make_world
from tests.unit.evidence.made import new_signer

from shipgraph.channel.metadata import decode_metadata
from shipgraph.engine.attesting import attest_metadata, attest_release
from shipgraph.engine.signing import Signing, open_signing, rule_of, trust_of
from shipgraph.engine.workspace import Workspace
from shipgraph.errors import ConfigurationError, Refused
from shipgraph.evidence.predicates import PROVENANCE
from shipgraph.evidence.referrers import ReferrerVerifier
from shipgraph.evidence.refusals import EvidenceUntrusted
from shipgraph.evidence.requirements import Kind, survey
from shipgraph.evidence.trust import TrustPolicy
from shipgraph.records.document import read_document

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from shipgraph.attest.key import KeySigner
    from shipgraph.engine.releasing import Published
    from shipgraph.evidence.bundle import Bundle
    from shipgraph.evidence.statement import Statement

pytestmark = pytest.mark.anyio

LOOPBACK = "127.0.0.1:5000"


class CountingSigner:
    """Counts ceremonies."""

    description = "counted"

    def __init__(self, inner: KeySigner) -> None:
        self.inner, self.ceremonies = inner, 0
        self.statements: list[Statement] = []

    async def sign(self, statements: Sequence[Statement]) -> tuple[Bundle, ...]:
        self.ceremonies += 1
        self.statements.extend(statements)
        return await self.inner.sign(statements)


class Scene:
    """A published release, and who signs it."""

    def __init__(self, world: World, published: Published) -> None:
        self.world, self.published = world, published
        inner = new_signer()
        self.signer = CountingSigner(inner)
        self.policy = TrustPolicy(keys=(inner.public,))
        self.also: list[Bundle] = []

    async def publish(self, bundle: Bundle) -> None:
        self.also.append(bundle)

    async def attest(self, policy: TrustPolicy | None = None) -> tuple[int, int]:
        signing = Signing(self.signer, policy or self.policy, self)
        found, done = await attest_release(
            self.published.release,
            self.published.revision,
            target=self.world.store,
            signing=signing,
            run="42",
            emit=lambda event: None,
        )
        assert found.immutable_tag == self.published.found.immutable_tag
        return len(done.made), done.there


@pytest.fixture
async def scene(tmp_path: Path) -> Scene:
    world = make_world(tmp_path / "demo")
    return Scene(world, await world.publish())


async def test_everything_is_signed_in_one_ceremony_and_nothing_twice(scene: Scene) -> None:
    wanted = len(IMAGES) * 3 + 1  # an index and two platforms each, and the payload
    assert await scene.attest() == (wanted, 0)
    assert (scene.signer.ceremonies, len(scene.signer.statements)) == (1, wanted)
    assert len(scene.also) == wanted
    verifier = ReferrerVerifier(scene.world.store, scene.policy)
    found = await survey(scene.published.found.subjects, ["provenance"], verifier)
    found.check()
    assert found.missing[Kind.PROVENANCE] == ()
    assert found.missing[Kind.GATE]
    assert await scene.attest() == (0, wanted)
    assert scene.signer.ceremonies == 1


async def test_what_one_image_lacks_is_all_that_is_made(scene: Scene) -> None:
    await scene.attest()
    image = scene.published.found.images[1]
    for referrer in await scene.world.store.referrers(image.repository, image.index.digest):
        await scene.world.store.delete_manifest(image.repository, referrer.digest)
    made, _ = await scene.attest()
    assert made == 1


async def test_provenance_says_what_it_was_built_from(scene: Scene) -> None:
    await scene.attest()
    by_subject: dict[str, Any] = {
        statement.subjects[0].digests["sha256"]: json.loads(statement.raw) for statement in scene.signer.statements
    }
    app = next(image for image in scene.published.found.images if image.key == "app")
    base = next(image for image in scene.published.found.images if image.key == "base")
    index = by_subject[app.index.digest.hex]
    assert index["predicateType"] == PROVENANCE
    assert index["subject"][0]["name"] == "registry.example/acme/demo-app"
    dependencies = {entry["name"]: entry for entry in index["predicate"]["buildDefinition"]["resolvedDependencies"]}
    assert dependencies["parent"]["digest"] == {"sha256": base.index.digest.hex}
    assert {"linux/amd64", "linux/arm64"} <= dependencies.keys()
    child = app.index.manifests[0]
    platform = by_subject[child.digest.hex]["predicate"]
    assert platform["buildDefinition"]["externalParameters"]["platform"] == str(child.platform)
    assert platform["runDetails"]["builder"]["version"]["builder"] == "fake 1"
    found = {entry["name"]: entry["digest"] for entry in platform["buildDefinition"]["resolvedDependencies"]}
    assert found["source"] == {"gitCommit": scene.published.release.commit}
    assert found["parent"] == {"sha256": base.index.manifests[0].digest.hex}


async def test_a_signer_whom_nobody_trusts_attaches_nothing(scene: Scene) -> None:
    with pytest.raises(EvidenceUntrusted):
        await scene.attest(TrustPolicy(keys=(new_signer().public,)))
    for image in scene.published.found.images:
        assert not await scene.world.store.referrers(image.repository, image.index.digest)


async def test_an_image_without_a_build_record_has_no_provenance(scene: Scene) -> None:
    store = scene.world.store
    for tag in await store.tags("acme/demo-metadata"):
        if tag.startswith("build-"):
            await store.delete_tag("acme/demo-metadata", tag)
    with pytest.raises(Refused, match="no build record"):
        await scene.attest()


async def test_metadata_is_signed_by_whom_its_channel_accepts(scene: Scene) -> None:
    release, store = scene.published.release, scene.world.store
    digest = scene.published.metadata
    assert digest is not None
    document = await read_document(store, release.metadata_repository, digest, release.project.metadata.artifact_type)
    metadata = decode_metadata(document.content, where="it")
    arguments: dict[str, Any] = {"target": store, "host": LOOPBACK, "run": "42"}
    signing = Signing(scene.signer, scene.policy)
    done = await attest_metadata(release, "dev", metadata, document.manifest, signing=signing, **arguments)
    assert len(done.made) == 1
    (statement,) = scene.signer.statements
    external = statement.predicate["buildDefinition"]["externalParameters"]
    assert (external["channel"], external["serial"]) == ("dev", 1)
    again = await attest_metadata(release, "dev", metadata, document.manifest, signing=signing, **arguments)
    assert again.made == ()
    with pytest.raises(ConfigurationError):
        rule_of(release, "beta", LOOPBACK)


async def test_a_rehearsal_makes_a_key_and_trusts_it_and_nobody_elses_registry_does(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SHIPGRAPH_SIGNING_KEY", "SIGSTORE_ID_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    release, workspace = scene.published.release, Workspace(tmp_path / "workspace")
    with pytest.raises(ConfigurationError, match="nothing to sign with"):
        open_signing(release, workspace, "ghcr.io")
    signing = open_signing(release, workspace, LOOPBACK)
    assert [key.name for key in signing.policy.keys] == ["local"]
    assert (workspace.root / "keys" / "signing.key").exists()
    assert trust_of(release, workspace, "ghcr.io").keys == ()


async def test_a_key_may_come_from_the_environment(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", raising=False)
    monkeypatch.setenv("SHIPGRAPH_SIGNING_KEY", "hunter2")
    with pytest.raises(ConfigurationError, match="not a private key") as raised:
        open_signing(scene.published.release, Workspace(tmp_path / "w"), "ghcr.io")
    assert "hunter2" not in str(raised.value)
