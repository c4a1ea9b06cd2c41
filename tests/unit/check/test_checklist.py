"""The checklist: each way to break a release makes exactly its own row BROKEN."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.unit.engine.world import IMAGES, World, make_signed_world

from shipgraph.channel.journal import JOURNAL, Owner, encode_entry
from shipgraph.channel.journal import State as JournalState
from shipgraph.channel.metadata import encode_metadata
from shipgraph.check.channel import Names, read_channel, read_channels, read_journal
from shipgraph.check.checklist import Check, Expected, Sources, check_channel, nobody
from shipgraph.check.evidence import Verifiers
from shipgraph.check.history import run_row
from shipgraph.check.row import Row, State
from shipgraph.engine.signing import trust_of
from shipgraph.engine.viewing import names
from shipgraph.engine.workspace import Workspace
from shipgraph.evidence.bundle import BUNDLE_TYPE
from shipgraph.evidence.referrers import ANNOTATION_PREDICATE, ReferrerVerifier
from shipgraph.evidence.trust import SignerRule, TrustPolicy
from shipgraph.github.runs import RunAttempt
from shipgraph.oci import media_types
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import EMPTY_CONFIG, EMPTY_DESCRIPTOR, ImageManifest, encode_json, parse_manifest
from shipgraph.oci.platform import Platform
from shipgraph.records.document import push_document
from shipgraph.records.prune import RETENTION, Outcome, PruneRecord, encode_prune
from shipgraph.store import content
from shipgraph.store.content import from_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from shipgraph.engine.releasing import Published
    from shipgraph.store.memory import MemoryStore

pytestmark = pytest.mark.anyio

META, PAYLOAD, APP = "acme/demo-metadata", "acme/demo-payload", "acme/demo-app"


@dataclass
class Scene:
    """A published channel and how it is checked."""

    world: World
    published: Published
    names: Names
    expected: Expected
    policy: TrustPolicy
    rule: SignerRule = field(default_factory=SignerRule)
    public: Check = nobody
    local: Path | None = None
    conclusion: str | None = None

    @property
    def store(self) -> MemoryStore:
        return self.world.store

    async def rows(self, channel: str = "dev") -> list[Row]:
        return await check_channel(
            self.store,
            self.names,
            channel,
            self.expected,
            sources=Sources(
                Verifiers(
                    ReferrerVerifier(self.store, self.policy),
                    ReferrerVerifier(self.store, self.policy, rule=self.rule),
                ),
                public=self.public,
                run=self.run,
                local_payload=self.local,
            ),
        )

    async def run(self, owner: Owner) -> RunAttempt:
        """What the forge would say of the run that published."""
        assert owner.run == "42"
        return RunAttempt(42, "https://github.com/acme/demo/actions/runs/42", "completed", self.conclusion)

    async def broken(self) -> list[str]:
        return [row.name for row in await self.rows() if row.state is State.BROKEN]

    def image(self, key: str) -> str:
        (found,) = [str(image.index.digest) for image in self.published.found.images if image.key == key]
        return found


@pytest.fixture
async def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setenv("GITHUB_RUN_ID", "42")
    world = make_signed_world(tmp_path / "demo")
    published = await world.publish()
    release = published.release
    expected = Expected(
        repositories=tuple(release.repository(key) for key in IMAGES),
        platforms={release.repository(key): release.image_platforms(key) for key in IMAGES},
        required=frozenset({"gate", "provenance"}),
    )
    policy = trust_of(release, Workspace.of(world.folder), "registry.example")
    return Scene(world, published, names(release), expected, policy)


async def _metadata_expires(scene: Scene) -> None:
    later = 40 * 86400
    clock = scene.store._clock
    scene.store._clock = lambda: clock() + later


async def _serial_tag_is_gone(scene: Scene) -> None:
    await scene.store.delete_tag(META, "dev-1")


async def _channels_is_another_manifest(scene: Scene) -> None:
    set_record = await scene.store.resolve(META, f"set-{scene.published.found.immutable_tag}")
    assert set_record is not None
    await scene.store.tag(META, "channels", await scene.store.manifest(META, set_record.digest))


async def _set_record_is_gone(scene: Scene) -> None:
    await scene.store.delete_tag(META, f"set-{scene.published.found.immutable_tag}")


async def _layer_is_gone(scene: Scene) -> None:
    child = scene.published.found.images[1].index.manifests[0]
    manifest = await scene.store.manifest(APP, child.digest)
    assert isinstance(manifest, ImageManifest)
    del scene.store._blobs[APP, manifest.layers[-1].digest]


async def _platform_is_gone(scene: Scene) -> None:
    del scene.store._manifests[APP, scene.published.found.images[1].index.manifests[1].digest]


async def _project_has_one_image_more(scene: Scene) -> None:
    scene.expected = replace(scene.expected, repositories=(*scene.expected.repositories, "acme/demo-new"))


async def _project_wants_one_platform_more(scene: Scene) -> None:
    wanted = {**scene.expected.platforms, APP: (Platform("linux", "amd64"), Platform("linux", "riscv64"))}
    scene.expected = replace(scene.expected, platforms=wanted)


async def _moving_tag_is_elsewhere(scene: Scene) -> None:
    child = scene.published.found.images[1].index.manifests[0]
    await scene.store.tag(APP, "dev", await scene.store.manifest(APP, child.digest))


async def _payloads_tag_is_gone(scene: Scene) -> None:
    await scene.store.delete_tag(PAYLOAD, "dev")


async def _immutable_tag_is_gone(scene: Scene) -> None:
    await scene.store.delete_tag(APP, scene.published.found.immutable_tag)


async def _payloads_blob_is_gone(scene: Scene) -> None:
    assert scene.published.found.payload is not None
    del scene.store._blobs[PAYLOAD, scene.published.found.payload.layers[0].digest]


async def _payloads_sbom_is_forged(scene: Scene) -> None:
    assert scene.published.found.payload is not None
    sbom = scene.published.found.payload.layers[1]
    scene.store._blobs[PAYLOAD, sbom.digest] = b"{}".ljust(sbom.size)


async def _payload_is_empty(scene: Scene) -> None:
    """Metadata that names something else as its payload: under the tag, and with all tags of the channel."""
    view = await read_channel(scene.store, scene.names, "dev", None)
    assert view.metadata is not None
    assert view.metadata.payload is not None
    empty = parse_manifest(
        encode_json(
            {
                "schemaVersion": 2,
                "mediaType": media_types.IMAGE_MANIFEST,
                "artifactType": "application/vnd.demo.payload.v1",
                "config": EMPTY_DESCRIPTOR.to_json(),
                "layers": [],
            }
        )
    )
    await scene.store.push_blob(PAYLOAD, EMPTY_DESCRIPTOR, from_bytes(EMPTY_CONFIG))
    await scene.store.tag(PAYLOAD, "dev", empty)
    ref = f"{view.metadata.payload.ref.partition('@')[0]}@{empty.digest}"
    payload = msgspec.structs.replace(view.metadata.payload, digest=str(empty.digest), ref=ref)
    forged = encode_metadata(msgspec.structs.replace(view.metadata, payload=payload), scene.names.metadata_type)
    await push_document(scene.store, META, forged)
    await scene.store.tag(META, "dev", forged.manifest)


async def test_a_payload_without_an_archive_is_broken(scene: Scene) -> None:
    await _payload_is_empty(scene)
    scene.local = scene.world.folder / "shipgraph.toml"
    rows = {row.name: row for row in await scene.rows()}
    assert rows["payload"].state is State.BROKEN
    assert "is not a payload" in rows["payload"].detail
    assert rows["payload file"].state is State.BROKEN


async def _local_archive_differs(scene: Scene) -> None:
    scene.local = scene.world.folder / "other.tar.gz"
    scene.local.write_bytes(b"other")


async def _local_archive_is_not_there(scene: Scene) -> None:
    scene.local = scene.world.folder / "nowhere"


async def _transaction_is_open(scene: Scene) -> None:
    entry = await read_journal(scene.store, scene.names)
    assert entry is not None
    document = encode_entry(msgspec.structs.replace(entry, state=JournalState.OPEN))
    await push_document(scene.store, META, document)
    await scene.store.tag(META, JOURNAL, document.manifest)


async def _journal_is_gone(scene: Scene) -> None:
    await scene.store.delete_tag(META, JOURNAL)


async def _journal_is_forged(scene: Scene) -> None:
    entry = await read_journal(scene.store, scene.names)
    assert entry is not None
    head = msgspec.structs.replace(
        entry.heads["dev"],
        releases=(msgspec.structs.replace(entry.heads["dev"].releases[0], metadata=f"sha256:{'0' * 64}"),),
    )
    document = encode_entry(msgspec.structs.replace(entry, heads={"dev": head}))
    await push_document(scene.store, META, document)
    await scene.store.tag(META, JOURNAL, document.manifest)


async def _package_is_private(scene: Scene) -> None:
    async def public() -> list[str]:
        return ["registry.example/acme/demo-app is private"]

    scene.public = public


async def _run_failed(scene: Scene) -> None:
    scene.conclusion = "failure"


async def _clean_up_failed(scene: Scene) -> None:
    await _clean_up(scene, Outcome.FAILED)


async def _clean_up(scene: Scene, outcome: Outcome) -> None:
    now = "2026-01-01T00:00:00Z"
    record = PruneRecord(
        project="demo", run="1", by="me", began_at=now, ended_at=now, outcome=outcome, left=3, problem="no right"
    )
    document = encode_prune(record)
    await push_document(scene.store, META, document)
    await scene.store.tag(META, RETENTION, document.manifest)


async def _tests_are_required(scene: Scene) -> None:
    scene.expected = replace(scene.expected, required=frozenset({"gate", "provenance", "test"}))


async def _drop_bundles(scene: Scene, repository: str, digest: Digest, predicate: str) -> None:
    found = [
        one.digest
        for one in await scene.store.referrers(repository, digest, BUNDLE_TYPE)
        if predicate in one.annotations.get(ANNOTATION_PREDICATE, "")
    ]
    assert found
    for bundle in found:
        await scene.store.delete_manifest(repository, bundle)


async def _a_platforms_gate_is_gone(scene: Scene) -> None:
    await _drop_bundles(scene, APP, scene.published.found.images[1].index.manifests[0].digest, "gate")


async def _the_payloads_gate_is_gone(scene: Scene) -> None:
    assert scene.published.found.payload is not None
    await _drop_bundles(scene, PAYLOAD, scene.published.found.payload.digest, "gate")


async def _an_indexs_provenance_is_gone(scene: Scene) -> None:
    await _drop_bundles(scene, APP, scene.published.found.images[1].index.digest, "slsa")


async def _metadata_is_unsigned(scene: Scene) -> None:
    found = await scene.store.resolve(META, "dev")
    assert found is not None
    await _drop_bundles(scene, META, found.digest, "slsa")


async def _the_channel_accepts_another_signer(scene: Scene) -> None:
    scene.rule = SignerRule(keys=("another",))


async def _metadata_is_another_channels(scene: Scene) -> None:
    view = await read_channel(scene.store, scene.names, "dev", None)
    assert view.metadata is not None
    other = encode_metadata(msgspec.structs.replace(view.metadata, channel="nightly"), scene.names.metadata_type)
    await push_document(scene.store, META, other)
    await scene.store.tag(META, "dev", other.manifest)


async def _metadata_is_gone(scene: Scene) -> None:
    await scene.store.delete_tag(META, "dev")


Break = Callable[[Scene], Awaitable[None]]
WAYS: list[tuple[Break, str]] = [
    (_metadata_expires, "metadata"),
    (_metadata_is_another_channels, "metadata"),
    (_metadata_is_gone, "metadata"),
    (_serial_tag_is_gone, "metadata tags"),
    (_channels_is_another_manifest, "metadata tags"),
    (_set_record_is_gone, "metadata tags"),
    (_layer_is_gone, "images"),
    (_platform_is_gone, "images"),
    (_project_has_one_image_more, "images"),
    (_project_wants_one_platform_more, "images"),
    (_moving_tag_is_elsewhere, "moving tags"),
    (_payloads_tag_is_gone, "moving tags"),
    (_immutable_tag_is_gone, "immutable tags"),
    (_payloads_blob_is_gone, "payload"),
    (_payloads_sbom_is_forged, "payload"),
    (_local_archive_differs, "payload file"),
    (_local_archive_is_not_there, "payload file"),
    (_transaction_is_open, "transaction"),
    (_journal_is_gone, "transaction"),
    (_journal_is_forged, "transaction"),
    (_package_is_private, "public"),
    (_run_failed, "workflow run"),
    (_clean_up_failed, "retention"),
    (_tests_are_required, "evidence: test"),
    (_a_platforms_gate_is_gone, "evidence: gate"),
    (_the_payloads_gate_is_gone, "evidence: gate"),
    (_an_indexs_provenance_is_gone, "evidence: provenance"),
    (_metadata_is_unsigned, "evidence: metadata"),
    (_the_channel_accepts_another_signer, "evidence: metadata"),
]


async def test_a_sound_channel_has_no_broken_row(scene: Scene) -> None:
    rows = {row.name: row.state for row in await scene.rows()}
    assert State.BROKEN not in rows.values()
    assert {name for name, state in rows.items() if state is State.OK} == {
        "metadata", "metadata tags", "images", "moving tags", "immutable tags", "payload", "transaction",
        "evidence: gate", "evidence: provenance", "evidence: metadata",
    }  # fmt: skip
    for name in ("workflow run", "payload file", "public", "retention"):
        assert rows[name] is State.NOT_APPLICABLE, "a check without a source is never ok"
    assert rows["evidence: test"] is State.MISSING, "not required, and not there"
    details = {row.name: row.detail for row in await scene.rows()}
    assert details["evidence: gate"] == "9 signed by key release"


@pytest.mark.parametrize(("breaks", "row"), WAYS, ids=lambda value: getattr(value, "__name__", "").strip("_"))
async def test_each_defect_breaks_its_own_row(scene: Scene, breaks: Break, row: str) -> None:
    await breaks(scene)
    assert await scene.broken() == [row]
    details = [found.detail for found in await scene.rows() if found.name == row]
    assert details[0], "what is broken is said"


def test_every_row_that_can_break_is_broken_by_some_test() -> None:
    possible = {"metadata", "metadata tags", "images", "moving tags", "immutable tags", "payload", "payload file"}
    evidence = {f"evidence: {kind}" for kind in ("gate", "test", "provenance", "metadata")}
    assert {row for _, row in WAYS} == possible | evidence | {"transaction", "public", "workflow run", "retention"}


async def test_who_is_not_trusted_vouches_for_nothing(scene: Scene) -> None:
    scene.policy = TrustPolicy()
    assert await scene.broken() == ["evidence: gate", "evidence: provenance", "evidence: metadata"]
    (detail,) = [row.detail for row in await scene.rows() if row.name == "evidence: metadata"]
    assert "trust" in detail, "why it doesn't count is said"


async def test_all_that_is_broken_is_said_at_once(scene: Scene) -> None:
    for breaks in (_serial_tag_is_gone, _moving_tag_is_elsewhere, _layer_is_gone, _journal_is_gone):
        await breaks(scene)
    assert await scene.broken() == ["metadata tags", "images", "moving tags", "transaction"]


async def test_local_archive_and_public_packages_are_ok_where_they_can_be_seen(scene: Scene) -> None:
    async def public() -> list[str]:
        return []

    scene.public, scene.conclusion = public, "success"
    await _clean_up(scene, Outcome.COMPLETE)
    (scene.local,) = (scene.world.folder / ".shipgraph" / "payload").glob("*.tar.gz")
    rows = {row.name: row.state for row in await scene.rows()}
    for name in ("payload file", "public", "workflow run", "retention"):
        assert rows[name] is State.OK


@pytest.mark.parametrize(
    ("outcome", "state"),
    [(Outcome.PARTIAL, State.MISSING), (Outcome.PLANNED, State.NOT_APPLICABLE), (Outcome.UNDONE, State.NOT_APPLICABLE)],
)
async def test_a_clean_up_that_deleted_nothing_or_not_all_is_never_ok(
    scene: Scene, outcome: Outcome, state: State
) -> None:
    await _clean_up(scene, outcome)
    assert [row.state for row in await scene.rows() if row.name == "retention"] == [state]


async def test_a_run_is_found_behind_other_channels_transactions(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_RUN_ID", "43")
    await scene.world.publish(channel="nightly")
    scene.conclusion = "success"
    (row,) = [row for row in await scene.rows() if row.name == "workflow run"]
    assert row.state is State.OK
    assert "runs/42" in row.detail


@pytest.mark.parametrize("run", ["my-laptop", "²", "9" * 5000])
async def test_who_is_no_workflow_is_not_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: str) -> None:
    monkeypatch.setenv("GITHUB_RUN_ID", run)
    world = make_signed_world(tmp_path / "demo")
    published = await world.publish()

    async def ask(owner: Owner) -> RunAttempt:
        raise AssertionError(f"asked for {int(owner.run)}")

    of = names(published.release)
    row = await run_row(
        world.store, of, await read_channel(world.store, of, "dev", None), await read_journal(world.store, of), ask
    )
    assert row.state is State.NOT_APPLICABLE


async def test_the_sbom_of_a_payload_of_many_files_may_be_larger_than_a_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_signed_world(tmp_path / "demo")
    for number in range(200):
        world.write(f"payload/{number}", "file")
    world.commit()
    published = await world.publish()
    monkeypatch.setattr(content, "SMALL", 40_000)
    assert published.found.payload is not None
    assert published.found.payload.layers[-1].size > content.SMALL
    policy = trust_of(published.release, Workspace.of(world.folder), "registry.example")
    verifiers = Verifiers(ReferrerVerifier(world.store, policy), ReferrerVerifier(world.store, policy))
    of = names(published.release)
    rows = await check_channel(world.store, of, "dev", Expected((), {}, frozenset()), sources=Sources(verifiers))
    assert [row.name for row in rows if row.state is State.BROKEN] == []


async def test_a_channel_that_was_never_published(scene: Scene) -> None:
    rows = await scene.rows("nightly")
    assert [(row.name, row.state) for row in rows] == [("metadata", State.BROKEN)]
    journal, views = await read_channels(scene.store, scene.names, ("dev", "nightly"))
    assert journal is not None
    assert [view.metadata is not None for view in views] == [True, False]


async def test_drift_names_tag_wanted_and_there(scene: Scene) -> None:
    await _moving_tag_is_elsewhere(scene)
    await _payloads_tag_is_gone(scene)
    view = await read_channel(scene.store, scene.names, "dev", None)
    child = str(scene.published.found.images[1].index.manifests[0].digest)
    assert [(drift.repository, drift.tag, drift.wanted, drift.there) for drift in view.drift] == [
        (APP, "dev", scene.image("app"), child),
        (PAYLOAD, "dev", str(scene.published.found.payload and scene.published.found.payload.digest), None),
    ]
    assert str(view.drift[1]).startswith(f"{PAYLOAD}:dev is absent, not sha256:")


async def test_metadata_that_was_copied_to_another_host_is_checked_there(scene: Scene) -> None:
    scene.names = replace(scene.names, host="mirror.example:5000")
    assert await scene.broken() == []
    assert Digest.parse(scene.image("app"))
