"""The payload: which files, the same bytes every time, sums that verify, an SBOM that is valid by its schema."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shipgraph.errors import ConfigurationError, DigestMismatch, ImmutableTagConflict, Refused
from shipgraph.oci.digest import Digest
from shipgraph.payload.archive import pack
from shipgraph.payload.files import Member, PayloadImage, read_members, select_files
from shipgraph.payload.sbom import build_sbom
from shipgraph.payload.stage import Packed, payload_manifest, publish_payload, version_payload
from shipgraph.project.spec import FileRule, PayloadSpec
from shipgraph.store.memory import MemoryStore

if TYPE_CHECKING:
    from pathlib import Path

    from shipgraph.oci.manifest import ImageManifest

IMAGES = [PayloadImage("tool", "app-tool", Digest.of(b"tool")), PayloadImage("app", "app", Digest.of(b"app"))]
SPEC = PayloadSpec(
    "app-payload",
    "application/vnd.app.payload.v1",
    "application/vnd.app.payload.layer.v1+gzip",
    (FileRule.of("payload/**"), FileRule.of("docker/profiles/*", "profiles")),
)
LISTED = ["payload/bin/run", "payload/README.md", "docker/profiles/seccomp.json", "docker/base/Dockerfile"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in LISTED:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}\n" * 50)
    (tmp_path / "payload/bin/run").chmod(0o755)
    return tmp_path


def _pack(folder: Path, name: str) -> Packed:
    members = read_members(select_files(folder, SPEC.files, LISTED), IMAGES)
    layer = pack(members, folder / name, media_type=SPEC.layer_type, mtime=1_700_000_000)
    sbom = build_sbom("app-payload", members, IMAGES, archive=str(layer.digest), timestamp=1_700_000_000)
    from shipgraph.oci.descriptor import Descriptor

    return Packed(folder / name, layer, sbom, Descriptor.of("application/vnd.cyclonedx+json", sbom))


def test_patterns_strip_their_leading_folder_and_leave_other_files_out(folder: Path) -> None:
    chosen = select_files(folder, SPEC.files, LISTED)
    assert list(chosen) == ["README.md", "bin/run", "profiles/seccomp.json"]


def test_a_pattern_that_matches_nothing_is_an_error(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="matches no file"):
        select_files(folder, [FileRule.of("nothing/**")], LISTED)


def test_a_symbolic_link_is_refused(folder: Path) -> None:
    (folder / "payload/link").symlink_to("/etc/passwd")
    with pytest.raises(ConfigurationError, match="regular file"):
        select_files(folder, SPEC.files, [*LISTED, "payload/link"])


def test_two_files_for_one_place_are_refused(folder: Path) -> None:
    rules = [FileRule.of("payload/README.md"), FileRule.of("docker/base/Dockerfile")]
    assert list(select_files(folder, rules, LISTED)) == ["Dockerfile", "README.md"]
    (folder / "docker/README.md").write_text("other")
    with pytest.raises(ConfigurationError, match="two files"):
        select_files(
            folder, [FileRule.of("payload/README.md"), FileRule.of("docker/README.md")], [*LISTED, "docker/README.md"]
        )


def test_packing_later_and_with_other_times_gives_the_same_bytes(folder: Path) -> None:
    first = _pack(folder, "one.tar.gz")
    for name in LISTED:
        os.utime(folder / name, (1, 1))
    time.sleep(1.1)  # gzip's header has a time in seconds
    second = _pack(folder, "two.tar.gz")
    assert first.archive.read_bytes() == second.archive.read_bytes()
    assert first.sbom == second.sbom
    assert first.layer.digest == Digest.of(first.archive.read_bytes())
    assert first.layer.size == first.archive.stat().st_size


def test_the_sums_verify_with_sha256sum_and_cover_every_file(folder: Path, tmp_path: Path) -> None:
    packed = _pack(folder, "p.tar.gz")
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["tar", "-xzf", packed.archive, "-C", out], check=True)
    subprocess.run(["sha256sum", "-c", "--strict", "SHA256SUMS"], cwd=out, check=True, stdout=subprocess.DEVNULL)
    named = {line.split("  ", 1)[1] for line in (out / "SHA256SUMS").read_text().splitlines()}
    there = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert named == there - {"SHA256SUMS"}
    assert os.access(out / "bin/run", os.X_OK)
    assert not os.access(out / "README.md", os.X_OK)


def test_the_archive_names_every_image_by_digest_and_neither_channel_nor_owner(folder: Path) -> None:
    packed = _pack(folder, "p.tar.gz")
    with tarfile.open(packed.archive) as tar:
        assert all((member.uid, member.gid, member.uname, member.mtime) == (0, 0, "", 1_700_000_000) for member in tar)
        assert [member.name for member in tar] == sorted(member.name for member in tar)
        content = tar.extractfile("images.json")
        assert content is not None
        assert json.load(content)[0] == {
            "image": "tool",
            "repository": "app-tool",
            "digest": str(Digest.of(b"tool")),
        }


def test_the_sbom_is_valid_by_the_cyclonedx_schema(folder: Path) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    packed = _pack(folder, "p.tar.gz")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(packed.sbom.decode()) is None
    names = {component["name"] for component in json.loads(packed.sbom)["components"]}
    assert {"bin/run", "SHA256SUMS", "app-tool"} <= names


def test_a_file_that_changes_while_packing_is_refused(folder: Path) -> None:
    members = read_members(select_files(folder, SPEC.files, LISTED), IMAGES)
    (folder / "payload/README.md").write_text("changed\n" * 200)
    with pytest.raises((DigestMismatch, OSError)):
        pack(members, folder / "x.tar.gz", media_type="x/y", mtime=0)


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,8}(/[a-zé]{1,120}){0,2}", fullmatch=True), st.binary(max_size=3000), min_size=1
    )
)
def test_any_content_comes_out_of_the_archive_as_it_went_in(
    tmp_path_factory: pytest.TempPathFactory, contents: dict[str, bytes]
) -> None:
    import hashlib

    target = tmp_path_factory.mktemp("a") / "a.tar.gz"
    members = [
        Member(path, len(data), hashlib.sha256(data).hexdigest(), executable=False, content=data)
        for path, data in sorted(contents.items())
    ]
    pack(members, target, media_type="x/y", mtime=0)
    with tarfile.open(target) as tar:
        got = {member.name: file.read() for member in tar if (file := tar.extractfile(member)) is not None}
    assert got == contents


@pytest.mark.anyio
async def test_one_payload_has_one_blob_under_two_versions_and_never_another_under_its_tag(folder: Path) -> None:
    store = MemoryStore()
    packed = _pack(folder, "p.tar.gz")

    def manifest(version: str) -> ImageManifest:
        return payload_manifest(
            SPEC, packed.layer, packed.sbom_layer, version=version, created="2023-11-14T22:13:20Z", source=""
        )

    tags = [("sha-1", manifest("sha-1")), ("sha-1-dev", manifest("dev"))]
    assert await publish_payload(store, "a/p", packed, tags, settle=0)
    assert not await publish_payload(store, "a/p", packed, tags, settle=0)
    prod = await version_payload(store, SPEC, "a/p", "sha-1", "sha-1-v1.0.0", "v1.0.0", 0)
    assert [layer.digest for layer in prod.manifest.layers] == [packed.layer.digest, packed.sbom_layer.digest]
    assert prod.manifest.digest != manifest("dev").digest
    with pytest.raises(ImmutableTagConflict):
        await publish_payload(store, "a/p", packed, [("sha-1", manifest("other"))], settle=0)
    with pytest.raises(Refused):
        await version_payload(store, SPEC, "a/p", "sha-2", "sha-2-v1", "v1", 0)
