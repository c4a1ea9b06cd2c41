"""What shipgraph.toml says about trust and image tests becomes values, and mistakes are named."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from shipgraph.errors import ConfigurationError
from shipgraph.evidence.trust import SignerRule
from shipgraph.project.loader import load_project

from .made import new_signer

if TYPE_CHECKING:
    from pathlib import Path

    from shipgraph.project.spec import Project

HEAD = """\
[project]
name = "demo"
platforms = ["linux/amd64"]
source = "https://github.com/acme/demo"

[images.base]
context = "."
base = "scratch"
"""


def load(folder: Path, text: str = "") -> Project:
    """The project of such a file."""
    (folder / "shipgraph.toml").write_text(HEAD + text)
    (folder / "Dockerfile").write_text("FROM scratch\n")
    return load_project(folder)


def test_keys_identities_and_rules(tmp_path: Path) -> None:
    signer = new_signer()
    text = f"""
[signing]
by = "key"
[[signing.keys]]
name = "release"
public = "{signer.public_text}"
from = 2026-01-01
until = 2027-01-01
[[signing.identities]]
workflow = ".github/workflows/release.yml"
[channels.dev]
on = "push:main"
[channels.prod]
on = "tag:v*"
signer = {{ refs = ["refs/tags/v*", "default-branch"], keys = ["release"] }}
"""
    project = load(tmp_path, text)
    (key,) = project.signing.keys
    assert key.der == signer.public.der
    assert (key.since, key.until) == (datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
    assert project.signing.identities is not None
    (identity,) = project.signing.identities
    assert (identity.repository, identity.workflow) == (
        "https://github.com/acme/demo",
        ".github/workflows/release.yml",
    )
    assert identity.refs == ("refs/heads/main", "refs/tags/*")
    assert project.channels["prod"].signer == SignerRule(("refs/tags/v*", "refs/heads/main"), ("release",))
    assert project.channels["dev"].signer == SignerRule(("refs/heads/main",))


def test_the_defaults_trust_the_sources_workflows_and_no_key(tmp_path: Path) -> None:
    project = load(tmp_path)
    assert project.signing.keys == ()
    assert project.signing.identities is None
    assert project.channels["prod"].signer.refs == ("refs/heads/main", "refs/tags/v*")


def test_image_tests(tmp_path: Path) -> None:
    (tmp_path / "seccomp.json").write_text("{}")
    text = """
[[images.base.tests]]
run = ["squid", "-v"]
[[images.base.tests]]
name = "runs"
run = ["-N"]
entrypoint = ["squid"]
expect-exit = 3
expect-output = "Squid .*"
user = "proxy:13"
read-only = true
tmpfs = ["/run/squid"]
seccomp = "seccomp.json"
env = { MODE = "tunnel" }
timeout = "2m"
platforms = ["linux/amd64"]
"""
    first, second = load(tmp_path, text).graph["base"].tests
    assert (first.name, first.run, first.timeout, first.entrypoint) == ("squid -v", ("squid", "-v"), 60, None)
    assert (second.expect_exit, second.seccomp, second.timeout) == (3, "seccomp.json", 120)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[images.base.tests]]\nrun = []\n", "at least one element"),
        ('[[images.base.tests]]\nrun = ["a"]\nseccomp = "gone.json"\n', "no file 'gone.json'"),
        ('[[images.base.tests]]\nrun = ["a"]\napparmor = "../x"\n', "leads out of"),
        ('[[images.base.tests]]\nrun = ["a"]\nexpect-output = "("\n', "not a regular expression"),
        ('[[images.base.tests]]\nrun = ["a"]\n[[images.base.tests]]\nrun = ["a"]\nread-only = true\n', "two tests"),
        ('[[images.base.tests]]\nrun = ["a"]\nplatforms = ["linux/arm64"]\n', "not built for"),
        ('[[images.base.tests]]\nrun = ["a"]\ntmpfs = ["/a,exec"]\n', "not a plain absolute path"),
        ('[[images.base.tests]]\nrun = ["a"]\ntimeout = "soon"\n', "not allowed"),
        ('[[images.base.tests]]\nrun = ["a"]\nuser = "--privileged"\n', "not allowed"),
        ('[signing]\nby = "luck"\n', "not known here"),
        ('[[signing.keys]]\nname = "a"\npublic = "AAAA"\n', "not an ECDSA key"),
        ('[[signing.keys]]\nname = "a"\npublic = "%%"\n', "not base64"),
        ('[[signing.identities]]\nrepository = "nowhere"\n', "not allowed"),
        ('[channels.dev]\non = "push:main"\nsigner = { keys = ["gone"] }\n', "no key 'gone'"),
        ('[channels.dev]\non = "push:main"\nsigner = { refs = ["main"] }\n', "not allowed"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        load(tmp_path, text)
