"""An external base in a registry whose tag moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.e2e.release.conftest import IMAGES, Demo, digests, outcomes, tags_of
from tests.real.busybox import busybox_tar, write_layout
from tests.real.clients import crane, skopeo
from tests.real.registries import docker_registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry with two versions of a base image, the first under the tag ``stable``."""
    folder = tmp_path_factory.mktemp("upstream")
    with docker_registry(folder) as address:
        for tag, command in (("one", ("sh",)), ("two", ("sh", "-l"))):
            layout = write_layout(folder / tag, {"amd64": busybox_tar("amd64")}, tag, command)
            skopeo("copy", "--all", "--preserve-digests", layout.skopeo, f"docker://{address}/busybox:{tag}")
        yield address


def test_moved_base_is_a_new_revision_of_the_same_commit(demo: Demo, upstream: str, tmp_path: Path) -> None:
    base = f"{upstream}/busybox:stable"
    crane("tag", f"{upstream}/busybox:one", "stable")
    demo.edit("shipgraph.toml", 'parent = "base"\n\n[payload]', f'base = "{base}"\n\n[payload]')
    commit = demo.commit()
    first = demo.json("rehearse")
    assert first["immutableTag"] == f"sha-{commit}"
    assert demo.json("rehearse")["unchanged"] is True

    crane("tag", f"{upstream}/busybox:two", "stable")
    plan = demo.json("plan", "--root", demo.root)
    planned = {image["key"]: image["platforms"]["linux/amd64"] for image in plan["images"]}
    assert {key: build["action"] for key, build in planned.items()} == {
        "base": "reuse", "app": "reuse", "tool": "reuse", "side": "build",
    }  # fmt: skip
    assert planned["side"]["why"] == "the base image"
    assert plan["immutableTag"] == f"sha-{commit}-r2"
    second = demo.json("rehearse")
    assert second["immutableTag"] == f"sha-{commit}-r2"
    assert outcomes(second) == {"base": "unchanged", "app": "unchanged", "tool": "unchanged", "side": "built"}
    assert {key for key in IMAGES if digests(first)[key] != digests(second)[key]} == {"side"}
    tags = tags_of(demo.root)
    for key in IMAGES:
        assert tags[f"demo-{key}:sha-{commit}"] == digests(first)[key]
        assert tags[f"demo-{key}:sha-{commit}-r2"] == tags[f"demo-{key}:dev"] == digests(second)[key]

    # pinned by the program itself, the tag may move as it likes; prod takes nothing else
    prod = ("--registry", "127.0.0.1:9/acme", "--version", "v1.0.0")
    demo.git("tag", "v1.0.0")
    unpinned = demo.run("release", *prod, code=2)
    assert "channel prod takes only bases pinned by digest, and side has none" in unpinned.err
    assert "run `shipgraph pin` and commit the file" in unpinned.err
    pinned = demo.run("pin")
    digest = crane("digest", f"{upstream}/busybox:two").strip()
    assert f"side: {base} → {base}@{digest}" in pinned.out
    demo.commit()
    crane("tag", f"{upstream}/busybox:one", "stable")
    third = demo.json("rehearse")
    assert digests(third)["side"] == digests(second)["side"]
    assert demo.run("release", *prod, code=5).err, "only the registry is missing now"


def test_base_that_can_not_be_pulled_and_was_never_there(demo: Demo, upstream: str) -> None:
    demo.edit("shipgraph.toml", 'parent = "base"\n\n[payload]', f'base = "{upstream}/nobody:1"\n\n[payload]')
    demo.commit()
    done = demo.run("rehearse", code=1)
    assert f"base image {upstream}/nobody:1 doesn't exist" in done.err
    demo.edit("shipgraph.toml", f"{upstream}/nobody:1", "127.0.0.1:9/nobody:1")
    demo.commit()
    down = demo.run("rehearse", code=5)
    assert "base image 127.0.0.1:9/nobody:1 can't be pulled" in down.err
    assert "  next: " in down.err
    planned = demo.run("plan", "--root", demo.root)
    assert "its base is not resolved yet" in planned.out
    assert "note: " in planned.out
