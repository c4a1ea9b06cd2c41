"""The rehearsal: from nothing to a published channel, and what later ones do and leave alone."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING

import pytest
from tests.e2e.release.conftest import (
    IMAGES,
    TWO,
    Demo,
    Done,
    copy_project,
    digests,
    files_of,
    finish,
    moving_tags_of,
    outcomes,
    tags_of,
)

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.real


def test_from_nothing_ends_with_the_channels_table(rehearsed: Demo, rehearsed_once: tuple[Path, Done]) -> None:
    text = rehearsed_once[1].out
    commit = rehearsed.git("rev-parse", "HEAD")
    assert text.startswith(f"channel dev  version dev  sha-{commit}\n")
    for key in IMAGES:
        assert re.search(rf"^acme/demo-{key} +sha256:[0-9a-f]{{12}} +amd64 +built$", text, re.MULTILINE)
    assert re.search(r"^evidence: gate ok  test MISSING .*, not required  provenance ok", text, re.MULTILINE)
    assert "\nmoved: dev of every image, together\nlook at it: shipgraph status --root " in text
    assert rehearsed.git("status", "--porcelain") == "", "the folder keeps itself out of git"
    tags = tags_of(rehearsed.root)
    for key in (*IMAGES, "payload"):
        assert tags[f"demo-{key}:dev"], "every image and the payload has the channel's tag"
    assert tags["demo-metadata:dev"] == tags["demo-metadata:channels"]
    for key in IMAGES:
        assert tags[f"demo-{key}:dev"] == tags[f"demo-{key}:sha-{commit}"]
    rows = rehearsed.json("verify", "dev", "--root", rehearsed.root)["rows"]
    assert {row["state"] for row in rows} <= {"ok", "not applicable", "MISSING"}


def test_second_run_builds_nothing_and_leaves_every_byte(rehearsed: Demo) -> None:
    before = files_of(rehearsed.root)
    done = rehearsed.run("rehearse")
    assert "unchanged: dev already is this release" in done.out
    assert "built" not in done.out
    assert files_of(rehearsed.root) == before
    assert not (rehearsed.folder / ".shipgraph" / "builder").exists(), "no builder was even looked for"
    document = rehearsed.json("rehearse")
    assert document["unchanged"] is True
    assert files_of(rehearsed.root) == before


def test_plan_changes_nothing_and_needs_no_registry(demo: Demo) -> None:
    done = demo.run("plan", "--root", demo.root)
    assert "it was never built" in done.out
    assert not (demo.folder / ".shipgraph").exists()


def test_one_character_rebuilds_the_image_and_its_descendants_alone(rehearsed: Demo) -> None:
    before = rehearsed.json("status", "--root", rehearsed.root)["channels"][0]["metadata"]
    rehearsed.edit("docker/app/hello", "hello", "hallo")
    commit = rehearsed.commit("one character")
    plan = rehearsed.json("plan", "--root", rehearsed.root)
    planned = {image["key"]: image["platforms"]["linux/amd64"] for image in plan["images"]}
    assert {key: build["action"] for key, build in planned.items()} == {
        "base": "reuse", "app": "build", "tool": "build", "side": "reuse",
    }  # fmt: skip
    assert planned["app"]["why"] == "files of the context"
    assert planned["tool"]["why"] == "app is built"
    text = rehearsed.run("plan", "--root", rehearsed.root).out
    assert re.search(r"app +linux/amd64 +build +files of the context$", text, re.MULTILINE)

    released = rehearsed.json("rehearse")
    assert outcomes(released) == {"base": "unchanged", "side": "unchanged", "app": "built", "tool": "built"}
    old, new = digests(before), digests(released)
    assert {key for key in IMAGES if old[key] != new[key]} == {"app", "tool"}
    tags = tags_of(rehearsed.root)
    for key in IMAGES:
        assert tags[f"demo-{key}:sha-{commit}"] == tags[f"demo-{key}:dev"] == new[key]
    assert tags[f"demo-base:{before['immutable_tag']}"] == old["base"]
    assert plan["immutableTag"] == released["immutableTag"] == f"sha-{commit}"


def test_independent_images_overlap_in_time(rehearsed: Demo) -> None:
    spans = {}
    metadata = rehearsed.root / "acme" / "demo-metadata"
    for entry in json.loads((metadata / "index.json").read_text())["manifests"]:
        if not entry.get("annotations", {}).get("org.opencontainers.image.ref.name", "").startswith("build-"):
            continue
        manifest = json.loads((metadata / "blobs" / "sha256" / entry["digest"].removeprefix("sha256:")).read_text())
        layer = metadata / "blobs" / "sha256" / manifest["layers"][0]["digest"].removeprefix("sha256:")
        record = json.loads(layer.read_text())
        if record["platform"] != "index":
            spans[record["image"]] = (record["started"], record["ended"])
    assert set(spans) == set(IMAGES)
    assert spans["app"][0] < spans["side"][1]
    assert spans["side"][0] < spans["app"][1]
    assert spans["base"][1] <= spans["app"][0]
    assert spans["app"][1] <= spans["tool"][0]


def test_dirty_tree_is_a_revision_of_its_own(rehearsed: Demo) -> None:
    rehearsed.edit("docker/side/hello", "hello", "dirty")
    refused = rehearsed.run("release", "--registry", "127.0.0.1:1/acme", code=2)
    assert "docker/side/hello" in refused.err
    assert "commit or stash them; `shipgraph rehearse` takes a dirty tree" in refused.err
    released = rehearsed.json("rehearse")
    assert released["immutableTag"].endswith("-r2")
    assert outcomes(released)["side"] == "built"
    assert outcomes(released)["base"] == outcomes(released)["app"] == outcomes(released)["tool"] == "unchanged"


def test_older_commit_after_a_newer_one_is_a_conflict(rehearsed: Demo) -> None:
    first = rehearsed.git("rev-parse", "HEAD")
    rehearsed.edit("docker/tool/hello", "hello", "newer")
    newer = rehearsed.commit("newer")
    rehearsed.run("rehearse")
    before = moving_tags_of(rehearsed.root)
    rehearsed.git("checkout", "--quiet", first)
    done = rehearsed.run("rehearse", "--channel", "dev", code=4)
    assert first[:12] in done.err
    assert newer[:12] in done.err
    assert "  next: " in done.err
    assert moving_tags_of(rehearsed.root) == before
    rehearsed.git("checkout", "--quiet", "main")
    assert rehearsed.json("rehearse")["unchanged"] is True


def test_promotion_needs_no_builder_and_keeps_every_digest(rehearsed: Demo, tmp_path: Path) -> None:
    only_git = tmp_path / "bin"
    only_git.mkdir()
    (only_git / "git").symlink_to(shutil.which("git") or "git")
    path = {"PATH": str(only_git)}
    before = rehearsed.json("status", "--root", rehearsed.root)["channels"][0]["metadata"]
    rehearsed.git("tag", "v1.2.0")
    promoted = rehearsed.json("promote", "--version", "v1.2.0", "--root", rehearsed.root, environment=path)
    assert promoted["channel"] == "prod"
    assert promoted["version"] == "v1.2.0"
    assert digests(promoted) == digests(before)
    tags = tags_of(rehearsed.root)
    for key in IMAGES:
        assert tags[f"demo-{key}:prod"] == tags[f"demo-{key}:v1.2.0"] == tags[f"demo-{key}:dev"]
    assert tags["demo-metadata:prod"] == tags["demo-metadata:v1.2.0"] == tags["demo-metadata:channels"]
    assert promoted["payload"]["digest"] == tags["demo-payload:v1.2.0"] != before["payload"]["digest"]

    def layers(digest: str) -> list[str]:
        blob = rehearsed.root / "acme" / "demo-payload" / "blobs" / "sha256" / digest.removeprefix("sha256:")
        return [layer["digest"] for layer in json.loads(blob.read_text())["layers"]]

    assert layers(promoted["payload"]["digest"]) == layers(before["payload"]["digest"])
    assert rehearsed.json("verify", "prod", "--root", rehearsed.root, environment=path)["ok"] is True

    lower = rehearsed.json("promote", "--version", "v1.1.0", "--root", rehearsed.root, environment=path)
    now = tags_of(rehearsed.root)
    changed = {name for name in {*tags, *now} if tags.get(name) != now.get(name)}
    own = {f"demo-{key}:v1.1.0" for key in (*IMAGES, "payload", "metadata")}
    assert own <= changed, "a lower version gets its own tags"
    assert {name for name in changed - own if name.partition(":")[2] in ("dev", "prod", "channels")} == set()
    assert lower["moved"] is True

    again = rehearsed.run("promote", "--version", "v1.2.0", "--root", rehearsed.root, environment=path)
    assert "unchanged" in again.out


def test_two_releases_of_one_commit_at_once(demo: Demo, tmp_path: Path, registry: str) -> None:
    target = ("--registry", f"{registry}/twice", "--channel", "dev", "--json")
    demo.write("shipgraph.toml", TWO.replace(', "linux/arm64"', ""))
    demo.commit()
    copies = [demo, copy_project(demo.folder, tmp_path / "elsewhere")]
    running = [copy.start("release", *target) for copy in copies]
    ended = [finish(process, code=None) for process in running]
    assert [done.code for done in ended] == [0, 0], "\n".join(done.err for done in ended)
    documents = [done.document for done in ended]
    assert digests(documents[0]) == digests(documents[1])
    assert documents[0]["immutableTag"] == documents[1]["immutableTag"]
    assert sorted(document["moved"] for document in documents) == [False, True]
    assert documents[0]["metadata"]["digest"] == documents[1]["metadata"]["digest"]
    status = copies[0].json("status", "--registry", f"{registry}/twice")
    assert digests(status["channels"][0]["metadata"]) == digests(documents[0])
    assert status["transaction"] is None


def test_platforms_on_machines_of_their_own(rehearsed: Demo, tmp_path: Path) -> None:
    """build --platform pushes by digest and sets no tag; assemble makes the image of it, without a builder."""
    rehearsed.edit("docker/side/hello", "hello", "apart")
    commit = rehearsed.commit()
    before = moving_tags_of(rehearsed.root)
    root = ("--root", rehearsed.root)
    early = rehearsed.run("assemble", *root, code=3)
    assert f"the registry has no release of commit {commit}" in early.err
    built = rehearsed.json("build", "side", "--platform", "linux/amd64", *root)
    assert outcomes(built) == {"base": "unchanged", "side": "built"}
    assert built["images"][1]["digest"] is None
    assert not [name for name in tags_of(rehearsed.root) if name.startswith("demo-side:") and commit in name]
    only_git = tmp_path / "bin"
    only_git.mkdir()
    (only_git / "git").symlink_to(shutil.which("git") or "git")
    assembled = rehearsed.json("assemble", "side", *root, environment={"PATH": str(only_git)})
    assert assembled["images"][1]["platforms"] == built["images"][1]["platforms"]
    assert tags_of(rehearsed.root)[f"demo-side:sha-{commit}"] == assembled["images"][1]["digest"]
    incomplete = rehearsed.run("finalize", *root, code=3)
    assert "is not there, so the release is not complete" in incomplete.err
    assert moving_tags_of(rehearsed.root) == before
    wrong = rehearsed.run("build", "side", "--platform", "linux/arm64", *root, code=2)
    assert "linux/arm64; allowed: linux/amd64" in wrong.err
    assert outcomes(rehearsed.json("build", *root))["side"] == "unchanged"
    assert rehearsed.json("payload", *root)["uploaded"] is True
    assert rehearsed.json("finalize", *root)["moved"] is True


def test_pull_request_pushes_nothing_outside_and_moves_no_tag(rehearsed: Demo, tmp_path: Path) -> None:
    event = tmp_path / "event.json"
    rehearsed.git("checkout", "--quiet", "-b", "change")
    rehearsed.edit("docker/side/hello", "hello", "from a fork")
    rehearsed.commit()
    head = rehearsed.git("rev-parse", "HEAD")
    pull = {"number": 7, "pull_request": {"number": 7, "head": {"sha": head}, "base": {"ref": "main"}}}
    event.write_text(
        json.dumps(pull | {"repository": {"full_name": "acme/demo", "html_url": "https://github.com/acme/demo"}})
    )
    github = {
        "GITHUB_EVENT_NAME": "pull_request", "GITHUB_REF": "refs/pull/7/merge", "GITHUB_SHA": head,
        "GITHUB_REPOSITORY": "acme/demo", "GITHUB_SERVER_URL": "https://github.com",
    }  # fmt: skip
    before = moving_tags_of(rehearsed.root)
    done = rehearsed.json("build", "--event", event, environment=github)
    assert outcomes(done)["side"] == "built"
    assert moving_tags_of(rehearsed.root) == before
    refused = rehearsed.run("release", "--event", event, "--registry", "127.0.0.1:1/x", code=2, environment=github)
    assert "a pull request publishes nothing" in refused.err


def test_nothing_is_left_behind_in_the_machines_temporary_folder(rehearsed: Demo, tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    rehearsed.edit("docker/side/hello", "hello", "tidy")
    rehearsed.run("rehearse", environment={"TMPDIR": str(temporary)})
    assert list(temporary.iterdir()) == []
    assert list((rehearsed.folder / ".shipgraph" / "jobs").iterdir()) == []
