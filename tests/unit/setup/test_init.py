"""A draft has the graph that the Dockerfiles have, loads, and says what is left to do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.real.tools import pinned

from shipgraph.cli.main import main
from shipgraph.errors import ConfigurationError
from shipgraph.project.loader import load_project
from shipgraph.setup.init import common_name, draft_bake, draft_tree, exists, write
from shipgraph.setup.init_draft import Draft, DraftImage, slug
from shipgraph.setup.init_file import render

CONTAINAI = Path(__file__).parents[3] / "containai"
OWN = "ARG BASE_IMAGE={}\nFROM ${{BASE_IMAGE}}\n"


def lay(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def graph(folder: Path, name: str = "demo") -> dict[str, str]:
    """Each image's parent or base, of a draft that loads."""
    drafted = draft_tree(folder, folder, name)
    assert drafted.problems == ()
    write(drafted, force=True)
    return {image.key: image.parent or str(image.base) for image in load_project(folder).graph}


def test_containai_is_drafted_as_it_is(tmp_path: Path) -> None:
    copied = tmp_path / "containai"
    shutil.copytree(CONTAINAI, copied, ignore=shutil.ignore_patterns(".*", "shipgraph.toml", "__pycache__"))
    write(draft_tree(copied, copied, "containai"))
    ours, drafted = load_project(CONTAINAI), load_project(copied)
    for real in ours.graph:
        image = drafted.graph[real.key]
        assert (image.parent, image.repository, image.context, image.dockerfile, image.platforms, image.secrets) == (
            real.parent, real.repository, real.context, real.dockerfile, real.platforms, real.secrets,
        )  # fmt: skip
        assert str(image.base).partition("@")[0] == str(real.base).partition("@")[0]
    assert len(drafted.graph) == len(ours.graph)
    assert drafted.payload is not None


def test_one_dockerfile_at_the_root_is_the_project(tmp_path: Path) -> None:
    assert graph(lay(tmp_path, {"Dockerfile": "FROM alpine:3\nCOPY . /x\n"})) == {"demo": "alpine:3"}


def test_names_of_files_and_folders(tmp_path: Path) -> None:
    files = dict.fromkeys(
        (
            "Dockerfile", "Dockerfile.worker", "cron.Dockerfile", "docker/Containerfile.init",
            "services/API/Dockerfile",
            "a/x/Dockerfile", "b/x/Dockerfile", "Dockerfile.dockerignore", "node_modules/y/Dockerfile",
            ".git/z/Dockerfile",
        ),
        "FROM alpine:3\n",
    )  # fmt: skip
    assert set(graph(lay(tmp_path, files))) == {"demo", "worker", "cron", "init", "api", "a-x", "b-x"}


@pytest.mark.parametrize(
    ("reference", "parent"),
    [
        ("demo-base", "base"),
        ("demo-base:latest", "base"),
        ("ghcr.io/acme/demo-base:1.2", "base"),
        ("ghcr.io/acme/demo-base@sha256:" + "0" * 64, "base"),
        ("localhost:5000/demo-base", "base"),
        ("base", "base"),
        ("base:local", "base"),
        ("demo/base", "base"),
        ("base:12.1", "base:12.1"),
        ("library/base", "library/base"),
        ("quay.io/other/base:1", "quay.io/other/base:1"),
        ("debian:12", "debian:12"),
    ],
)
def test_who_is_meant_by_a_name(tmp_path: Path, reference: str, parent: str) -> None:
    lay(tmp_path, {"base/Dockerfile": OWN.format("debian:12"), "app/Dockerfile": OWN.format(reference)})
    assert graph(tmp_path)["app"] == parent


def test_an_image_named_as_its_base_is_not_its_own_parent(tmp_path: Path) -> None:
    assert graph(lay(tmp_path, {"debian/Dockerfile": OWN.format("debian")})) == {"debian": "debian"}


def test_a_circle_of_names_is_none_of_parents(tmp_path: Path) -> None:
    lay(tmp_path, {"a/Dockerfile": OWN.format("demo-b"), "b/Dockerfile": OWN.format("demo-a")})
    lay(tmp_path, {"c/Dockerfile": OWN.format("demo-a")})
    assert graph(tmp_path) == {"a": "demo-b", "b": "demo-a", "c": "a"}


def test_the_context_is_the_nearest_folder_with_all_that_is_copied(tmp_path: Path) -> None:
    lay(
        tmp_path,
        {
            "docker/own/Dockerfile": "FROM alpine\nCOPY run.sh conf/*.txt /\n",
            "docker/own/run.sh": "",
            "docker/own/conf/a.txt": "",
            "docker/wide/Dockerfile": "FROM alpine\nCOPY src/main.py /\n",
            "src/main.py": "",
            "docker/lost/Dockerfile": "FROM alpine\nCOPY nothing ../up /\n",
        },
    )
    images = {image.key: image for image in draft_tree(tmp_path, tmp_path, "demo").draft.images}
    assert (images["own"].context, images["wide"].context, images["lost"].context) == ("docker/own", ".", "docker/lost")
    assert any("nothing" in note for note in images["lost"].notes)
    assert graph(tmp_path)["wide"] == "alpine"


def test_what_does_not_take_the_base_is_told_what_to_change(tmp_path: Path) -> None:
    drafted = draft_tree(lay(tmp_path, {"app/Dockerfile": "FROM alpine:3\n"}), tmp_path, "demo")
    assert "# TODO app/Dockerfile:1 says `FROM alpine:3`" in drafted.text
    fixed = draft_tree(lay(tmp_path, {"app/Dockerfile": OWN.format("alpine:3")}), tmp_path, "demo")
    assert "TODO" not in fixed.text


def test_a_base_that_can_not_be_told_is_left_to_a_person(tmp_path: Path) -> None:
    lay(tmp_path, {"a/Dockerfile": "ARG BASE_IMAGE\nFROM $BASE_IMAGE\n", "b/Dockerfile": "ARG X\nFROM $X-${Y}\n"})
    drafted = draft_tree(tmp_path, tmp_path, "demo")
    assert drafted.text.count("can't be told") == 2
    assert drafted.project is not None


def test_a_fixed_platform_is_the_images_and_its_childrens(tmp_path: Path) -> None:
    lay(tmp_path, {"base/Dockerfile": "ARG BASE_IMAGE=debian\nFROM --platform=linux/amd64 $BASE_IMAGE\n"})
    lay(tmp_path, {"app/Dockerfile": OWN.format("demo-base")})
    graph(tmp_path)
    project = load_project(tmp_path)
    assert [str(platform) for platform in project.graph["app"].platforms] == ["linux/amd64"]


def test_arguments_without_a_default_are_asked_for(tmp_path: Path) -> None:
    drafted = draft_tree(
        lay(
            tmp_path, {"app/Dockerfile": OWN.format("alpine") + "ARG VERSION\nARG TARGETARCH\nARG SOURCE_DATE_EPOCH\n"}
        ),
        tmp_path,
        "demo",
    )
    assert '# args = { VERSION = "…" }' in drafted.text


@pytest.mark.parametrize("text", ["", "# nothing\n", "{{ template }}", "COPY a b\n"])
def test_what_has_no_stage_is_no_image(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match="there is no Dockerfile"):
        draft_tree(lay(tmp_path, {"Dockerfile": text}), tmp_path, "demo")


def test_nothing_outside_of_the_project_is_read(tmp_path: Path) -> None:
    outside = lay(tmp_path / "outside", {"Dockerfile": "FROM alpine\n"})
    inside = lay(tmp_path / "inside", {"app/Dockerfile": "FROM alpine\n"})
    (inside / "link").mkdir()
    (inside / "link" / "Dockerfile").symlink_to(outside / "Dockerfile")
    (inside / "folder").symlink_to(outside)
    assert set(graph(inside)) == {"app"}
    with pytest.raises(ConfigurationError, match="not within"):
        draft_tree(inside, outside, "demo")


@given(st.lists(st.text(max_size=30), max_size=4), st.text(max_size=30))
def test_no_text_breaks_the_file(notes: list[str], value: str) -> None:
    image = DraftImage("app", value or ".", value, base=value, why=value, args={"A": value}, notes=tuple(notes))
    text = render(Draft("demo", ("linux/amd64",), (image,), registry=value, notes=tuple(notes)))
    table = tomllib.loads(text)["images"]["app"]
    assert table["args"] == {"A": value}
    assert set(table) <= {"context", "dockerfile", "base", "args"}


PLACES = st.lists(
    st.text(st.sampled_from("abAB01-_. ü"), min_size=1, max_size=6).filter(lambda part: part.strip(". ") != ""),
    max_size=3,
).map("/".join)
REFERENCES = st.sampled_from(
    [
        "scratch",
        "demo-a",
        "demo-b:1",
        "a",
        "b",
        "ghcr.io/x/demo-a@sha256:" + "1" * 64,
        "UPPER",
        "a b",
        "$X",
        "",
        "-",
        "::",
    ]
)


@settings(deadline=None, max_examples=60)
@given(
    st.dictionaries(PLACES, st.tuples(REFERENCES, st.sampled_from(["", "--platform=linux/amd64 ", "--platform=x "])))
)
def test_every_tree_of_dockerfiles_makes_a_draft_that_loads(tree: dict[str, tuple[str, str]]) -> None:
    with TemporaryDirectory() as place:
        folder = Path(place)
        for path, (reference, option) in tree.items():
            text = f"ARG BASE_IMAGE={reference}\nFROM {option}${{BASE_IMAGE}}\nCOPY x /\n"
            lay(folder, {f"{path}/Dockerfile" if path else "Dockerfile": text})
        try:
            drafted = draft_tree(folder, folder, "demo")
        except ConfigurationError:
            hidden = [path for path in tree if any(part.startswith(".") for part in path.split("/"))]
            assert len(hidden) == len(tree)  # nothing to be seen
            return
        assert drafted.problems == ()
        assert drafted.project is not None


@given(st.text(max_size=80))
def test_a_slug_is_a_name(text: str) -> None:
    import re

    assert re.fullmatch(r"[a-z0-9]+(?:-[a-z0-9]+)*", slug(text))


def test_no_two_things_share_a_repository(tmp_path: Path) -> None:
    names = ("app", "demo-app", "payload", "x/metadata", "a" * 70, "ü", "_", "1")
    lay(tmp_path, {f"{name}/Dockerfile": OWN.format("scratch") for name in names})
    drafted = draft_tree(tmp_path, tmp_path, "demo")
    assert drafted.problems == ()
    assert drafted.project is not None
    assert len({image.repository for image in drafted.project.graph}) == len(names)
    assert drafted.text.count("is taken") == 3


# --- bake files

BAKE: dict[str, Any] = {
    "target": {
        "common": {"platforms": ["linux/amd64"]},
        "base": {
            "context": "base",
            "tags": ["ghcr.io/acme/demo-base:latest"],
            "inherits": ["common"],
            "cache-to": ["type=gha,scope=the-base,mode=max"],
        },
        "app": {
            "context": ".",
            "dockerfile": "docker/app.Dockerfile",
            "contexts": {"ground": "target:base"},
            "args": {"VERSION": "1", "BASE_IMAGE": "ground"},
            "secret": [{"id": "npmrc", "env": "X"}, "id=ca,src=/x"],
            "tags": ["ghcr.io/acme/demo:latest", "ghcr.io/acme/demo:1"],
            "platforms": ["linux/amd64", "linux/arm64"],
            "target": "final",
        },
        "inline": {"dockerfile-inline": "FROM scratch"},
        "remote": {"context": "https://github.com/acme/x.git"},
        "gone": {"context": "nowhere"},
    }
}
FILES = {"base/Dockerfile": OWN.format("debian:12"), "docker/app.Dockerfile": OWN.format("x")}


def test_a_bake_file(tmp_path: Path) -> None:
    lay(tmp_path, FILES)
    (tmp_path / "nowhere").mkdir()
    bake = {"target": {name: table for name, table in BAKE["target"].items() if name != "common"}}
    bake["target"]["base"] = {**BAKE["target"]["common"], **bake["target"]["base"]}
    drafted = draft_bake(
        tmp_path, json.dumps(bake).encode(), tmp_path / "bake.json", "folder", owner="Acme", sure=False
    )
    assert drafted.problems == ()
    project = drafted.project
    assert project is not None
    assert (project.name, project.namespace, project.registry) == ("demo", None, "ghcr.io")
    base, app = project.graph["base"], project.graph["app"]
    assert (app.parent, app.context, app.dockerfile, app.repository) == ("base", ".", "docker/app.Dockerfile", "demo")
    assert (dict(app.args), app.secrets, base.cache_scope) == ({"VERSION": "1"}, ("npmrc", "ca"), "the-base")
    assert [str(platform) for platform in app.platforms] == ["linux/amd64"]  # its parent has no other
    for left in ("inline", "remote", "gone"):
        assert any(f"target {left}" in note for note in drafted.draft.notes)
    assert "builds the stage 'final'" in drafted.text


def test_what_a_handwritten_file_inherits(tmp_path: Path) -> None:
    lay(tmp_path, FILES)
    drafted = draft_bake(tmp_path, json.dumps(BAKE).encode(), tmp_path / "bake.json", "demo")
    assert {image.key: image.platforms for image in drafted.draft.images}["base"] == ("linux/amd64",)


@pytest.mark.parametrize("text", [b"{", b"[]", b"{}", b'{"target": {}}', b'{"target": {"a": 1}}', b"\xff"])
def test_what_is_no_bake_file(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(ConfigurationError, match=r"bake\.json"):
        draft_bake(tmp_path, text, tmp_path / "bake.json", "demo")


@pytest.mark.parametrize(
    ("repositories", "name"),
    [(["demo-base", "demo"], "demo"), (["a", "b"], ""), (["demo", "demonstrate"], ""), ([""], "")],
)
def test_the_name_that_all_begin_with(repositories: list[str], name: str) -> None:
    assert common_name(repositories) == name


# --- the command


def call(folder: Path, *words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, ["init", "--project", str(folder), *words])
    return done.exit_code, done.stdout, done.stderr


def test_the_draft_is_planned(tmp_path: Path) -> None:
    lay(tmp_path, {"base/Dockerfile": OWN.format("scratch"), "app/Dockerfile": OWN.format("demo-base")})
    environment = {
        **os.environ,
        **{f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }
    for words in (["init", "-q"], ["remote", "add", "origin", "https://github.com/Acme/Demo.git"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True, env=environment)
    code, out, _ = call(tmp_path)
    assert code == 0
    assert "app    app/Dockerfile   parent base" in out
    for words in (["add", "-A"], ["commit", "-qm", "x"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True, env=environment)
    done = CliRunner().invoke(main, ["plan", "--project", str(tmp_path), "--root", str(tmp_path / "r"), "--json"])
    assert done.exit_code == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["project"] == "demo"
    assert [(image["key"], image["parent"]) for image in plan["images"]] == [("base", None), ("app", "base")]
    assert plan["images"][0]["repository"] == "ghcr.io/acme/demo-base"


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    lay(tmp_path, {"Dockerfile": "FROM scratch\n", "shipgraph.toml": "mine"})
    code, _, err = call(tmp_path)
    assert code == 2
    assert "--force" in err
    code, out, _ = call(tmp_path, "--dry-run")
    assert code == 0
    assert out.startswith("# Drafted by")
    assert (tmp_path / "shipgraph.toml").read_text() == "mine"
    assert call(tmp_path, "--force")[0] == 0
    assert (tmp_path / "shipgraph.toml").read_text() == out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Dockerfile", "shipgraph.toml"]


def test_two_at_once_do_not_overwrite_each_other(tmp_path: Path) -> None:
    drafted = draft_tree(lay(tmp_path, {"Dockerfile": "FROM scratch\n"}), tmp_path, "demo")
    write(drafted)
    with pytest.raises(ConfigurationError) as refused:
        write(drafted)
    assert str(refused.value) == str(exists(tmp_path / "shipgraph.toml"))


def test_a_draft_that_does_not_load_is_written_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bake = {"target": {"app": {"context": ".", "platforms": ["linux"]}}}
    lay(tmp_path, {"Dockerfile": OWN.format("scratch"), "bake.json": json.dumps(bake)})
    monkeypatch.setenv("PATH", str(tmp_path))  # no buildx: JSON is read as it is
    code, out, err = call(tmp_path, "--from", str(tmp_path / "bake.json"), "--json")
    assert code == 1, err
    assert "to mend: 'linux'" in err
    assert json.loads(out)["problems"]
    assert (tmp_path / "shipgraph.toml").exists()


def test_hcl_without_buildx_says_how_to_get_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(tmp_path, {"docker-bake.hcl": "target x {}"})
    monkeypatch.setenv("PATH", str(tmp_path))  # nor is git needed
    code, _, err = call(tmp_path, "--from", str(tmp_path / "docker-bake.hcl"))
    assert code == 2
    assert "bake --print" in err


HCL = """\
variable "TAG" { default = "latest" }
group "default" { targets = ["app"] }
target "common" { platforms = ["linux/amd64"] }
target "base" {
  inherits = ["common"]
  context = "base"
  tags = ["ghcr.io/acme/demo-base:${TAG}"]
}
target "app" {
  inherits = ["common"]
  context = "."
  dockerfile = "docker/app.Dockerfile"
  contexts = { x = "target:base" }
  tags = ["ghcr.io/acme/demo:${TAG}"]
}
"""


@pytest.mark.real
def test_hcl_is_read_by_buildx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(tmp_path, {**FILES, "docker-bake.hcl": HCL})
    monkeypatch.setenv("PATH", f"{Path(pinned('buildx')).parent}:{os.environ['PATH']}")
    code, out, err = call(tmp_path, "--from", str(tmp_path / "docker-bake.hcl"), "--json")
    assert code == 0, err
    drafted = json.loads(out)
    assert (drafted["project"], drafted["platforms"]) == ("demo", ["linux/amd64"])
    assert [(image["key"], image["parent"]) for image in drafted["images"]] == [("base", None), ("app", "base")]
    (tmp_path / "docker-bake.hcl").write_text("target {")
    code, _, err = call(tmp_path, "--from", str(tmp_path / "docker-bake.hcl"), "--dry-run")
    assert code == 2
    assert "buildx can't read it" in err


async def test_without_a_remote_the_namespace_is_to_do(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    assert any("namespace" in note for note in draft_tree(tmp_path, tmp_path, "demo", owner="").draft.notes)
    assert draft_tree(tmp_path, tmp_path, "demo", owner="acme").draft.notes == ()
