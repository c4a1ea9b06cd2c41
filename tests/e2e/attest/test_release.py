"""cosign verifies everything that a whole release has signed, with the key as a user gets it."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest
from tests.conformance.program import shipgraph_serve
from tests.e2e.release.conftest import Demo, tags_of, unmount
from tests.real.busybox import busybox_tar
from tests.real.clients import crane, oras
from tests.real.tools import debian

from shipgraph.evidence.predicates import PREDICATE_TYPES
from shipgraph.evidence.requirements import Kind

from .foreign import cosign

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.real

FILE = """\
[project]
name = "demo"
platforms = ["linux/amd64"]
namespace = "acme"

[images.box]
context = "docker/box"
base = "scratch"
[[images.box.tests]]
run = ["true"]

[payload]
files = ["payload/**"]

[build]
builder = "buildah"

[transaction]
gap = 0.1
settle = 0.4
"""


@pytest.fixture
def released(tmp_path: Path) -> Iterator[Demo]:
    """A release that has all of its evidence."""
    debian("runc")
    demo = Demo(tmp_path / "demo")
    demo.write("shipgraph.toml", FILE)
    demo.write("docker/box/Dockerfile", "FROM scratch\nADD root.tar /\n")
    shutil.copy(busybox_tar("amd64"), demo.folder / "docker" / "box" / "root.tar")
    demo.write("payload/readme.txt", "read me\n")
    demo.git("init", "--quiet", "--initial-branch=main")
    demo.commit()
    try:
        demo.run("rehearse")
        yield demo
    finally:
        unmount(tmp_path)


def test_cosign_verifies_all_evidence_of_a_release(released: Demo, tmp_path: Path) -> None:
    printed = released.run("attest", "--print-key").out
    (public,) = re.findall(r'^public = "([^"]+)"', printed, re.MULTILINE)
    key = tmp_path / "release.pub"
    key.write_text(f"-----BEGIN PUBLIC KEY-----\n{public}\n-----END PUBLIC KEY-----\n")
    tags = tags_of(released.root)
    with shipgraph_serve(tmp_path / "serve", "--root", str(released.root)) as address:
        box, payload, metadata = (f"{address}/acme/demo-{name}" for name in ("box", "payload", "metadata"))
        index, packed, described = (tags[f"demo-{name}:dev"] for name in ("box", "payload", "metadata"))
        platform = crane("digest", "--platform", "linux/amd64", f"{box}@{index}").strip()
        expected = {
            f"{box}@{index}": {Kind.PROVENANCE},
            f"{box}@{platform}": set(Kind),
            f"{payload}@{packed}": {Kind.PROVENANCE, Kind.GATE},
            f"{metadata}@{described}": {Kind.PROVENANCE},
        }
        arguments = ("verify-attestation", "--key", key, "--insecure-ignore-tlog", "--type")
        found = {
            name: {kind for kind in Kind if cosign(*arguments, PREDICATE_TYPES[kind], name, home=tmp_path).accepted}
            for name in expected
        }
        assert found == expected
        oras("pull", f"{metadata}:dev", "--output", str(tmp_path / "pulled"))
        assert "application/vnd.cyclonedx+json" in oras("discover", "--format", "json", f"{box}@{platform}")
    assert (tmp_path / "pulled" / "channels.json").exists()
