"""`shipgraph gate` as a user runs it, over the registry of a folder: exit codes, outputs, and what it remembers."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.unit.scan.images import AMD64, ARM64, layer, push_image, push_index
from tests.unit.scan.planted import planted

from shipgraph.embedded.serving import serve
from shipgraph.remote.store import RemoteStore
from shipgraph.store.disk import DiskStore

if TYPE_CHECKING:
    from collections.abc import Mapping

PROJECT = """
[project]
name = "demo"
namespace = "acme"
platforms = ["linux/amd64", "linux/arm64"]
source = "https://github.com/acme/demo"

[images.good]
context = "good"
base = "scratch"

[images.leaky]
context = "leaky"
base = "scratch"
"""
DOCUMENTED = Path(__file__).parents[3] / "docs" / "reference" / "json.md"
SECRETS = {one.kind: one for one in planted(7)}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose two images are in the registry under the tag `now`; one has a secret on arm64 alone."""
    folder = tmp_path_factory.mktemp("gate") / "demo"
    for name in ("good", "leaky"):
        (folder / name).mkdir(parents=True)
        (folder / name / "Dockerfile").write_text("FROM scratch\n")
    (folder / "shipgraph.toml").write_text(PROJECT)
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"]):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", "-C", str(folder), *identity, *words], check=True)

    async def push() -> None:
        async with serve(DiskStore(folder / "registry")) as address, RemoteStore(address) as store:
            base = layer({"etc/motd": b"hello\n"})
            good = {
                p: await push_image(store, "acme/demo-good", [base], config={"Env": [f"A={p}"]}) for p in (AMD64, ARM64)
            }
            index = await push_index(store, "acme/demo-good", good)
            await store.tag("acme/demo-good", "now", index)
            secret = SECRETS["github"]
            arm64 = [base, layer({secret.path: secret.content}), layer({"root/.wh..git-credentials": b""})]
            leaky = {
                AMD64: await push_image(store, "acme/demo-leaky", [base]),
                ARM64: await push_image(
                    store, "acme/demo-leaky", arm64, config={"Env": [f"STRIPE={SECRETS['stripe'].secret}"]}
                ),
            }
            index = await push_index(store, "acme/demo-leaky", leaky)
            await store.tag("acme/demo-leaky", "now", index)

    asyncio.run(push())
    return folder


def gate(folder: Path, *words: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    program = str(Path(sys.executable).with_name("shipgraph"))
    command = [program, "gate", "--project", str(folder), "--root", str(folder / "registry")]
    done = subprocess.run(
        [*command, "--tag", "now", *words], capture_output=True, text=True, env={**os.environ, **(environment or {})}
    )
    for one in SECRETS.values():
        assert one.secret not in done.stdout + done.stderr
    return done


def test_a_secret_refuses_and_everything_is_reported(project: Path) -> None:
    done = gate(project)
    assert done.returncode == 3, done.stderr
    for text in ("root/.git-credentials:1", "(configuration) config.Env STRIPE", "leaky (linux/arm64)", "ghp_…"):
        assert text in done.stdout
    assert re.search(r"^good +linux/amd64, linux/arm64 +passed", done.stdout, re.MULTILINE)
    assert "[[gate.exceptions]]" in done.stdout
    assert "the secret gate refuses leaky" in done.stderr
    assert "next: take the secret out" in done.stderr


def test_debug_and_actions_print_no_secret_either(project: Path) -> None:
    done = gate(project, "--debug", environment={"GITHUB_ACTIONS": "true"})
    assert done.returncode == 3
    assert "::error title=shipgraph::the secret gate refuses leaky" in done.stderr


def test_the_document_is_the_one_that_is_documented(project: Path) -> None:
    done = gate(project, "--json")
    assert done.returncode == 3
    document = json.loads(done.stdout)
    assert [(image["name"], image["refused"]) for image in document["images"]] == [("good", False), ("leaky", True)]
    section = DOCUMENTED.read_text().partition("## `gate`")[2].partition("\n## ")[0]
    listed = set(re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE))
    assert members(document) <= listed
    assert {name for name in listed if ".exception." not in name} <= members(document)


def members(value: object, path: str = "") -> set[str]:
    found: set[str] = set()
    if isinstance(value, dict):
        for key, inner in value.items():
            here = f"{path}.{key}" if path else key
            found |= {here} | members(inner, here)
    elif isinstance(value, list):
        for inner in value:
            found |= members(inner, f"{path}[]")
    return found


def test_a_good_image_passes_and_the_second_time_nothing_is_scanned(project: Path) -> None:
    gate(project, "good")
    done = gate(project, "good", "--json")
    assert done.returncode == 0, done.stderr
    assert [image["fresh"] for image in json.loads(done.stdout)["images"]] == [0]
    assert "nothing new to scan" in done.stderr


def test_any_digest_by_reference_and_one_platform(project: Path) -> None:
    document = json.loads(gate(project, "leaky", "--json").stdout)
    reference = f"acme/demo-leaky@{document['images'][0]['digest']}"
    assert gate(project, f"ghcr.io/{reference}").returncode == 3
    assert gate(project, f"ghcr.io/{reference}", "--platform", "linux/amd64").returncode == 0
    absent = gate(project, f"ghcr.io/acme/demo-leaky@sha256:{'0' * 64}")
    assert absent.returncode == 3
    assert "leaky@sha256:000" in absent.stderr


def test_a_tag_that_is_not_there_refuses(project: Path) -> None:
    done = gate(project, "good", "--tag", "absent")
    assert done.returncode == 3
    assert "a gate over nothing proves nothing" in done.stderr


def test_exceptions_from_the_configuration(project: Path) -> None:
    document = json.loads(gate(project, "leaky", "--json").stdout)
    failing = {
        (finding["rule"], finding["path"], finding["fingerprint"])
        for manifest in document["images"][0]["manifests"]
        for finding in manifest["findings"]
        if finding["fails"]
    }
    assert failing

    def configured(expires: str) -> subprocess.CompletedProcess[str]:
        tables = [
            f"[[gate.exceptions]]\nrule = {json.dumps(rule)}\npath = {json.dumps(path)}\n"
            f'fingerprint = "{fingerprint}"\nreason = "test"\nexpires = {expires}\n'
            for rule, path, fingerprint in failing
        ]
        (project / "shipgraph.toml").write_text(PROJECT + "\n".join(tables))
        try:
            return gate(project, "leaky")
        finally:
            (project / "shipgraph.toml").write_text(PROJECT)

    good, old = configured("2999-01-01"), configured("2020-01-01")
    assert good.returncode == 0, good.stderr
    assert "(accepted)" in good.stdout
    assert old.returncode == 3
    assert "(exception expired)" in old.stdout


def test_a_missing_scanner_refuses(project: Path, tmp_path: Path) -> None:
    git = tmp_path / "git"
    git.symlink_to(next(p for p in map(Path, ("/usr/bin/git", "/bin/git", "/usr/local/bin/git")) if p.exists()))
    (project / "shipgraph.toml").write_text(PROJECT + '[gate]\nscanner = "trivy"\n')
    try:
        done = gate(project, "good", environment={"PATH": str(tmp_path)})
    finally:
        (project / "shipgraph.toml").write_text(PROJECT)
    assert done.returncode == 3
    assert "trivy is not on PATH" in done.stderr
