"""The published JSON Schema is current, and judges files as the loader does."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import pytest

from shipgraph.project.loader import check_project
from shipgraph.project.schema import build_schema, schema_text

if TYPE_CHECKING:
    from collections.abc import Callable

PUBLISHED = Path(__file__).parents[3] / "docs" / "reference" / "shipgraph.schema.json"


def test_the_published_schema_is_current() -> None:
    assert PUBLISHED.read_text(encoding="utf-8") == schema_text(), "run python -m shipgraph.project.schema"


def test_every_key_is_in_the_configuration_page() -> None:
    page = PUBLISHED.with_name("configuration.md").read_text(encoding="utf-8")
    schema = build_schema()
    for name, table in schema["$defs"].items():
        for key in table["properties"]:
            written = f"{key} = " if name == "FileMapping" else f"| `{key}` |"
            assert written in page, f"{key} of {name} is missing"
    assert all(f"[{key}" in page for key in schema["properties"])


def test_examples_of_the_configuration_page_are_valid() -> None:
    page = PUBLISHED.with_name("configuration.md").read_text(encoding="utf-8")
    whole, *_, channels = (part.split("```")[0] for part in page.split("```toml\n")[1:])
    for text in (whole, whole + channels):
        jsonschema.validate(tomllib.loads(text), build_schema())


def test_it_is_a_schema() -> None:
    schema = json.loads(schema_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$id"] == build_schema()["$id"]
    assert "null" not in schema_text()
    for table in (schema, *schema["$defs"].values()):
        assert table["additionalProperties"] is False
        assert table["description"]


EDITS: list[tuple[str, str, bool]] = [
    ("", "", True),
    ('name = "demo"', 'name = "demo"\nlicenses = "MIT"', True),
    ('parent = "demo"', 'parent = "demo"\nargs = { A = "1" }\nmax-age = "14d"', True),
    ('parent = "demo"', 'parent = "demo"\n[channels.dev]\non = ["push:main", "dispatch"]', True),
    ('parent = "demo"', 'parent = "demo"\n[channels.prod]\non = "tag:v*"\npinned = true', True),
    ('parent = "demo"', 'parent = "demo"\n[payload]\nfiles = ["a/**", { from = "b/*", to = "c" }]', True),
    ('parent = "demo"', 'parent = "demo"\n[transaction]\nlag = 1\nsettle = 2.5', True),
    ('parent = "demo"', 'parent = "demo"\n[build]\nbuilder = "buildah"', True),
    ('parent = "demo"', 'parent = "demo"\n[retention]\nkeep = { demo = 0, default = 9 }\nprotect = ["v1.?-*"]', True),
    ('parent = "demo"', 'parent = "demo"\n[retired]\npackages = ["demo-old"]', True),
    ('name = "demo"', 'name = "Demo"', False),
    ('name = "demo"', "", False),
    ('name = "demo"', 'name = "demo"\nfoo = 1', False),
    ('name = "demo"', 'name = "demo"\nsource = "git@github.com:a/b"', False),
    ('platforms = ["linux/amd64", "linux/arm64"]', "platforms = []", False),
    ('platforms = ["linux/amd64", "linux/arm64"]', 'platforms = "linux/amd64"', False),
    ('platforms = ["linux/amd64", "linux/arm64"]', 'platforms = ["linux/amd64", "linux/amd64"]', False),
    ('parent = "demo"', 'parent = "demo"\nbase = "x"', False),
    ('parent = "demo"', "", False),
    ('parent = "demo"', 'parent = "demo"\nargs = { BASE_IMAGE = "1" }', False),
    ('parent = "demo"', 'parent = "demo"\nargs = { "1A" = "1" }', False),
    ('parent = "demo"', 'parent = "demo"\nmax-age = "0d"', False),
    ('parent = "demo"', 'parent = "demo"\nsecrets = ["a b"]', False),
    ('parent = "demo"', 'parent = "demo"\n[channels.Dev]\non = "dispatch"', False),
    ('parent = "demo"', 'parent = "demo"\n[channels.dev]\non = "pull"', False),
    ('parent = "demo"', 'parent = "demo"\n[channels.dev]\non = []', False),
    ('parent = "demo"', 'parent = "demo"\n[channels.dev]\non = 1', False),
    ('parent = "demo"', 'parent = "demo"\n[channels]', False),
    ('parent = "demo"', 'parent = "demo"\n[payload]\nfiles = [{ from = "b/*" }]', False),
    ('parent = "demo"', 'parent = "demo"\n[payload]\nfiles = []', False),
    ('parent = "demo"', 'parent = "demo"\n[metadata]\nexpires-after = 30', False),
    ('parent = "demo"', 'parent = "demo"\n[evidence]\nrequire = ["luck"]', False),
    ('parent = "demo"', 'parent = "demo"\n[build]\njobs = 0', False),
    ('parent = "demo"', 'parent = "demo"\n[build]\njobs = true', False),
    ('parent = "demo"', 'parent = "demo"\n[transaction]\nlag = -1', False),
    ('parent = "demo"', 'parent = "demo"\n[transaction]\nlag = "1s"', False),
    ('parent = "demo"', 'parent = "demo"\n[tests]\nx = 1', False),
    ('parent = "demo"', 'parent = "demo"\n[retention]\nkeep = 3', False),
    ('parent = "demo"', 'parent = "demo"\n[retention]\nkeep = { demo = -1 }', False),
    ('parent = "demo"', 'parent = "demo"\n[retention]\ngrace = "1 day"', False),
    ('parent = "demo"', 'parent = "demo"\n[retention]\ndisposable = ["a b"]', False),
    ('parent = "demo"', 'parent = "demo"\n[retired]\npackages = ["a", "a"]', False),
]


@pytest.mark.parametrize(("old", "new", "good"), EDITS)
def test_schema_and_loader_agree(write: Callable[[str], Path], valid: str, old: str, new: str, good: bool) -> None:
    text = valid.replace(old, new, 1) if old else valid
    project, mistakes = check_project(write(text))
    errors = list(jsonschema.Draft202012Validator(build_schema()).iter_errors(tomllib.loads(text)))
    assert (project is not None) == good, mistakes
    assert (not errors) == good, errors
