"""A consumer is handed every kind of wrong release; each is refused with its reason, and what is installed stays."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.unit.engine.world import World, make_world
from tests.unit.evidence.made import GOOD, new_signer, policy_of

from shipgraph.channel.metadata import ChannelMetadata, decode_metadata, encode_metadata
from shipgraph.consume.channel import Believed, read_believed
from shipgraph.consume.install import Installed, install
from shipgraph.consume.memory import Seen, SerialMemory
from shipgraph.consume.rendering import compose_text, env_text
from shipgraph.engine.attesting import attest_metadata, attest_release
from shipgraph.engine.signing import Signing
from shipgraph.errors import ConfigurationError, Conflict, MalformedDocument, Refused
from shipgraph.evidence.referrers import ReferrerVerifier, attach_bundle
from shipgraph.evidence.refusals import EvidenceUntrusted
from shipgraph.evidence.requirements import Kind
from shipgraph.evidence.statement import make_statement
from shipgraph.evidence.trust import SignerRule
from shipgraph.records.document import Document, push_document, read_document

if TYPE_CHECKING:
    from pathlib import Path

    from shipgraph.attest.key import KeySigner
    from shipgraph.engine.releasing import Published
    from shipgraph.evidence.signer import Signer
    from shipgraph.evidence.trust import TrustPolicy
    from shipgraph.oci.digest import Digest
    from shipgraph.oci.manifest import ImageManifest

pytestmark = pytest.mark.anyio

META, PAYLOAD = "acme/demo-metadata", "acme/demo-payload"
TYPE = "application/vnd.demo.metadata.v1+json"
HOST = "127.0.0.1:5000"


@dataclass
class Scene:
    """A signed channel, and a consumer with a memory."""

    world: World
    place: Path
    signer: KeySigner
    rule: SignerRule = field(default_factory=SignerRule)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    required: tuple[str, ...] = ("gate", "provenance")
    slept: list[float] = field(default_factory=list)
    policy: TrustPolicy | None = None

    async def publish(self) -> Published:
        """A release with all its evidence."""
        published = await self.world.publish()
        signing = Signing(self.signer, policy_of(self.signer))
        await attest_release(
            published.release,
            published.revision,
            target=self.world.store,
            signing=signing,
            run="1",
            emit=lambda event: None,
        )
        assert published.found.payload is not None
        await self.sign(PAYLOAD, published.found.payload, Kind.GATE)
        metadata, document = await self.metadata()
        await attest_metadata(
            published.release,
            "dev",
            metadata,
            document.manifest,
            target=self.world.store,
            host=HOST,
            signing=signing,
            run="1",
        )
        return published

    async def sign(self, repository: str, manifest: ImageManifest, kind: Kind, signer: Signer | None = None) -> None:
        """Attach evidence that says yes."""
        statement = make_statement([("it", manifest.digest)], *GOOD[kind])
        (bundle,) = await (signer or self.signer).sign([statement])
        await attach_bundle(self.world.store, repository, bundle, statement, manifest.descriptor)

    async def metadata(self) -> tuple[ChannelMetadata, Document]:
        """What the channel shows."""
        found = await self.world.store.resolve(META, "dev")
        assert found is not None
        document = await read_document(self.world.store, META, found.digest, TYPE)
        return decode_metadata(document.content, where="it"), document

    async def forge(self, *, signer: Signer | None = None, signed: bool = True, **changes: Any) -> Digest:
        """Put changed metadata under the channel's tag."""
        metadata, _ = await self.metadata()
        document = encode_metadata(msgspec.structs.replace(metadata, **changes), TYPE)
        await push_document(self.world.store, META, document)
        if signed:
            await self.sign(META, document.manifest, Kind.PROVENANCE, signer)
        await self.world.store.tag(META, "dev", document.manifest)
        return document.manifest.digest

    async def believe(self) -> Believed:
        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)

        return await read_believed(
            self.world.store,
            "dev",
            repository=META,
            artifact_type=TYPE,
            verifier=ReferrerVerifier(self.world.store, self.policy or policy_of(self.signer), rule=self.rule),
            memory=SerialMemory(self.place / "seen.json", "registry.example"),
            now=self.now,
            lag=0.1,
            sleep=sleep,
        )

    async def pull(self) -> Installed:
        return await install(
            self.world.store,
            await self.believe(),
            self.place / "installed",
            payload_repository=PAYLOAD,
            verifier=ReferrerVerifier(self.world.store, policy_of(self.signer)),
            required=self.required,
        )

    def current(self) -> str:
        return (self.place / "installed" / "current" / "run").read_text()


@pytest.fixture
async def scene(tmp_path: Path) -> Scene:
    found = Scene(make_world(tmp_path / "demo"), tmp_path / "consumer", new_signer())
    found.place.mkdir()
    await found.publish()
    return found


async def test_a_channel_is_pulled_once_and_again_where_it_went_on(scene: Scene) -> None:
    first = await scene.pull()
    assert (first.changed, first.before) == (True, None)
    assert scene.current() == "#!/bin/sh\n"
    assert not (await scene.pull()).changed
    for text in ("second", "third"):
        scene.world.write("payload/run", text)
        scene.world.commit()
        await scene.publish()
        assert (await scene.pull()).changed
        assert scene.current() == text
    assert (scene.place / "installed/previous/run").read_text() == "second"
    versions = [path for path in (scene.place / "installed/versions").iterdir() if path.is_dir()]
    assert len(versions) == 2


async def _unsigned(scene: Scene) -> None:
    await scene.forge(serial=2, signed=False)


async def _another_key(scene: Scene) -> None:
    await scene.forge(serial=2, signer=new_signer())


async def _signature_of_another_document(scene: Scene) -> None:
    metadata, _ = await scene.metadata()
    good = encode_metadata(msgspec.structs.replace(metadata, serial=2), TYPE)
    evil = encode_metadata(msgspec.structs.replace(metadata, serial=3), TYPE)
    for document in (good, evil):
        await push_document(scene.world.store, META, document)
    statement = make_statement([("it", good.manifest.digest)], *GOOD[Kind.PROVENANCE])
    (bundle,) = await scene.signer.sign([statement])
    await attach_bundle(scene.world.store, META, bundle, statement, evil.manifest.descriptor)
    await scene.world.store.tag(META, "dev", evil.manifest)


async def _signer_whom_the_channel_refuses(scene: Scene) -> None:
    await scene.forge(serial=2)
    scene.rule = SignerRule(keys=("another",))


async def _expired(scene: Scene) -> None:
    await scene.forge(serial=2)
    scene.now += timedelta(days=40)


async def _older_serial(scene: Scene) -> None:
    scene_memory = SerialMemory(scene.place / "seen.json", "registry.example")
    seen = scene_memory.get(META, "dev")
    assert seen is not None
    scene_memory.remember(META, "dev", replace(seen, serial=7))


async def _same_serial_twice(scene: Scene) -> None:
    await scene.forge(version="other")


async def _another_channels_metadata(scene: Scene) -> None:
    await scene.forge(serial=2, channel="prod")


async def _mixed_set(scene: Scene) -> None:
    metadata, _ = await scene.metadata()
    images = (msgspec.structs.replace(metadata.images[0], digest=metadata.images[1].digest), *metadata.images[1:])
    await scene.forge(serial=2, images=images)


async def _foreign_payload(scene: Scene) -> None:
    metadata, _ = await scene.metadata()
    assert metadata.payload is not None
    ref = metadata.payload.ref.replace("demo-payload", "other-payload")
    await scene.forge(serial=2, payload=msgspec.structs.replace(metadata.payload, ref=ref))


async def _ungated_payload(scene: Scene) -> None:
    metadata, _ = await scene.metadata()
    await scene.forge(serial=2)
    assert metadata.payload is not None
    from shipgraph.oci.digest import Digest

    for referrer in await scene.world.store.referrers(PAYLOAD, Digest.parse(metadata.payload.digest)):
        if referrer.annotations.get("dev.sigstore.bundle.predicateType", "").endswith("gate:v1"):
            await scene.world.store.delete_manifest(PAYLOAD, referrer.digest)


async def _path_in_a_name(scene: Scene) -> None:
    await scene.forge(serial=2, immutable_tag="../../evil")


async def _no_images(scene: Scene) -> None:
    await scene.forge(serial=2, images=())


@pytest.mark.parametrize(
    ("attack", "kind", "said"),
    [
        (_unsigned, EvidenceUntrusted, "not signed"),
        (_another_key, EvidenceUntrusted, "doesn't trust"),
        (_signature_of_another_document, EvidenceUntrusted, "something else"),
        (_signer_whom_the_channel_refuses, EvidenceUntrusted, "may not be signed by"),
        (_expired, Refused, "expired"),
        (_older_serial, Refused, "plays an older release back"),
        (_same_serial_twice, Refused, "another manifest for serial"),
        (_another_channels_metadata, MalformedDocument, "metadata of channel"),
        (_mixed_set, Refused, "belongs to other images"),
        (_foreign_payload, Refused, "not one of"),
        (_ungated_payload, EvidenceUntrusted, "no gate that counts"),
        (_path_in_a_name, MalformedDocument, "tag"),
        (_no_images, MalformedDocument, "names no image"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_what_is_wrong_is_refused_and_what_is_installed_stays(
    scene: Scene, attack: Any, kind: type[Exception], said: str
) -> None:
    first = await scene.pull()
    files = sorted((scene.place / "installed").rglob("*"))
    await attack(scene)
    with pytest.raises(kind, match=said):
        await scene.pull()
    assert scene.current() == "#!/bin/sh\n"
    assert (scene.place / "installed/current").resolve() == first.folder.resolve()
    assert sorted((scene.place / "installed").rglob("*")) == files
    assert not (scene.place.parent / "evil").exists()


async def test_a_serial_that_was_only_lagging_is_read_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    await scene.pull()
    old = await scene.world.store.resolve(META, "dev")
    assert old is not None
    await scene.forge(serial=2)
    await scene.believe()
    new = await scene.world.store.resolve(META, "dev")
    shown = [old, old, new]

    async def lagging(repository: str, tag: str) -> object:
        return shown.pop(0)

    monkeypatch.setattr(scene.world.store, "resolve", lagging)
    assert (await scene.believe()).metadata.serial == 2
    assert len(scene.slept) == 2


async def test_expiry_does_not_touch_what_is_installed(scene: Scene) -> None:
    await scene.pull()
    scene.now += timedelta(days=400)
    again = await scene.pull()
    assert not again.changed
    assert scene.current() == "#!/bin/sh\n"


async def test_a_refused_document_is_not_remembered(scene: Scene) -> None:
    await scene.pull()
    await scene.forge(serial=1_000_000, signer=new_signer())
    with pytest.raises(EvidenceUntrusted):
        await scene.pull()
    seen = SerialMemory(scene.place / "seen.json", "registry.example").get(META, "dev")
    assert seen is not None
    assert seen.serial == 1


async def test_a_broken_memory_is_an_error_and_not_an_empty_one(scene: Scene) -> None:
    await scene.pull()
    (scene.place / "seen.json").write_text('{"x": {"serial": "1"}}')
    with pytest.raises(ConfigurationError, match="broken"):
        await scene.pull()


def test_a_serial_never_goes_down_whoever_writes(tmp_path: Path) -> None:
    def memory() -> SerialMemory:
        return SerialMemory(tmp_path / "seen.json", "registry.example")

    barrier = threading.Barrier(8)

    def write(serial: int) -> None:
        mine = memory()
        barrier.wait()
        mine.remember("acme/x", f"other-{serial}", Seen(serial, "sha256:1"))
        mine.remember("acme/x", "dev", Seen(serial, f"sha256:{serial}"))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, (3, 7, 1, 8, 2, 6, 5, 4)))
    assert memory().get("acme/x", "dev") == Seen(8, "sha256:8")
    assert [memory().get("acme/x", f"other-{serial}") for serial in range(1, 9)] == [
        Seen(serial, "sha256:1") for serial in range(1, 9)
    ], "nobody's entry was lost"
    assert SerialMemory(tmp_path / "seen.json", "another").get("acme/x", "dev") is None


async def test_two_pulls_into_one_folder_do_not_meet(scene: Scene) -> None:
    import fcntl
    import os

    await scene.pull()
    handle = os.open(scene.place / "installed" / ".lock", os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(Conflict):
            await scene.pull()
    finally:
        os.close(handle)


async def test_a_pull_that_was_killed_before_it_switched_is_done_again(scene: Scene) -> None:
    first = await scene.pull()
    (scene.place / "installed/current").unlink()
    (first.folder / "run").write_text("half")
    assert (await scene.pull()).changed
    assert scene.current() == "#!/bin/sh\n"


async def test_digests_as_variables_and_as_a_compose_override(scene: Scene) -> None:
    metadata, _ = await scene.metadata()
    env = dict(line.split("=", 1) for line in env_text(metadata).splitlines())
    app = next(image for image in metadata.images if image.image == "app")
    assert env["IMAGE_APP"] == f"{app.repository}@{app.digest}"
    assert (env["CHANNEL"], env["SERIAL"]) == ("dev", "1")
    assert f'  "app":\n    image: "{app.repository}@{app.digest}"\n' in compose_text(metadata)
    evil = msgspec.structs.replace(app, repository='x"\n    privileged: true #')
    for render in (env_text, compose_text):
        with pytest.raises(MalformedDocument):
            render(msgspec.structs.replace(metadata, images=(evil,)))
