"""Foreign clients push to, pull from, copy within, list and delete from ``shipgraph serve``."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from tests.real.buildkit import Buildx, buildkitd
from tests.real.busybox import Layout, busybox_layout
from tests.real.clients import ClientFailed, crane, oras, regctl, skopeo
from tests.real.tools import debian

from .program import shipgraph_serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with shipgraph_serve(tmp_path_factory.mktemp("serve")) as address:
        yield address


@pytest.fixture(scope="module")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return busybox_layout(tmp_path_factory.mktemp("busybox"))


@pytest.fixture
def image(registry: str, busybox: Layout, request: pytest.FixtureRequest) -> str:
    """An index of two platforms in a repository of this test's own."""
    name = f"{registry}/clients/{request.node.name.removeprefix('test_').replace('_', '-')}"
    skopeo("copy", "--quiet", "--all", "--preserve-digests", busybox.skopeo, f"docker://{name}:v1")
    return name


def tags(name: str) -> list[str]:
    """As the registry lists them, asked by nobody's client."""
    host, _, repository = name.partition("/")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{host}/v2/{repository}/tags/list", timeout=5) as answer:
        found: list[str] = json.load(answer)["tags"]
    return found


def test_skopeo(image: str, busybox: Layout, tmp_path: Path) -> None:
    inspected: dict[str, Any] = json.loads(skopeo("inspect", f"docker://{image}:v1"))
    assert inspected["RepoTags"] == ["v1"]
    skopeo("copy", "--all", "--preserve-digests", f"docker://{image}:v1", f"docker://{image}-copy:v2")
    skopeo("copy", "--all", "--preserve-digests", f"docker://{image}-copy:v2", f"oci:{tmp_path / 'pulled'}:v2")
    index = json.loads((tmp_path / "pulled" / "index.json").read_text())
    assert index["manifests"][0]["digest"] == busybox.index
    assert json.loads(skopeo("list-tags", f"docker://{image}-copy"))["Tags"] == ["v2"]
    skopeo("delete", f"docker://{image}-copy:v2")
    assert tags(f"{image}-copy") == []


def test_crane(image: str, busybox: Layout, tmp_path: Path) -> None:
    assert crane("digest", f"{image}:v1").strip() == busybox.index
    crane("copy", f"{image}:v1", f"{image}-copy:v2")
    crane("tag", f"{image}-copy:v2", "v3")
    assert crane("ls", f"{image}-copy").split() == ["v2", "v3"]
    crane("pull", "--format", "oci", f"{image}-copy:v3", str(tmp_path / "pulled"))
    crane("push", "--index", str(tmp_path / "pulled"), f"{image}-again:v4")
    crane("validate", "--remote", f"{image}-copy:v3")
    assert set(crane("catalog", image.partition("/")[0]).split()) >= {
        f"{image}{more}".partition("/")[2] for more in ("", "-copy", "-again")
    }
    crane("delete", f"{image}-copy@{busybox.index}")
    assert tags(f"{image}-copy") == []


def test_oras(image: str, busybox: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "note.txt").write_text("a note")
    oras("push", f"{image}-artifact:v1", "--artifact-type", "application/vnd.test", "note.txt:text/plain")
    oras("attach", f"{image}:v1", "--artifact-type", "application/vnd.note", "note.txt:text/plain")
    found = json.loads(oras("discover", "--format", "json", f"{image}:v1"))
    assert [one["artifactType"] for one in found["referrers"]] == ["application/vnd.note"]
    assert tags(image) == ["v1"], "by the referrers API, so there is no tag for them"
    oras("copy", "--recursive", f"{image}:v1", f"{image}-copy:v2")
    copied = json.loads(oras("discover", "--format", "json", f"{image}-copy:v2"))
    assert len(copied["referrers"]) == 1
    oras("pull", f"{image}-artifact:v1", "--output", "pulled")
    assert (tmp_path / "pulled" / "note.txt").read_text() == "a note"
    oras("tag", f"{image}-copy:v2", "v3")
    assert oras("repo", "tags", f"{image}-copy").split() == ["v2", "v3"]
    oras("blob", "push", f"{image}-copy", "note.txt")
    oras("manifest", "delete", "--force", f"{image}-copy:v2")
    assert tags(f"{image}-copy") == []


def test_regctl(image: str, busybox: Layout, tmp_path: Path) -> None:
    assert regctl("image", "digest", f"{image}:v1").strip() == busybox.index
    regctl("image", "copy", "--referrers", "--digest-tags", f"{image}:v1", f"{image}-copy:v2")
    assert regctl("tag", "ls", f"{image}-copy").split() == ["v2"]
    regctl("image", "copy", f"{image}-copy:v2", f"ocidir://{tmp_path / 'pulled'}:v2")
    regctl("image", "copy", f"ocidir://{tmp_path / 'pulled'}:v2", f"{image}-copy:v3")
    assert regctl("image", "digest", f"{image}-copy:v3").strip() == busybox.index
    regctl("tag", "delete", f"{image}-copy:v2")
    assert tags(f"{image}-copy") == ["v3"]
    regctl("manifest", "delete", "--force-tag-dereference", f"{image}-copy:v3")
    with pytest.raises(ClientFailed):
        regctl("image", "digest", f"{image}-copy:v3")


def test_buildah(image: str, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {image}:v1\nRUN echo built > /built\n")
    storage = ["--root", str(tmp_path / "root"), "--runroot", str(tmp_path / "runroot"), "--storage-driver", "vfs"]

    def buildah(*arguments: str) -> str:
        command = [str(debian("buildah")), *storage, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180, env={**os.environ, "no_proxy": "*"})
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
        return done.stdout

    buildah("bud", "--isolation", "chroot", "--tls-verify=false", "--tag", f"{image}-built:v1", str(tmp_path))
    buildah("push", "--tls-verify=false", f"{image}-built:v1", f"docker://{image}-built:v1")
    buildah("rmi", "--all", "--force")
    buildah("pull", "--tls-verify=false", f"{image}-built:v1")
    assert tags(f"{image}-built") == ["v1"]
    crane("validate", "--remote", f"{image}-built:v1")


def test_buildx(image: str, tmp_path: Path) -> None:
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "Dockerfile").write_text(f"FROM {image}:v1\nRUN echo built > /built\n")
    cache = f"type=registry,ref={image}-cache:v1"
    with buildkitd(tmp_path / "buildkit") as address:
        buildx = Buildx.at(address, tmp_path / "home")
        output = ("--output", f"type=image,name={image}-built:v1,push=true")
        buildx.build(*output, "--cache-to", f"{cache},mode=max", str(tmp_path / "context"))
        buildx.run("prune", "--builder", buildx.builder, "--all", "--force")
        log = buildx.build(*output, "--cache-from", cache, str(tmp_path / "context"))
        assert "CACHED" in log
        buildx.run("imagetools", "create", "--tag", f"{image}-built:v2", f"{image}-built:v1")
        buildx.run("imagetools", "inspect", f"{image}-built:v2")
    assert tags(f"{image}-built") == ["v1", "v2"]
    assert tags(f"{image}-cache") == ["v1"]
    crane("validate", "--remote", f"{image}-built:v2")
