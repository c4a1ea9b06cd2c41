"""runc on a real image of 1 MB: profiles are enforced, and a test that breaks refuses."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from backports.zstd import ZstdCompressor
from tests.real.busybox import Layout, busybox_layout

from shipgraph.imagetest.engine import Command, TestImage
from shipgraph.imagetest.select import find_engines
from shipgraph.imagetest.snapshots import open_snapshots
from shipgraph.imagetest.stage import ImageResult, Outcome, Wanted, run_tests
from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import ImageIndex, ImageManifest, parse_manifest
from shipgraph.store.content import from_bytes, from_file, read_blob
from shipgraph.store.memory import MemoryStore

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.real]

BARS = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}
EMPTY = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["reboot"], "action": "SCMP_ACT_ERRNO"}]}


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return busybox_layout(tmp_path_factory.mktemp("busybox"))


async def _images(layout: Layout, store: MemoryStore) -> dict[str, TestImage]:
    blobs = layout.path / "blobs" / "sha256"

    def read(digest: Digest) -> ImageManifest | ImageIndex:
        return parse_manifest((blobs / digest.hex).read_bytes())

    (entry,) = json.loads((layout.path / "index.json").read_text())["manifests"]
    index = read(Digest.parse(entry["digest"]))
    assert isinstance(index, ImageIndex)
    found = {}
    for child in index.manifests:
        manifest = read(child.digest)
        assert isinstance(manifest, ImageManifest)
        assert child.platform is not None
        for blob in manifest.blobs:
            plain = Descriptor(blob.media_type, blob.digest, blob.size)
            await store.push_blob("busybox", plain, from_file(blobs / blob.digest.hex))
        await store.push_manifest("busybox", manifest)
        found[child.platform.architecture] = TestImage("busybox", "busybox", manifest, child.platform, "")
    return found


async def _run(
    layout: Layout, tmp_path: Path, *tests: Wanted, architecture: str = "amd64", zstd: bool = False
) -> ImageResult:
    store = MemoryStore()
    image = (await _images(layout, store))[architecture]
    if zstd:
        image = replace(image, manifest=await _with_zstd(image.manifest, store))
    async with open_snapshots(tmp_path / "snapshots") as snapshots:
        engines, problems = await find_engines(snapshots, store, choice="runc")
        assert not problems
        found = await run_tests(
            image, tests, engines=engines, logs=tmp_path, emulated=architecture != "amd64", emit=lambda event: None
        )
    assert list((tmp_path / "snapshots").iterdir()) == []
    return found


async def _with_zstd(image: ImageManifest, store: MemoryStore) -> ImageManifest:
    """The same image, its layers compressed the other way."""
    document = json.loads(image.raw)
    document["layers"] = []
    for layer in image.layers:
        plain = gzip.decompress(await read_blob(store, "busybox", layer))
        packed = ZstdCompressor().compress(plain, ZstdCompressor.FLUSH_FRAME)
        described = Descriptor.of("application/vnd.oci.image.layer.v1.tar+zstd", packed)
        await store.push_blob("busybox", described, from_bytes(packed))
        document["layers"].append(described.to_json())
    manifest = parse_manifest(json.dumps(document).encode())
    assert isinstance(manifest, ImageManifest)
    await store.push_manifest("busybox", manifest)
    return manifest


async def test_layers_may_be_zstd(layout: Layout, tmp_path: Path) -> None:
    test = Wanted("runs", Command(("cat", "/etc/passwd"), entrypoint=()), expect_output="^root:x:0:0")
    assert (await _run(layout, tmp_path, test, zstd=True)).passed


async def test_what_is_run_is_as_it_was_asked_for(layout: Layout, tmp_path: Path) -> None:
    def sh(name: str, text: str, expect: str, **more: object) -> Wanted:
        return Wanted(name, Command(("sh", "-c", text), entrypoint=(), **more), expect_output=expect)  # type: ignore[arg-type]

    found = await _run(
        layout,
        tmp_path,
        sh("user", "id -u", "^1234$", user="1234"),
        sh("env", "echo $MODE", "^tunnel$", env={"MODE": "tunnel"}),
        sh("read-only", "touch /x 2>&1; echo $?", "Read-only file system", read_only=True),
        sh("tmpfs", "touch /scratch/x && echo yes", "^yes$", read_only=True, tmpfs=("/scratch",), user="1234"),
        sh("fresh", "touch /left && ls / | grep -c left", "^1$"),
        sh("fresh again", "ls / | grep -c left; true", "^0$"),
        sh("no network", "ip -o link | grep -vc lo; true", "^0$"),
        Wanted("status", Command(("sh", "-c", "exit 7"), entrypoint=()), expect_exit=7),
        Wanted("slow", Command(("sleep", "60"), entrypoint=(), timeout=1.0)),
    )
    reasons = {result.name: result.reason for result in found.results if result.outcome is not Outcome.PASSED}
    assert reasons.keys() == {"slow"}, reasons
    assert "not done after 1 s" in reasons["slow"]


async def test_a_profile_is_enforced_and_one_without_arch_prctl_refuses(layout: Layout, tmp_path: Path) -> None:
    profiles = {"bars": BARS, "empty": EMPTY, "noexec": {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": []}}
    for name, document in profiles.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    mkdir = Command(("mkdir", "/made"), entrypoint=())
    found = await _run(
        layout,
        tmp_path,
        Wanted("barred", mkdir, expect_exit=1, seccomp=tmp_path / "bars.json"),
        Wanted("free", mkdir, seccomp=tmp_path / "empty.json"),
        Wanted("none may run", mkdir, seccomp=tmp_path / "noexec.json"),
    )
    assert [result.outcome for result in found.results] == ["PASSED", "PASSED", "FAILED"]
    assert found.results[0].seccomp == "enforced"


async def test_an_emulated_platform_runs_too(layout: Layout, tmp_path: Path) -> None:
    from tests.real.tools import enable_arm64

    enable_arm64()
    test = Wanted("machine", Command(("uname", "-m"), entrypoint=()), expect_output="aarch64")
    assert (await _run(layout, tmp_path, test, architecture="arm64")).passed


async def test_an_apparmor_profile_must_parse(layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "good").write_text("profile shipgraph-test-good { /** r, }\n")
    (tmp_path / "bad").write_text("profile shipgraph-test-bad { /** rq, \n")
    true = Command(("true",), entrypoint=())
    found = await _run(
        layout, tmp_path,
        Wanted("good", true, apparmor=tmp_path / "good"), Wanted("bad", true, apparmor=tmp_path / "bad"),
    )  # fmt: skip
    good, bad = found.results
    assert good.apparmor in ("syntax-only", "enforced")
    assert good.outcome is (Outcome.PASSED if good.apparmor == "enforced" else Outcome.WARNED)
    assert bad.outcome is Outcome.FAILED
    assert "does not parse" in bad.reason
