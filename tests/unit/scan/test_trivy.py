"""How trivy is run: with which words, where, and on which files. What it finds is told by `python -m bench.gate`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.scan.images import layer, packed, push_image, tar

from shipgraph.events import silent
from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.manifest import ImageManifest, build_artifact
from shipgraph.scan.cache import ReportCache
from shipgraph.scan.finding import BOMB, CONFIGURATION, UNSCANNABLE
from shipgraph.scan.limits import Limits
from shipgraph.scan.stage import gate_image
from shipgraph.scan.trivy import Trivy
from shipgraph.scan.unpacked import unpack_artifact
from shipgraph.store.content import from_bytes
from shipgraph.store.memory import MemoryStore

if TYPE_CHECKING:
    from shipgraph.scan.verdict import Verdict

SECRET = "ghp_fake"
PROGRAM = """#!{python}
import json, os, sys
from pathlib import Path
log = Path({log!r})
if "--version" in sys.argv:
    print(json.dumps({{"Version": "9.9.9"}}))
    sys.exit()
results = []
if sys.argv[1] == "filesystem":
    top = Path(sys.argv[-1])
    for file in sorted(p for p in top.rglob("*") if p.is_file()):
        secrets = [{{"RuleID": "fake", "Severity": "HIGH", "StartLine": 1, "Match": "*"}}]
        if {secret!r} in file.read_text(errors="replace"):
            results.append({{"Target": str(file.relative_to(top)), "Secrets": secrets}})
with log.open("a") as out:
    out.write(json.dumps({{
        "words": sys.argv[1:], "cwd": os.listdir("."), "environment": [n for n in os.environ if n.startswith("TRIVY")],
    }}) + "\\n")
print(json.dumps({{"SchemaVersion": 2, "Results": results}}))
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program called trivy on PATH, and what it writes down about each run."""
    log = tmp_path / "log"
    program = tmp_path / "bin" / "trivy"
    program.parent.mkdir()
    program.write_text(PROGRAM.format(python=sys.executable, log=str(log), secret=SECRET))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setenv("TRIVY_SEVERITY", "CRITICAL")
    project = tmp_path / "project"
    project.mkdir()
    (project / ".trivyignore").write_text("fake\n")
    monkeypatch.chdir(project)
    return log


def runs(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def is_there(place: str | Path) -> bool:
    return Path(place).exists()


async def artifact(store: MemoryStore, *layers: tuple[bytes, str]) -> ImageManifest:
    """An artifact of some titled layers."""
    described = [
        Descriptor.of("application/vnd.x", content, annotations={"org.opencontainers.image.title": title})
        for content, title in layers
    ]
    manifest = build_artifact("application/vnd.x.payload.v1", described, annotations={"note": f"it is {SECRET}"})
    for descriptor, (content, _) in zip(described, layers, strict=True):
        await store.push_blob("acme/x", descriptor, from_bytes(content))
    await store.push_blob("acme/x", manifest.config, from_bytes(b"{}"))
    await store.push_manifest("acme/x", manifest)
    return manifest


async def gated(store: MemoryStore, manifest: ImageManifest, folder: Path) -> Verdict:
    scanner = Trivy("127.0.0.1:5", folder=folder / "t", cache=lambda version: ReportCache(folder / "reports", version))
    return await gate_image(store, "acme/x", manifest.digest, scanner=scanner, emit=silent)


async def test_an_image_is_read_by_trivy_itself_in_an_empty_folder(log: Path, tmp_path: Path) -> None:
    store = MemoryStore()
    image = await push_image(store, "acme/x", [layer({"a": b"b"})])
    assert not (await gated(store, image, tmp_path)).refused
    (run,) = runs(log)
    assert run["words"][0] == "image"
    assert run["words"][-1] == f"127.0.0.1:5/acme/x@{image.digest}"
    assert {"--offline-scan", "--insecure", "secret"} <= set(run["words"])
    assert (run["cwd"], run["environment"]) == ([], []), "the project's own settings would be exceptions without end"
    await gated(store, image, tmp_path)
    assert len(runs(log)) == 1, "remembered"


async def test_a_payload_is_scanned_as_files_which_are_gone_afterwards(log: Path, tmp_path: Path) -> None:
    store = MemoryStore()
    payload = packed(tar({"bin": None, "bin/run": b"#!/bin/sh\n", "etc/token": f"{SECRET}\n".encode()}))
    manifest = await artifact(store, (payload, "payload.tar.gz"), (b'{"sbom": 1}', "sbom.json"))
    verdict = await gated(store, manifest, tmp_path)
    assert verdict.refused
    assert {judged.finding.path for _, judged in verdict.judged} == {"etc/token", CONFIGURATION}
    (run,) = runs(log)
    assert run["words"][0] == "filesystem"
    assert not is_there(run["words"][-1])


async def test_names_from_a_registry_stay_below_the_folder(tmp_path: Path) -> None:
    store = MemoryStore()
    names = {
        "../../evil": "evil", "/etc/passwd": "etc/passwd", "a/../b": "a/b", "./c": "c", "..": "unnamed",
        "x" * 300: "x" * 100 + "~", "new\nline": "new_line", "/".join(["deep"] * 300): "deep~",
    }  # fmt: skip
    files: dict[str, bytes | None] = dict.fromkeys(names, b"content")
    manifest = await artifact(store, (tar(files), "p.tar"), (tar({"c": b"again", "c/d": b"below a file"}), "../c"))
    outside = tmp_path / "outside"
    outside.mkdir()
    assert await unpack_artifact(store, "acme/x", manifest, outside / "in" / "deep") == ()
    root = outside / "in" / "deep" / "files"
    found = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert len(found) == len(names) + 2, "no file took another's place"
    for wanted in names.values():
        assert any(name == wanted or (wanted.endswith("~") and name.startswith(wanted)) for name in found), wanted
    assert sorted(found.values()) == sorted([b"content"] * len(names) + [b"again", b"below a file"])
    assert {path.name for path in outside.iterdir()} == {"in"}


async def test_what_is_too_much_or_broken_is_a_finding_that_fails(tmp_path: Path) -> None:
    store = MemoryStore()
    whole = packed(tar({str(number): b"x" * 1000 for number in range(30)}))
    many = await artifact(store, (whole, "many.tar.gz"), (whole[:-40], "cut.tar.gz"), (b"plain", "plain"))
    found = await unpack_artifact(store, "acme/x", many, tmp_path / "1", limits=Limits(members=20))
    assert [(f.rule, f.path) for f in found] == [(BOMB, "many.tar.gz"), (BOMB, "cut.tar.gz"), (BOMB, "plain")]
    found = await unpack_artifact(store, "acme/x", many, tmp_path / "2", limits=Limits(nested=20_000))
    assert found[0].rule == BOMB
    found = await unpack_artifact(store, "acme/x", many, tmp_path / "3")
    assert [(f.rule, f.path) for f in found] == [(UNSCANNABLE, "cut.tar.gz")]
    assert all(finding.severity.fails for finding in found)


async def test_another_content_than_the_digest_says_is_no_scan(log: Path, tmp_path: Path) -> None:
    store = MemoryStore()
    manifest = await artifact(store, (b"what was pushed", "x"))
    store._blobs["acme/x", manifest.layers[0].digest] = b"something else!"
    verdict = await gated(store, manifest, tmp_path)
    assert verdict.refused
    assert "sha256" in verdict.manifests[0].problem
    assert not is_there(log), "trivy was not asked about it"
