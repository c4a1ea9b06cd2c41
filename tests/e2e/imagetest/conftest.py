"""An image of 1 MB that was built and pushed by the program itself, whose tests each test writes anew."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.release.conftest import Demo, Done, copy_project, unmount
from tests.real.busybox import busybox_tar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE = """\
[project]
name = "demo"
platforms = ["linux/amd64"]
namespace = "acme"

[images.box]
context = "docker/box"
base = "scratch"

[evidence]
require = []

[build]
builder = "buildah"
"""


@dataclass(frozen=True)
class Box:
    """The project with its image in the rehearsal's registry."""

    demo: Demo

    def test(self, *tests: dict[str, Any], code: int, more: tuple[str, ...] = ()) -> Done:
        """`shipgraph test`, with these tests in the file."""
        tables = [
            "\n".join(["[[images.box.tests]]", *(f"{key} = {_toml(value)}" for key, value in test.items())])
            for test in tests
        ]
        self.demo.write("shipgraph.toml", "\n\n".join([FILE, *tables, ""]))
        return self.demo.run("test", "--root", self.demo.root, *more, code=code)

    def results(self, *tests: dict[str, Any], code: int, more: tuple[str, ...] = ()) -> dict[str, dict[str, Any]]:
        """What became of each test, by name."""
        document = self.test(*tests, code=code, more=("--json", *more)).document
        assert document["ok"] is (code == 0)
        (image,) = document["images"]
        assert image["passed"] is (code == 0)
        return {result["name"]: result for result in image["tests"]}


def _toml(value: object) -> str:
    """Texts, numbers, truth values and lists are written as in JSON; tables are not."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + " }"
    return json.dumps(value)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Built once; nobody changes it."""
    folder = tmp_path_factory.mktemp("box")
    demo = Demo(folder / "demo")
    demo.write("shipgraph.toml", FILE)
    demo.write("docker/box/Dockerfile", "FROM scratch\nADD root.tar /\n")
    shutil.copy(busybox_tar("amd64"), demo.folder / "docker" / "box" / "root.tar")
    demo.git("init", "--quiet", "--initial-branch=main")
    demo.commit()
    try:
        demo.run("build", "box", "--root", demo.root)
        yield demo.folder
    finally:
        unmount(folder)


@pytest.fixture
def box(built: Path, tmp_path: Path) -> Iterator[Box]:
    """A project of this test's own."""
    yield Box(copy_project(built, tmp_path / "demo"))
    unmount(tmp_path)
