"""The flagship, for real: built with both builders, published to a foreign registry, read and run by foreign programs.

Only this machine's platform is built here; `make rehearse PLATFORMS=all` builds linux/arm64 as well.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.real.buildkit import buildkitd
from tests.real.clients import crane, oras, regctl, skopeo
from tests.real.registries import distribution_v3
from tests.real.tools import debian, pinned

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.containai

REPOSITORY = Path(__file__).parents[3]
NATIVE = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}[platform.machine()]
IMAGES = ("base", "containai", "copilot", "codex", "claude", "proxy", "log-forwarder")
AGENTS = {"copilot": "@github/copilot", "codex": "@openai/codex", "claude": "@anthropic-ai/claude-code"}
METADATA = {
    "channel", "version", "immutable_tag", "moving_tags", "images", "payload", "generated_at", "serial", "commit",
    "expires_at",
}  # fmt: skip


def shipgraph(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).parent / "shipgraph"
    return subprocess.run(
        [program, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=1800,
    )


def clone(target: Path) -> Path:
    """The repository's HEAD as a stranger has it; the flagship's folder in it."""
    subprocess.run(["git", "clone", "--quiet", REPOSITORY, target], check=True)
    return target / "containai"


def narrow(folder: Path) -> None:
    """Commit a variant of the project for this machine's platform alone: emulation would take many minutes."""
    file = folder / "shipgraph.toml"
    text = re.sub(r"^platforms = .*$", f'platforms = ["{NATIVE}"]', file.read_text(), flags=re.MULTILINE)
    file.write_text(text)
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    subprocess.run(
        ["git", *identity, "commit", "--quiet", "--all", "--message", "one platform"], cwd=folder, check=True
    )


@dataclass(frozen=True)
class Shipped:
    """A released containai: its folder, the registry with its namespace, and what `status --json` says of `dev`."""

    folder: Path
    registry: str
    channel: dict[str, Any]

    def digest(self, image: str) -> str:
        found: str = next(entry["digest"] for entry in self.channel["metadata"]["images"] if entry["image"] == image)
        return found

    def reference(self, image: str) -> str:
        name = image if image == "containai" else f"containai-{image}"
        return f"{self.registry}/{name}@{self.digest(image)}"


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shipped]:
    """Released with BuildKit into CNCF distribution."""
    folder = clone(tmp_path_factory.mktemp("release") / "source")
    narrow(folder)
    with (
        distribution_v3(tmp_path_factory.mktemp("registry")) as address,
        buildkitd(tmp_path_factory.mktemp("buildkit")) as buildkit,
    ):
        registry = f"{address}/acme"
        done = shipgraph(
            folder, "release", "--registry", registry, "--channel", "dev", "--json",
            BUILDKIT_HOST=buildkit, PATH=f"{pinned('buildx').parent}:{os.environ['PATH']}",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        status = shipgraph(folder, "status", "--registry", registry, "--json")
        assert status.returncode == 0, status.stderr
        channels = {channel["channel"]: channel for channel in json.loads(status.stdout)["channels"]}
        yield Shipped(folder, registry, channels["dev"])


def test_rehearsal_from_source_ends_with_the_channel_and_the_second_changes_nothing(tmp_path: Path) -> None:
    folder = clone(tmp_path / "source")
    first = shipgraph(folder, "rehearse", "--platform", NATIVE, "--json")
    assert first.returncode == 0, first.stderr
    document = json.loads(first.stdout)
    assert {image["key"]: image["outcome"] for image in document["images"]} == dict.fromkeys(IMAGES, "built")
    before = sorted(path for path in (folder / ".shipgraph/registry").rglob("*") if path.is_file())
    second = shipgraph(folder, "rehearse", "--platform", NATIVE, "--json")
    assert second.returncode == 0, second.stderr
    assert json.loads(second.stdout)["unchanged"]
    assert sorted(path for path in (folder / ".shipgraph/registry").rglob("*") if path.is_file()) == before
    verified = shipgraph(folder, "verify", "dev", "--root", ".shipgraph/registry")
    assert verified.returncode == 0, verified.stdout


def test_foreign_clients_agree_on_every_digest(shipped: Shipped) -> None:
    for image in IMAGES:
        name = shipped.reference(image).partition("@")[0]
        digest = shipped.digest(image)
        assert crane("digest", f"{name}:dev").strip() == digest
        raw = skopeo("inspect", "--raw", f"docker://{name}:dev")
        assert f"sha256:{hashlib.sha256(raw.encode()).hexdigest()}" == digest
        assert json.loads(skopeo("inspect", f"docker://{name}:dev"))["Architecture"] == NATIVE.partition("/")[2]
        index = json.loads(regctl("manifest", "get", "--format", "raw-body", f"{name}@{digest}"))
        assert [f"{child['platform']['os']}/{child['platform']['architecture']}" for child in index["manifests"]] == [
            NATIVE
        ]


def test_channel_metadata_is_what_oras_pulls(shipped: Shipped, tmp_path: Path) -> None:
    repository = f"{shipped.registry}/containai-metadata"
    oras("pull", f"{repository}:dev", "--output", str(tmp_path))
    metadata = json.loads((tmp_path / "channels.json").read_text())
    assert set(metadata) == METADATA
    assert metadata == shipped.channel["metadata"]
    assert {entry["image"] for entry in metadata["images"]} == set(IMAGES)
    assert crane("digest", f"{repository}:channels") == crane("digest", f"{repository}:dev")


def test_the_payload_is_the_local_archive_and_its_sums_verify(shipped: Shipped, tmp_path: Path) -> None:
    digest = shipped.channel["metadata"]["payload"]["digest"]
    manifest = json.loads(crane("manifest", f"{shipped.registry}/containai-payload@{digest}"))
    assert manifest["artifactType"] == "application/vnd.containai.payload.v1"
    archive = shipped.folder / ".shipgraph/payload/containai-payload.tar.gz"
    assert manifest["layers"][0]["digest"] == f"sha256:{hashlib.sha256(archive.read_bytes()).hexdigest()}"
    subprocess.run(["tar", "-xzf", archive, "-C", tmp_path], check=True)
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=tmp_path, check=True)
    images = {entry["image"]: entry["digest"] for entry in json.loads((tmp_path / "images.json").read_text())}
    assert images == {image: shipped.digest(image) for image in IMAGES}


def test_the_payloads_sbom_is_valid(shipped: Shipped, tmp_path: Path) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    digest = shipped.channel["metadata"]["payload"]["digest"]
    repository = f"{shipped.registry}/containai-payload"
    layer = json.loads(crane("manifest", f"{repository}@{digest}"))["layers"][1]
    assert layer["mediaType"] == "application/vnd.cyclonedx+json"
    sbom = crane("blob", f"{repository}@{layer['digest']}")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(sbom) is None


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ...]]:
    """buildah with its own storage, to run programs of an image as its own user."""
    root = tmp_path_factory.mktemp("buildah")
    command = (
        str(debian("buildah")),
        "--root",
        f"{root}/root",
        "--runroot",
        f"{root}/run",
        "--storage-driver",
        "overlay",
    )
    yield command
    subprocess.run([*command, "rm", "--all"], check=False, capture_output=True)
    subprocess.run(["umount", f"{root}/root/overlay"], check=False, capture_output=True)
    shutil.rmtree(root, ignore_errors=True)


def run_in(storage: tuple[str, ...], reference: str, *command: str) -> str:
    container = subprocess.run(
        [*storage, "from", "--quiet", "--tls-verify=false", reference], check=True, capture_output=True, text=True
    ).stdout.strip()
    done = subprocess.run(
        [*storage, "run", "--isolation", "chroot", container, *command], capture_output=True, text=True, timeout=120
    )
    subprocess.run([*storage, "rm", container], check=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("agent", AGENTS)
def test_each_variant_has_its_agent_in_the_pinned_version(
    shipped: Shipped, storage: tuple[str, ...], agent: str
) -> None:
    lock = json.loads((shipped.folder / f"docker/{agent}/package-lock.json").read_text())
    pinned_version = lock["packages"][f"node_modules/{AGENTS[agent]}"]["version"]
    said = run_in(storage, shipped.reference(agent), agent, "--version")
    assert pinned_version in said
    assert run_in(storage, shipped.reference(agent), "id", "-u").strip() == "1000"


def test_the_proxy_says_its_version_without_a_certificate_authority(shipped: Shipped, storage: tuple[str, ...]) -> None:
    assert "Squid Cache: Version" in run_in(storage, shipped.reference("proxy"), "squid", "-v")


def test_no_certificate_authority_of_this_machine_is_left_in_an_image(
    shipped: Shipped, storage: tuple[str, ...]
) -> None:
    assert run_in(storage, shipped.reference("claude"), "find", "/run/secrets", "/tmp", "-type", "f") == ""


def podman(folder: Path, registry: str) -> dict[str, str]:
    """podman with storage and settings of its own: Debian's asks for rights that not every machine grants."""
    (folder / "containers.conf").write_text(
        '[containers]\ndefault_ulimits = ["nofile=1024:4096", "nproc=1024:1024"]\n'
        '[engine]\ncgroup_manager = "cgroupfs"\nruntime = "runc"\nevents_logger = "file"\n'
    )
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/root"\nrunroot = "{folder}/run"\n'
    )
    (folder / "registries.conf").write_text(f'[[registry]]\nlocation = "{registry}"\ninsecure = true\n')
    return {
        "CONTAINERS_CONF": f"{folder}/containers.conf",
        "CONTAINERS_STORAGE_CONF": f"{folder}/storage.conf",
        "CONTAINERS_REGISTRIES_CONF": f"{folder}/registries.conf",
    }


def test_the_installer_installs_and_the_launcher_starts_an_agent_by_digest(shipped: Shipped, tmp_path: Path) -> None:
    host, _, namespace = shipped.registry.partition("/")
    prefix = tmp_path / "installed"
    done = subprocess.run(
        [
            "sh", str(shipped.folder / "payload/install.sh"), "--registry", host, "--namespace", namespace,
            "--channel", "dev", "--insecure-http", "--prefix", str(prefix),
        ],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    launcher = next(prefix.glob("**/current/**/bin/containai"))
    images = subprocess.run([launcher, "images"], capture_output=True, text=True, check=True).stdout
    assert shipped.digest("claude") in images
    (tmp_path / "workspace").mkdir()
    engine = podman(tmp_path, host)
    try:
        started = subprocess.run(
            [
                launcher, "run", "claude", "--engine", str(debian("podman").name), "--network", "none",
                "--workspace", tmp_path / "workspace", "--", "--version",
            ],
            capture_output=True, text=True, timeout=300, env={**os.environ, **engine, "HOME": str(tmp_path)},
        )  # fmt: skip
        assert started.returncode == 0, started.stdout + started.stderr
        lock = json.loads((shipped.folder / "docker/claude/package-lock.json").read_text())
        assert lock["packages"]["node_modules/@anthropic-ai/claude-code"]["version"] in started.stdout
    finally:
        subprocess.run(["umount", tmp_path / "root/overlay"], check=False, capture_output=True)
