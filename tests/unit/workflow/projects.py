"""Small projects of every shape, and their workflows read back by PyYAML."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

from shipgraph.project.loader import load_project
from shipgraph.workflow.place import Place, find_place
from shipgraph.workflow.rendering import render_workflow

if TYPE_CHECKING:
    from pathlib import Path

    from shipgraph.project.spec import Project

OURS = Place("", own_action="")
ELSEWHERE = find_place("", "acme/shipgraph@" + "1" * 40, "v9.9.9", is_shipgraph=False)

HEAD = """\
[project]
name = "demo"
platforms = ["linux/amd64", "linux/arm64"]
"""
ONE_IMAGE = """
[images.demo]
context = "docker/demo"
base = "scratch"
"""
PAYLOAD = """
[payload]
files = ["payload/**", "LICENSE"]
"""
SHAPES = {
    "one image": HEAD + ONE_IMAGE,
    "payload": HEAD + ONE_IMAGE + PAYLOAD,
    "one platform": HEAD.replace(', "linux/arm64"', "") + ONE_IMAGE,
    "deep": HEAD
    + "".join(
        f'[images.n{number}]\ncontext = "docker/n{number}"\n'
        + (f'parent = "n{number - 1}"\n' if number else 'base = "scratch"\n')
        for number in range(12)
    ),
    "channels": HEAD
    + ONE_IMAGE
    + """
[channels.edge]
on = ["push:main", "push:next/[x]*", "dispatch"]
[channels.weekly]
on = ["schedule:0 3 * * 1", "schedule:0 3 * * 4"]
[channels.stable]
on = ["tag:v*", "tag:rel-*"]
[workflow]
environments = { stable = "production", weekly = "production", edge = "staging" }
""".replace('"push:next/[x]*", ', '"push:next/x+y", '),
    "no schedule": HEAD + ONE_IMAGE + '[channels.edge]\non = "push:main"\n',
    "key": HEAD + ONE_IMAGE + '[signing]\nby = "key"\n',
    "own runners": HEAD.replace('"linux/arm64"', '"linux/riscv64"')
    + ONE_IMAGE.replace("base =", 'secrets = ["npmrc", "token.x"]\ntimeout = "5h"\nbase =')
    + """
[images.other]
context = "docker/other"
base = "scratch"
secrets = ["npmrc"]
[images.plain]
context = "docker/plain"
parent = "other"
[workflow]
file = "release.yaml"
repository = "acme/demo"
runner = "small"
runners = { "linux/riscv64" = "board-7", "linux/amd64" = "big" }
secrets = { npmrc = "NPMRC", "token.x" = "TOKEN" }
timeouts = { build = "100m", other = "90s" }
refresh = "7 7 * * *"
""",
}


def make(folder: Path, text: str) -> Project:
    """A project with the folders that its file names."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in re.findall(r'context = "([^"]*)"', text):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "Dockerfile").write_text("FROM scratch\n")
    (folder / "shipgraph.toml").write_text(text)
    return load_project(folder)


def read(project: Project, place: Place = OURS) -> dict[str, Any]:
    """The rendered workflow, as another reader of YAML sees it."""
    document: dict[str, Any] = yaml.safe_load(render_workflow(project, place))
    return document


def scripts(job: dict[str, Any]) -> list[str]:
    """The scripts of a job's steps."""
    return [step["run"] for step in job["steps"] if "run" in step]


def commands(job: dict[str, Any]) -> list[str]:
    """The lines of a job that call shipgraph."""
    lines = [line.removeprefix("exec ") for script in scripts(job) for line in script.splitlines()]
    return [line for line in lines if line.startswith("shipgraph ")]
