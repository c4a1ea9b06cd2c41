"""``shipgraph.toml`` becomes a project, or every mistake in it is named with line and key."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from shipgraph.errors import ConfigurationError, GraphError
from shipgraph.oci.platform import Platform
from shipgraph.project.bases import ExternalBase
from shipgraph.project.channels import Rule, RuleKind
from shipgraph.project.loader import check_project, load_project
from shipgraph.project.spec import FileRule

Write = Callable[[str], Path]
AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")


def test_defaults(write: Write, valid: str) -> None:
    project = load_project(write(valid))
    assert [image.key for image in project.graph] == ["base", "demo", "agent"]
    base, demo, agent = project.graph
    assert (base.repository, demo.repository, agent.repository) == ("demo-base", "demo", "demo-agent")
    assert (base.cache_scope, demo.cache_scope) == ("demo-base", "runtime-demo")
    assert base.dockerfile == "docker/base/Dockerfile"
    assert project.locate(base.dockerfile).is_file()
    assert isinstance(base.base, ExternalBase)
    assert str(base.base.reference) == "docker.io/library/debian:bookworm-slim"
    assert demo.platforms == project.platforms == (AMD64, ARM64)
    assert project.registry == "ghcr.io"
    assert project.payload is None
    assert project.metadata.repository == "demo-metadata"
    assert project.metadata.artifact_type == "application/vnd.demo.metadata.v1+json"
    assert project.metadata.expires_after == 30 * 86400
    assert list(project.channels) == ["dev", "nightly", "prod"]
    assert project.channels["prod"].pinned
    assert not project.channels["dev"].pinned
    assert project.evidence == ("gate", "test", "provenance")
    assert project.build.builder == "auto"
    assert project.transaction.settle is None


def test_everything_given(write: Write, valid: str) -> None:
    text = (
        valid.replace(
            'name = "demo"',
            """name = "demo"
description = "A demonstration."
licenses = "Apache-2.0"
source = "https://github.com/Acme/demo"
registry = "registry.example:5000"
namespace = "Acme/Tools"
default-branch = "trunk"
""",
        )
        + """
args = { VERSION = "1" }
secrets = ["ca", "npmrc"]
platforms = ["linux/amd64"]
max-age = "14d"
timeout = "45m"
dockerfile = "docker/agent/Dockerfile"
repository = "special/agent"
description = "An agent."
labels = { "org.example.a" = "b" }

[payload]
files = ["payload/**", { from = "docker/profiles/*", to = "profiles" }]
artifact-type = "application/vnd.x.v2"

[metadata]
expires-after = "1w"

[channels.dev]
on = ["push:trunk", "dispatch"]
pinned = true

[channels.prod]
on = "tag:v*"

[evidence]
require = []

[build]
builder = "buildah"
jobs = 2
cache = "registry"

[transaction]
lag = 1
settle = 4.5
concurrency = 8
"""
    )
    project = load_project(write(text))
    agent = project.graph["agent"]
    assert agent.platforms == (AMD64,)
    assert agent.max_age == 14 * 86400
    assert agent.timeout == 2700
    assert dict(agent.args) == {"VERSION": "1"}
    assert agent.repository == "special/agent"
    assert project.namespace == "acme/tools"
    assert project.payload is not None
    assert project.payload.files == (
        FileRule("payload/**", "payload"), FileRule("docker/profiles/*", "docker/profiles", "profiles")
    )  # fmt: skip
    assert project.payload.files[0].target("payload/bin/run") == "bin/run"
    assert project.payload.files[1].target("docker/profiles/a.json") == "profiles/a.json"
    assert project.payload.layer_type == "application/vnd.demo.payload.layer.v1+gzip"
    assert project.channels["dev"].rules == (Rule(RuleKind.PUSH, "trunk"), Rule(RuleKind.DISPATCH))
    assert project.channels["dev"].pinned
    assert project.evidence == ()
    assert project.build.jobs == 2
    assert project.transaction.lag == 1.0


CASES = [
    # what replaces what, the line, and what the message must say
    ('name = "demo"', 'name = "Demo"', 2, "'Demo' is not allowed here", "project.name"),
    ('name = "demo"', 'nam = "demo"', 2, "did you mean `name`", "project.nam"),
    ('platforms = ["linux/amd64", "linux/arm64"]', "platforms = []", 3, "at least one", "project.platforms"),
    ('"linux/arm64"]', '"linux/arm64/v8", "linux/arm64"]', 3, "given twice", "project.platforms[2]"),
    ('"linux/arm64"]', '"linux/amd64"]', 3, "given twice", "project.platforms[1]"),
    ('context = "docker/base"', "context = 3", 6, "expected a string, got a whole number", "images.base.context"),
    ('context = "docker/base"', 'context = "docker/bse"', 6, "there is no folder 'docker/bse'", "images.base.context"),
    ('context = "docker/base"', 'context = "../x"', 6, "leads out of", "images.base.context"),
    ('context = "docker/base"', 'context = "/etc"', 6, "leads out of", "images.base.context"),
    ('context = "docker/base"', 'context = "docker"', 6, "there is no file 'docker/Dockerfile'", "images.base.context"),
    ('base = "debian:bookworm-slim"', 'base = "De bian"', 7, "not a repository name", "images.base.base"),
    ('base = "debian:bookworm-slim"', 'base = "debian@sha256:12"', 7, "not a digest", "images.base.base"),
    ('base = "debian:bookworm-slim"', 'base = "mmdebstrap:Bad"', 7, "not a Debian suite", "images.base.base"),
    ('base = "debian:bookworm-slim"', "", 5, "neither `base` nor `parent`", "images.base"),
    ('parent = "base"', 'parent = "base"\nbase = "x"', 10, "both `base` and `parent`", "images.demo"),
    ('parent = "base"', 'parent = "bse"', 12, "did you mean 'base'", "images.demo.parent"),
    ('parent = "base"', 'parent = "demo"', 12, "demo → demo", "images.demo.parent"),
    (
        'parent = "demo"',
        'args = { BASE_IMAGE = "x" }\nparent = "demo"',
        16,
        "set by shipgraph",
        "images.agent.args.BASE_IMAGE",
    ),
    ('parent = "demo"', 'args = { A = 1 }\nparent = "demo"', 16, "expected a string", "images.agent.args.A"),
    ('parent = "demo"', 'parent = "demo"\nmax-age = "2x"', 17, "a whole number and a unit", "images.agent.max-age"),
    (
        'parent = "demo"',
        'parent = "demo"\nrepository = "demo"',
        17,
        "would share the repository",
        "images.agent.repository",
    ),
    ('parent = "demo"', 'parent = "demo"\ncache-scope = "demo-base"', 17, "overwrite", "images.agent.cache-scope"),
    ('parent = "demo"', 'parent = "demo"\nplatforms = ["linux/s390x"]', 17, "not built for", "images.agent.platforms"),
    (
        'parent = "demo"',
        'parent = "demo"\nlabels = { a = "\\u0007" }',
        17,
        "control character",
        "images.agent.labels.a",
    ),
    ("[images.agent]", '[images."a.gent"]', 14, "not allowed here", 'images."a.gent"'),
]


@pytest.mark.parametrize(("old", "new", "line", "says", "key"), CASES)
def test_one_mistake(write: Write, valid: str, old: str, new: str, line: int, says: str, key: str) -> None:
    assert old in valid
    folder = write(valid.replace(old, new))
    _, mistakes = check_project(folder)
    with pytest.raises(ConfigurationError) as caught:
        load_project(folder)
    first = mistakes[0]
    assert says in str(first)
    assert (first.line, first.key) == (line, key), str(caught.value)
    assert f"shipgraph.toml:{line}: " in str(caught.value)


TABLES = [
    ('[payload]\nfiles = ["../x"]', 2, "leads out of", "payload.files[0]"),
    ('[payload]\nfiles = [{ from = "a", too = "b" }]', 2, "did you mean `to`", "payload.files[0].too"),
    ('[payload]\nfiles = ["a"]\nrepository = "demo"', 3, "would share", "payload.repository"),
    ('[metadata]\nexpires-after = "30"', 2, "a whole number and a unit", "metadata.expires-after"),
    ('[channels.channels]\non = "dispatch"', 1, "reserved", "channels.channels"),
    ('[channels."v1.2.3"]\non = "dispatch"', 1, "looks like a release version", 'channels."v1.2.3"'),
    ('[channels.r2]\non = "dispatch"', 1, "reserved", "channels.r2"),
    ('[channels.dev]\non = "push"', 2, "not a channel rule", "channels.dev.on"),
    ("[channels.dev]\non = []", 2, "at least one", "channels.dev.on"),
    ('[channels.dev]\non = ["dispatch", "schedule:0 6 * *"]', 2, "not allowed here", "channels.dev.on[1]"),
    ('[channels.dev]\non = "schedule:0 6 * *"', 2, "not a cron expression", "channels.dev.on"),
    ('[channels.a]\non = "push:x"\n[channels.b]\non = "push:x"', 4, "both want push:x", "channels.b.on"),
    ('[channels.a]\non = "tag:v*"\n[channels.b]\non = "tag:v2*"', 4, "both want", "channels.b.on"),
    ('[channels.a]\non = "push:x"\n[channels.a-1]\non = "push:y"', 3, "a-<serial>", "channels.a-1"),
    ('[channels.a]\non = "tag:sha-*"', 2, "makes itself", "channels.a.on"),
    ('[evidence]\nrequire = ["gat"]', 2, "did you mean `gate`", "evidence.require[0]"),
    ("[build]\njobs = 0", 2, "out of range", "build.jobs"),
    ("[build]\njobs = true", 2, "expected a whole number, got true or false", "build.jobs"),
    ("[transaction]\nlag = 5\nsettle = 10", 3, "more than 2 lag + gap = 10 s", "transaction.settle"),
    ("[transaction]\nlag = nan", 2, "out of range", "transaction.lag"),
    ("[retain]\nkeep = 3", 1, "no key `retain`", "retain"),
]  # fmt: skip


@pytest.mark.parametrize(("table", "line", "says", "key"), TABLES)
def test_one_mistake_in_another_table(write: Write, valid: str, table: str, line: int, says: str, key: str) -> None:
    _, mistakes = check_project(write(valid + table + "\n"))
    assert len(mistakes) == 1, mistakes
    assert says in str(mistakes[0])
    assert (mistakes[0].line, mistakes[0].key) == (line + valid.count("\n"), key)


def test_all_mistakes_at_once_in_order(write: Write, valid: str) -> None:
    text = valid.replace('name = "demo"', 'name = "demo"\nlicences = "MIT"').replace("docker/demo", "docker/dmo")
    text = text.replace('parent = "demo"', "parent = 5")
    with pytest.raises(ConfigurationError) as caught:
        load_project(write(text))
    message = str(caught.value)
    assert "has 3 mistakes" in message
    assert [int(line) for line in re.findall(r"toml:(\d+): ", message)] == [3, 12, 17]


def test_a_cycle_is_drawn(write: Write, valid: str) -> None:
    text = valid.replace('base = "debian:bookworm-slim"', 'parent = "agent"')
    with pytest.raises(ConfigurationError, match="base → agent → demo → base"):
        load_project(write(text))


def test_a_link_out_of_the_project_is_refused(write: Write, valid: str) -> None:
    folder = write(valid.replace('context = "docker/base"', 'context = "out"'))
    (folder / "out").symlink_to(folder.parent)
    with pytest.raises(ConfigurationError, match=r"there is no file|leads out"):
        load_project(folder)
    (folder.parent / "Dockerfile").write_text("FROM scratch\n")
    with pytest.raises(ConfigurationError, match="leads out of the project's folder"):
        load_project(folder)


def test_a_folder_may_itself_be_a_link(write: Write, valid: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    link = tmp_path_factory.mktemp("links") / "project"
    link.symlink_to(write(valid))
    assert load_project(link).name == "demo"


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"there is no shipgraph\.toml"):
        load_project(tmp_path)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("[project]\nname = \n", 2, "not TOML"),
        ('[project]\n\nname = "x', 3, "not TOML"),
        ("[project]\nname = 'a'\nname = 'b'\n", 3, "not TOML"),
        ("a = " + "[" * 5000, None, "nested too deeply"),
    ],
)
def test_not_toml(write: Write, text: str, line: int | None, says: str) -> None:
    _, mistakes = check_project(write(text))
    assert says in mistakes[0].what
    assert mistakes[0].line == line


def test_not_utf8_and_too_big(tmp_path: Path) -> None:
    file = tmp_path / "shipgraph.toml"
    file.write_bytes(b'[project]\nname = "\xff"\n')
    assert check_project(tmp_path)[1][0].line == 2
    file.write_bytes(b"#" * (1 << 20) + b"\n")
    assert "too big" in check_project(tmp_path)[1][0].what


def test_unknown_image_is_a_graph_error(write: Write, valid: str) -> None:
    with pytest.raises(GraphError, match="no image 'agnt'") as caught:
        load_project(write(valid)).graph["agnt"]
    assert caught.value.hint == "did you mean 'agent'?"
