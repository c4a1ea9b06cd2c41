"""The same release through buildah and BuildKit, on two platforms, and out of a registry's cache."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from tests.e2e.release.conftest import TWO, Demo, digests, outcomes, unmount
from tests.real.buildkit import buildkitd
from tests.real.clients import crane, skopeo
from tests.real.registries import distribution_v3
from tests.real.tools import enable_arm64, pinned

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry; each test takes a namespace of its own."""
    with distribution_v3(tmp_path_factory.mktemp("registry")) as address:
        yield address


@contextmanager
def cold_builder(kind: str, folder: Path) -> Iterator[dict[str, str]]:
    """The environment of a program that has only this builder; a BuildKit knows nothing yet."""
    programs = folder / "programs"
    programs.mkdir(parents=True)
    wanted = ("git", "buildah", "sh") if kind == "buildah" else ("git",)
    for name in wanted:
        (programs / name).symlink_to(shutil.which(name) or name)
    # buildah looks for helpers in system folders by itself; its own storage lies in the project
    path = {"PATH": f"{programs}:/usr/sbin:/sbin" if kind == "buildah" else f"{programs}:{pinned('buildx').parent}"}
    if kind == "buildah":
        yield path
    else:
        with buildkitd(folder / "buildkit") as address:
            yield {**path, "BUILDKIT_HOST": address, "HOME": str(folder), "DOCKER_CONFIG": str(folder / "docker")}


def logs(demo: Demo) -> str:
    """What the builder wrote about all images."""
    return "\n".join(path.read_text() for path in (demo.folder / ".shipgraph" / "logs").glob("*.log"))


@pytest.mark.parametrize("kind", ["buildah", "buildx"])
def test_two_platforms_in_one_index(demo: Demo, tmp_path: Path, place: str, kind: str) -> None:
    enable_arm64()
    demo.write("shipgraph.toml", TWO)
    demo.commit()
    target = ("--registry", f"{place}/{kind}", "--channel", "dev")
    with cold_builder(kind, tmp_path / "machine") as environment:
        released = demo.json("release", *target, environment=environment)
        assert demo.json("release", *target, environment=environment)["unchanged"] is True
    for image in released["images"]:
        assert list(image["platforms"]) == image["builtPlatforms"] == ["linux/amd64", "linux/arm64"]
        for platform, digest in image["platforms"].items():
            seen = json.loads(skopeo("inspect", "--config", f"docker://{image['repository']}@{digest}"))
            assert f"{seen['os']}/{seen['architecture']}" == platform
    assert crane("digest", f"{place}/{kind}/demo-app:dev").strip() == digests(released)["app"]
    for architecture, machine in (("amd64", "x86_64"), ("arm64", "aarch64")):
        image = tmp_path / architecture
        crane("export", "--platform", f"linux/{architecture}", f"{place}/{kind}/demo-app:dev", str(image))
        assert f"hello from app\n{machine}\n".encode() in image.read_bytes(), "built by programs of its own platform"


def test_rehearsal_of_one_platform_says_which_it_left_out(demo: Demo) -> None:
    demo.write("shipgraph.toml", TWO)
    demo.commit()
    done = demo.run("rehearse", "--platform", "linux/amd64")
    assert "not built: linux/arm64" in done.out
    assert demo.json("rehearse", "--platform", "linux/amd64")["omittedPlatforms"] == ["linux/arm64"]
    # what a rehearsal narrowed can be looked at, and is not taken for more than it is
    assert demo.json("verify", "dev", "--root", demo.root)["ok"] is True
    refused = demo.run("release", "--platform", "linux/amd64", code=2)
    assert "No such option" in refused.err


@pytest.mark.parametrize(("kind", "hit"), [("buildah", "Using cache"), ("buildx", "CACHED")])
def test_registry_cache_serves_a_cold_builder(demo: Demo, tmp_path: Path, place: str, kind: str, hit: str) -> None:
    demo.write("shipgraph.toml", TWO.replace(', "linux/arm64"', "").replace('"auto"', f'"{kind}"\ncache = "registry"'))
    demo.commit()
    namespace = f"{place}/cold-{kind}"
    found = []
    for number in range(2):
        with cold_builder(kind, tmp_path / f"machine-{number}") as environment:
            target = ("--registry", namespace, "--channel", "dev")
            released = demo.json("release", *target, environment=environment)
        assert set(outcomes(released).values()) == {"built"}
        found.append((digests(released), logs(demo)))
        for tag in crane("ls", f"{namespace}/demo-metadata").split():
            if tag.startswith("build-"):  # without records all has to be built again
                crane("delete", f"{namespace}/demo-metadata:{tag}")
        unmount(demo.folder)
        shutil.rmtree(demo.folder / ".shipgraph")
    assert hit not in found[0][1]
    assert found[1][1].count(hit) >= 2, "the last step of both images"
    assert found[0][0] == found[1][0]
    for key in ("base", "app"):
        assert crane("ls", f"{namespace}/demo-cache/runtime-{key}").split()


def test_no_cache_runs_every_step(demo: Demo) -> None:
    demo.write("shipgraph.toml", TWO.replace(', "linux/arm64"', "").replace('"auto"', '"buildah"\ncache = "none"'))
    demo.commit()
    for root in ("one", "two"):
        demo.run("rehearse", "--root", root)
    assert "Using cache" not in logs(demo)
