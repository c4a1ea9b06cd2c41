"""The disk store beyond the contract: files, other processes, death, a full disk."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import anyio
import pytest

from shipgraph.errors import (
    Denied,
    DiskFull,
    InvalidReference,
    MalformedDocument,
    NotFound,
    RegistryUnavailable,
    Rejected,
    TagMoved,
)
from shipgraph.oci import media_types
from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.manifest import (
    EMPTY_CONFIG,
    EMPTY_DESCRIPTOR,
    build_artifact,
    build_index,
    encode_json,
    parse_manifest,
)
from shipgraph.store.content import from_bytes
from shipgraph.store.copy import copy_manifest
from shipgraph.store.disk import DiskStore
from shipgraph.store.disk import files as disk_files
from shipgraph.store.disk import upload as disk_upload
from shipgraph.store.memory import MemoryStore
from shipgraph.store.protocols import PIECE

if TYPE_CHECKING:
    from pathlib import Path

    from shipgraph.oci.manifest import ImageManifest

TYPE = "application/vnd.example.test.v1+json"


async def put(store: DiskStore, repository: str, tag: str, number: int = 0) -> ImageManifest:
    await store.push_blob(repository, EMPTY_DESCRIPTOR, from_bytes(EMPTY_CONFIG))
    artifact = build_artifact(TYPE, [], annotations={"number": str(number)})
    await store.tag(repository, tag, artifact)
    return artifact


def files_of(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


async def test_a_repository_is_an_image_layout(tmp_path: Path) -> None:
    artifact = await put(DiskStore(tmp_path), "acme/one", "latest")
    layout = tmp_path / "acme" / "one"
    assert json.loads((layout / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    assert (layout / "blobs" / "sha256" / artifact.digest.hex).read_bytes() == artifact.raw
    assert json.loads((layout / "index.json").read_text())["manifests"] == [
        {
            "mediaType": artifact.media_type,
            "digest": str(artifact.digest),
            "size": artifact.size,
            "annotations": {"org.opencontainers.image.ref.name": "latest"},
        }
    ]
    assert {path.name for path in layout.iterdir()} == {"oci-layout", "index.json", "blobs"}
    assert await DiskStore(tmp_path).repositories() == ["acme/one"]


@pytest.mark.parametrize(
    "name", [".shipgraph", "a/../b", "/a", "a//b", "a/blobs", "a/blobs/sha256/b", "a/index.json", "a/oci-layout/b", "A"]
)
async def test_names_that_would_escape_or_collide_are_refused(name: str, tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    with pytest.raises(InvalidReference):
        await store.push_blob(name, EMPTY_DESCRIPTOR, from_bytes(EMPTY_CONFIG))
    with pytest.raises(InvalidReference):
        await store.resolve(name, "latest")
    assert files_of(tmp_path) == set()


async def test_nested_repositories_live_beside_each_other(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    for name in ("a", "a/b", "a/b/c", "blobs"):
        await put(store, name, "t")
    assert await store.repositories() == ["a", "a/b", "a/b/c", "blobs"]
    assert await store.tags("a/b") == ["t"]


async def test_what_another_tool_writes_is_seen(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    subject = await put(store, "acme/one", "latest")
    referrer = build_artifact(TYPE, [], subject=subject.descriptor)
    layout = tmp_path / "acme" / "one"
    (layout / "blobs" / "sha256" / referrer.digest.hex).write_bytes(referrer.raw)
    index = json.loads((layout / "index.json").read_text())
    index["manifests"].append(referrer.descriptor.to_json())
    (layout / "index.json").write_text(json.dumps(index))
    assert (await store.manifest("acme/one", referrer.digest)).raw == referrer.raw
    assert [found.digest for found in await store.referrers("acme/one", subject.digest)] == [referrer.digest]


async def test_a_lost_or_torn_memo_of_subjects_does_no_harm(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    subject = await put(store, "acme/one", "latest")
    referrer = build_artifact(TYPE, [], subject=subject.descriptor)
    await store.push_manifest("acme/one", referrer)
    memo = tmp_path / ".shipgraph" / "subjects" / "acme+one"
    for content in (None, f"{referrer.digest} sha2\n\xff garbage\n".encode("latin-1"), memo.read_bytes()[:-20]):
        if content is None:
            memo.unlink()
        else:
            memo.write_bytes(content)
        found = await DiskStore(tmp_path).referrers("acme/one", subject.digest)
        assert [descriptor.digest for descriptor in found] == [referrer.digest]


async def test_a_broken_index_is_an_error_not_an_empty_repository(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    await put(store, "acme/one", "latest")
    (tmp_path / "acme" / "one" / "index.json").write_text("{")
    with pytest.raises(MalformedDocument):
        await store.resolve("acme/one", "latest")
    with pytest.raises(MalformedDocument):
        await put(store, "acme/one", "other", 2)
    assert (tmp_path / "acme" / "one" / "index.json").read_text() == "{"


async def test_versions_of_an_index_never_look_alike(tmp_path: Path) -> None:
    """Two replacements within one tick of the kernel's clock, of one size, on a reused inode."""
    store, reader = DiskStore(tmp_path, durable=False), DiskStore(tmp_path)
    first, second = await put(store, "acme/one", "t", 1), await put(store, "acme/one", "u", 2)
    for _ in range(100):
        for manifest in (first, second):
            await store.tag("acme/one", "t", manifest)
            found = await reader.resolve("acme/one", "t")
            assert found is not None
            assert found.digest == manifest.digest


async def test_a_mounted_blob_takes_no_room(tmp_path: Path) -> None:
    store, content = DiskStore(tmp_path), os.urandom(100)
    blob = Descriptor.of(TYPE, content)
    await store.push_blob("acme/one", blob, from_bytes(content))
    assert await store.mount_blob("acme/one", "acme/two", blob.digest)
    assert await store.mount_blob("acme/one", "acme/two", blob.digest)
    assert not await store.mount_blob("acme/three", "acme/two", Descriptor.of(TYPE, b"absent").digest)
    one, two = (tmp_path / "acme" / name / "blobs/sha256" / blob.digest.hex for name in ("one", "two"))
    assert one.stat().st_ino == two.stat().st_ino
    assert await store.delete_blob("acme/one", blob.digest)
    assert not await store.delete_blob("acme/one", blob.digest)
    assert two.read_bytes() == content


async def test_a_manifest_is_not_deleted_as_a_blob(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    artifact = await put(store, "acme/one", "latest")
    with pytest.raises(Rejected):
        await store.delete_blob("acme/one", artifact.digest)


async def test_build_caches_are_indexes_over_layers(tmp_path: Path) -> None:
    store, content = DiskStore(tmp_path), b"layer"
    layer = Descriptor.of(media_types.LAYER_TAR_GZIP, content)
    with pytest.raises(Rejected):
        await store.push_manifest("acme/cache", build_index([layer]))
    await store.push_blob("acme/cache", layer, from_bytes(content))
    await store.tag("acme/cache", "latest", build_index([layer]))


@pytest.mark.parametrize("kind", [DiskStore, MemoryStore])
async def test_layers_from_elsewhere_may_be_missing(kind: type[DiskStore | MemoryStore], tmp_path: Path) -> None:
    store = DiskStore(tmp_path) if kind is DiskStore else MemoryStore()
    await store.push_blob("acme/one", EMPTY_DESCRIPTOR, from_bytes(EMPTY_CONFIG))
    for media_type in media_types.NONDISTRIBUTABLE:
        artifact = build_artifact(TYPE, [Descriptor.of(media_type, b"elsewhere")])
        await store.push_manifest("acme/one", artifact)
        result = await copy_manifest(store, "acme/one", store, "acme/two", artifact.digest)
        assert result.manifests == 1


async def test_images_are_found_by_their_configuration_as_referrers(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    subject = await put(store, "acme/one", "latest")
    config = Descriptor.of(media_types.IMAGE_CONFIG, b"{}")
    document = {
        "schemaVersion": 2,
        "mediaType": media_types.IMAGE_MANIFEST,
        "config": config.to_json(),
        "layers": [],
        "subject": subject.descriptor.to_json(),
    }
    image = parse_manifest(encode_json(document))
    await store.push_manifest("acme/one", image)
    found = await store.referrers("acme/one", subject.digest, media_types.IMAGE_CONFIG)
    assert [(referrer.digest, referrer.artifact_type) for referrer in found] == [(image.digest, config.media_type)]
    assert await store.referrers("acme/one", subject.digest, TYPE) == ()


def _full(*_: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, content = DiskStore(tmp_path), os.urandom(2 * PIECE)
    before = await put(store, "acme/one", "latest")
    there = files_of(tmp_path)
    blob, after = Descriptor.of(TYPE, content), build_artifact(TYPE, [], annotations={"x": "y"})
    with monkeypatch.context() as patch:
        patch.setattr(disk_upload, "write_all", _full)
        patch.setattr(disk_files, "write_all", _full)
        with pytest.raises(DiskFull) as caught:
            await store.push_blob("acme/one", blob, from_bytes(content))
        assert caught.value.hint
        with pytest.raises(DiskFull):
            await store.tag("acme/one", "latest", after)
    assert files_of(tmp_path) == there
    found = await store.resolve("acme/one", "latest")
    assert found == before.descriptor
    await store.push_blob("acme/one", blob, from_bytes(content))
    await store.tag("acme/one", "latest", after)


@pytest.mark.parametrize(("number", "error"), [(errno.EROFS, Denied), (errno.EIO, RegistryUnavailable)])
async def test_other_troubles_of_the_disk_have_names(
    number: int, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(disk_upload, "write_all", broken)
    with pytest.raises(error):
        await DiskStore(tmp_path).push_blob("acme/one", EMPTY_DESCRIPTOR, from_bytes(EMPTY_CONFIG))
    assert files_of(tmp_path) == set()


CLAIM = """
import sys, anyio
from pathlib import Path
from shipgraph.errors import TagMoved
from shipgraph.oci.manifest import build_artifact
from shipgraph.store.copy import copy_manifest
from shipgraph.store.disk import DiskStore

async def main(root, me):
    store = DiskStore(Path(root), durable=False)
    wins = []
    print("ready", flush=True)
    sys.stdin.readline()
    for round in range(100):
        artifact = build_artifact("application/x", [], annotations={"me": me, "round": str(round)})
        try:
            await store.tag("acme/one", f"claim-{round}", artifact, expect=None)
        except TagMoved:
            continue
        wins.append(round)
    print(*wins)

anyio.run(main, *sys.argv[1:])
"""


async def test_two_processes_claim_tags(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    await store.push_blob("acme/one", EMPTY_DESCRIPTOR, from_bytes(EMPTY_CONFIG))
    processes = [
        subprocess.Popen(  # noqa: ASYNC220 (they are waited for below)
            [sys.executable, "-c", CLAIM, str(tmp_path), me],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for me in ("one", "two")
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    answers = await anyio.to_thread.run_sync(_start_together, processes)
    one, two = ({int(number) for number in answer.split()} for answer in answers)
    assert one | two == set(range(100))
    assert not one & two
    assert len(await store.tags("acme/one")) == 100


def _start_together(processes: list[subprocess.Popen[str]]) -> list[str]:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    return answers


DIE = """
import sys, anyio
from contextlib import asynccontextmanager
from pathlib import Path
from shipgraph.oci.descriptor import Descriptor
from shipgraph.store.copy import copy_manifest
from shipgraph.store.disk import DiskStore

content = bytes(8 << 20)

async def pieces():
    for start in range(0, len(content), 1 << 20):
        if start == 6 << 20:
            await anyio.sleep(0.2)
            print("half-way", flush=True)
            await anyio.sleep(60)
        yield content[start : start + (1 << 20)]

@asynccontextmanager
async def source():
    yield pieces()

async def main(root):
    await DiskStore(Path(root)).push_blob("acme/one", Descriptor.of("application/x", content), source)

anyio.run(main, sys.argv[1])
"""


async def test_a_killed_upload_leaves_nothing_visible(tmp_path: Path) -> None:
    with subprocess.Popen(  # noqa: ASYNC220 (it is killed below)
        [sys.executable, "-c", DIE, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half-way\n"
        process.send_signal(signal.SIGKILL)
    store, content = DiskStore(tmp_path), bytes(8 << 20)
    blob = Descriptor.of("application/x", content)
    assert not await store.has_blob("acme/one", blob.digest)
    assert await store.repositories() == []
    left = files_of(tmp_path)
    assert len(left) == 1
    assert next(iter(left)).startswith(".shipgraph/uploads/")
    assert await store.clean() == 0  # it may still be alive, for all that anybody knows
    assert await store.push_blob("acme/one", blob, from_bytes(content))
    assert await store.clean(older_than=-1) == 1
    assert await store.has_blob("acme/one", blob.digest)


async def test_uploads_go_on_in_another_process(tmp_path: Path) -> None:
    """A second store over the same folder knows no hash of what is there, and computes it."""
    content = os.urandom(3 * PIECE + 11)
    blob = Descriptor.of(TYPE, content)

    async def part(start: int, stop: int):  # type: ignore[no-untyped-def]
        yield content[start:stop]

    identifier = await DiskStore(tmp_path).begin_upload("acme/one")
    for start, stop in ((0, 5), (5, PIECE + 5), (PIECE + 5, len(content))):
        async with DiskStore(tmp_path).upload("acme/one", identifier) as upload:
            assert upload.offset == start
            await upload.append(part(start, stop))
    async with DiskStore(tmp_path).upload("acme/one", identifier) as upload:
        await upload.commit(blob.digest)
    async with DiskStore(tmp_path).blob("acme/one", blob) as pieces:
        assert b"".join([piece async for piece in pieces]) == content
    for wrong in (identifier, "0" * 32, "../../acme", ""):
        with pytest.raises(NotFound):
            async with DiskStore(tmp_path).upload("acme/one", wrong):
                pass


async def test_an_upload_has_one_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_upload, "_PATIENCE", 0.05)
    one, two = DiskStore(tmp_path), DiskStore(tmp_path)
    identifier = await one.begin_upload("acme/one")
    async with one.upload("acme/one", identifier):
        with pytest.raises(Rejected):
            async with two.upload("acme/one", identifier):
                pass


async def test_who_waits_for_a_committed_upload_cannot_touch_the_blob(tmp_path: Path) -> None:
    one, two = DiskStore(tmp_path), DiskStore(tmp_path)
    identifier = await one.begin_upload("acme/one")
    missed = anyio.Event()

    async def late() -> None:
        with pytest.raises(NotFound):
            async with two.upload("acme/one", identifier):
                pass
        missed.set()

    async with anyio.create_task_group() as group:
        async with one.upload("acme/one", identifier) as upload:
            group.start_soon(late)
            await anyio.sleep(0.1)
            await upload.commit(Descriptor.of(TYPE, b"").digest)
        await missed.wait()


async def test_thousands_of_manifests(tmp_path: Path) -> None:
    store = DiskStore(tmp_path, durable=False)
    await store.push_blob("acme/one", EMPTY_DESCRIPTOR, from_bytes(EMPTY_CONFIG))
    numbers = iter(range(1000))

    async def work() -> None:
        for number in numbers:
            await store.tag("acme/one", f"t{number}", build_artifact(TYPE, [], annotations={"n": str(number)}))

    start = time.monotonic()
    async with anyio.create_task_group() as group:
        for _ in range(16):
            group.start_soon(work)
    assert len(await store.tags("acme/one")) == 1000
    assert time.monotonic() - start < 10  # a second here; a quadratic mistake takes minutes


async def test_a_refused_change_takes_only_itself_out(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    await put(store, "acme/one", "taken")
    outcomes: list[str] = []

    async def claim(tag: str, number: int) -> None:
        try:
            await store.tag("acme/one", tag, build_artifact(TYPE, [], annotations={"n": str(number)}), expect=None)
        except TagMoved:
            outcomes.append("refused")
        else:
            outcomes.append("written")

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(claim, "taken" if number % 2 else f"free-{number}", number)
    assert sorted(outcomes) == ["refused"] * 10 + ["written"] * 10
    assert len(await store.tags("acme/one")) == 11
