"""A release into real registries, judged by foreign clients."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import tarfile
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from tests.e2e.release.conftest import IMAGES, Demo, copy_project, digests, outcomes, requests_of
from tests.real.clients import crane, oras, regctl, skopeo

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.real


@pytest.fixture(scope="session")
def builder(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """One project for both registries: the second release takes layers out of the builder's own storage."""
    return copy_project(template, tmp_path_factory.mktemp("published") / "demo")


@pytest.fixture(scope="session")
def published(builder: Demo, registry: str) -> tuple[Demo, str, dict[str, Any]]:
    """The project, the registry with its namespace, and what the release printed."""
    document = builder.json("release", "--registry", f"{registry}/acme", "--channel", "dev")
    return builder, f"{registry}/acme", document


def test_clients_agree_with_status_on_every_digest(published: tuple[Demo, str, dict[str, Any]]) -> None:
    demo, place, document = published
    status = demo.json("status", "--registry", place)["channels"][0]
    assert status["drift"] == []
    assert digests(status["metadata"]) == digests(document)
    names = [(image["repository"], image["digest"]) for image in status["metadata"]["images"]]
    assert [repository for repository, _ in names] == [f"{place}/demo-{key}" for key in ("base", "app", "side", "tool")]
    names.append((f"{place}/demo-payload", status["metadata"]["payload"]["digest"]))
    names.append((f"{place}/demo-metadata", status["digest"]))
    for repository, digest in names:
        assert crane("digest", f"{repository}:dev").strip() == digest
        raw = regctl("manifest", "get", "--format", "raw-body", f"{repository}:dev")
        assert f"sha256:{hashlib.sha256(raw.encode()).hexdigest()}" == digest
        assert (
            f"sha256:{hashlib.sha256(skopeo('inspect', '--raw', f'docker://{repository}:dev').encode()).hexdigest()}"
            == digest
        )
    for image in document["images"]:
        seen = json.loads(skopeo("inspect", f"docker://{image['repository']}:dev"))
        assert seen["Architecture"] == "amd64"
        assert seen["Labels"]["org.opencontainers.image.revision"] == document["commit"]
        child = crane("digest", "--platform", "linux/amd64", f"{image['repository']}:dev").strip()
        assert child == image["platforms"]["linux/amd64"]
    assert demo.json("verify", "dev", "--registry", place)["ok"] is True


def test_channel_metadata(published: tuple[Demo, str, dict[str, Any]], tmp_path: Path) -> None:
    _, place, document = published
    oras("pull", f"{place}/demo-metadata:dev", "--output", str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["channels.json"]
    found = json.loads((tmp_path / "channels.json").read_text())
    assert found["channel"] == found["version"] == "dev"
    assert found["immutable_tag"] == document["immutableTag"] == f"sha-{document['commit']}"
    assert found["moving_tags"] == ["dev"]
    assert [set(image) for image in found["images"]] == [{"image", "repository", "digest"}] * len(IMAGES)
    assert digests(found) == digests(document)
    assert set(found["payload"]) == {"ref", "digest"}
    assert found["payload"]["ref"] == f"{place}/demo-payload:dev@{document['payload']['digest']}"
    made, ends = (datetime.fromisoformat(found[name]) for name in ("generated_at", "expires_at"))
    assert found["generated_at"].endswith("Z")
    assert ends - made == timedelta(days=30)
    assert found["serial"] >= 1
    assert found["commit"] == document["commit"]
    manifest = json.loads(oras("manifest", "fetch", f"{place}/demo-metadata:dev"))
    assert manifest["artifactType"] == "application/vnd.demo.metadata.v1+json"
    assert [layer["mediaType"] for layer in manifest["layers"]] == ["application/json"]
    for tag in ("channels", f"dev-{found['serial']}"):
        assert crane("digest", f"{place}/demo-metadata:{tag}") == crane("digest", f"{place}/demo-metadata:dev")


def test_payload(published: tuple[Demo, str, dict[str, Any]], tmp_path: Path) -> None:
    demo, place, document = published
    (archive,) = (demo.folder / ".shipgraph" / "payload").glob("*.tar.gz")
    local = subprocess.run(["sha256sum", archive], check=True, capture_output=True, text=True).stdout.split()[0]
    manifest = json.loads(oras("manifest", "fetch", f"{place}/demo-payload:dev"))
    assert manifest["artifactType"] == "application/vnd.demo.payload.v1"
    layer, sbom = manifest["layers"]
    assert layer["digest"] == document["payload"]["layer"] == f"sha256:{local}"
    assert layer["mediaType"] == "application/vnd.demo.payload.layer.v1+gzip"
    assert sbom["mediaType"] == "application/vnd.cyclonedx+json"
    tag = document["immutableTag"]
    assert crane("digest", f"{place}/demo-payload:{tag}-dev").strip() == document["payload"]["digest"]
    first = json.loads(oras("manifest", "fetch", f"{place}/demo-payload:{tag}"))
    assert [blob["digest"] for blob in first["layers"]] == [blob["digest"] for blob in manifest["layers"]]
    oras("pull", f"{place}/demo-payload:dev", "--output", str(tmp_path))
    packed, bill = tmp_path / "demo-payload-dev.tar.gz", tmp_path / "demo-payload-dev.cdx.json"
    assert hashlib.sha256(packed.read_bytes()).hexdigest() == local
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill.read_text()) is None
    with tarfile.open(packed) as archive_file:
        archive_file.extractall(tmp_path / "inside", filter="data")
    (sums,) = (tmp_path / "inside").rglob("SHA256SUMS")
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=sums.parent, check=True)
    text = "".join(path.read_text() for path in sums.parent.rglob("*") if path.is_file())
    for image in document["images"]:
        assert image["digest"] in text, "the payload names the images that it belongs to"
    assert demo.json("verify", "dev", "--registry", place, "--payload", archive)["ok"] is True
    damaged = tmp_path / "damaged.tar.gz"
    damaged.write_bytes(packed.read_bytes() + b"x")
    rows = demo.json("verify", "dev", "--registry", place, "--payload", damaged, code=1)["rows"]
    assert [row["name"] for row in rows if row["state"] == "BROKEN"] == ["payload file"]


def test_second_release_sends_nothing(published: tuple[Demo, str, dict[str, Any]], registry: str) -> None:
    demo, place, document = published
    before = requests_of(registry)
    assert [request for request in before if request.startswith("PUT ")]
    again = demo.json("release", "--registry", place, "--channel", "dev")
    assert again["unchanged"] is True
    assert again["metadata"] == document["metadata"]
    asked = requests_of(registry)[len(before) :]
    assert asked
    assert {request.partition(" ")[0] for request in asked} == {"GET", "HEAD"}


def test_occupied_immutable_tag_is_a_conflict_with_both_digests(
    published: tuple[Demo, str, dict[str, Any]], tmp_path: Path
) -> None:
    demo, place, document = published
    mine = copy_project(demo.folder, tmp_path / "demo")
    mine.edit("docker/tool/hello", "hello", "occupied")
    commit = mine.commit()
    other = digests(document)["side"]
    crane("copy", f"{place}/demo-side:dev", f"{place}/demo-tool:sha-{commit}")
    before = {key: crane("digest", f"{place}/demo-{key}:dev") for key in (*IMAGES, "payload", "metadata")}
    done = mine.run("release", "--registry", place, "--channel", "dev", code=4)
    assert f"acme/demo-tool:sha-{commit} is immutable and already is {other}; refused to push sha256:" in done.err
    assert "release a new commit" in done.err
    assert {key: crane("digest", f"{place}/demo-{key}:dev") for key in before} == before
    mine.edit("docker/tool/hello", "occupied", "free")
    mine.commit()
    released = mine.json("release", "--registry", place, "--channel", "dev")
    assert released["moved"] is True
    assert outcomes(released)["app"] == "unchanged"


def test_registry_that_is_down(demo: Demo) -> None:
    done = demo.run("release", "--registry", "127.0.0.1:9/acme", "--channel", "dev", code=5, timeout=60)
    assert re.search(r"127\.0\.0\.1:9.*connection refused", done.err)
    assert "check that the registry can be reached, then run the same command again" in done.err
    failed = demo.run("status", "--registry", "127.0.0.1:9/acme", "--json", code=5, timeout=60)
    assert failed.document["error"]["exitCode"] == 5
    assert failed.document["error"]["kind"] == "RegistryUnavailable"
