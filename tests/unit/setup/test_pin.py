"""``pin`` changes bases and nothing else."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from shipgraph.errors import ConfigurationError, RegistryUnavailable
from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.digest import Digest
from shipgraph.project.loader import load_project
from shipgraph.setup.pin import PinOutcome, pin

if TYPE_CHECKING:
    from pathlib import Path

    from shipgraph.oci.reference import Reference

NEW = Digest.of(b"new")
OLD = Digest.of(b"old")
TEXT = f"""\
# the project \t
[project]
name = "demo"
platforms = ["linux/amd64"]   # one

[images.a] # dotted, literal, comment
context='x'
  base   =   'debian:bookworm-slim'  # pinned by hand? no
[images]
b = {{ context = "x", base = "debian:bookworm-slim", cache-scope = "bb" }}
c.context = "x"
c.base = \"\"\"alpine\"\"\"
d = {{ context = "x", base = "ghcr.io/acme/gone:1" }}
e = {{ context = "x", base = "mmdebstrap:bookworm" }}
f = {{ context = "x", base = "debian:12@{OLD}" }}
g = {{ context = "x", base = "debian@{OLD}" }}
h = {{ context = "x", base = "scratch" }}
i = {{ context = "x", parent = "a" }}
j = {{ context = "x", base = "down.example/x" }}
"""


class Resolver:
    def __init__(self) -> None:
        self.asked: list[str] = []

    async def __call__(self, reference: Reference) -> Descriptor | None:
        self.asked.append(str(reference))
        if reference.host == "down.example":
            raise RegistryUnavailable("down.example did not answer")
        if reference.repository == "acme/gone":
            return None
        return Descriptor("application/vnd.oci.image.index.v1+json", NEW, 3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "shipgraph.toml").write_bytes(TEXT.encode())
    (tmp_path / "shipgraph.toml").chmod(0o640)
    return tmp_path


async def test_pin(folder: Path) -> None:
    resolver = Resolver()
    results = {result.image: result for result in await pin(folder, resolver)}
    expected = (
        TEXT.replace("'debian:bookworm-slim'", f'"debian:bookworm-slim@{NEW}"')
        .replace('"debian:bookworm-slim"', f'"debian:bookworm-slim@{NEW}"')
        .replace('"""alpine"""', f'"alpine:latest@{NEW}"')
    )
    file = folder / "shipgraph.toml"
    assert file.read_text() == expected
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert sorted(os.listdir(folder)) == ["shipgraph.toml", "x"]  # noqa: PTH208
    assert sorted(resolver.asked) == [
        "docker.io/library/alpine:latest", "docker.io/library/debian:bookworm-slim", "down.example/x:latest",
        "ghcr.io/acme/gone:1",
    ]  # fmt: skip
    outcomes = {key: result.outcome for key, result in results.items()}
    assert outcomes == {
        "a": PinOutcome.PINNED, "b": PinOutcome.PINNED, "c": PinOutcome.PINNED, "d": PinOutcome.FAILED,
        "e": PinOutcome.LEFT, "f": PinOutcome.UNCHANGED, "g": PinOutcome.UNCHANGED, "h": PinOutcome.LEFT,
        "j": PinOutcome.FAILED,
    }  # fmt: skip
    assert str(results["d"]) == "d: ghcr.io/acme/gone:1 is not pinned: ghcr.io/acme/gone:1 is not there"
    assert "did not answer" in results["j"].reason
    assert load_project(folder).graph["a"].base is not None


async def test_a_second_run_asks_only_what_failed(folder: Path) -> None:
    await pin(folder, Resolver())
    before = (folder / "shipgraph.toml").read_bytes()
    again = Resolver()
    results = await pin(folder, again)
    assert sorted(again.asked) == ["down.example/x:latest", "ghcr.io/acme/gone:1"]
    assert not any(result.outcome is PinOutcome.PINNED for result in results)
    assert (folder / "shipgraph.toml").read_bytes() == before


async def test_update_and_dry_run(folder: Path) -> None:
    results = {result.image: result for result in await pin(folder, Resolver(), update=True, write=False)}
    assert results["f"].after == f"debian:12@{NEW}"
    assert results["g"].outcome is PinOutcome.LEFT
    assert (folder / "shipgraph.toml").read_text() == TEXT


async def test_windows_line_ends_stay(folder: Path) -> None:
    (folder / "shipgraph.toml").write_bytes(TEXT.replace("\n", "\r\n").encode())
    await pin(folder, Resolver())
    content = (folder / "shipgraph.toml").read_bytes()
    assert content.count(b"\r\n") == content.count(b"\n") == TEXT.count("\n")


async def test_a_file_that_changes_meanwhile_is_not_overwritten(folder: Path) -> None:
    file = folder / "shipgraph.toml"

    async def edit(reference: Reference) -> Descriptor | None:
        file.write_text(TEXT + "# edited\n")
        return Descriptor("application/vnd.oci.image.index.v1+json", NEW, 3)

    with pytest.raises(ConfigurationError, match="changed while"):
        await pin(folder, edit)
    assert file.read_text() == TEXT + "# edited\n"


async def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no"):
        await pin(tmp_path, Resolver())
