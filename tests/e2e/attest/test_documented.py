"""The commands of docs/verify.md that aren't ours do what it says, as they stand there."""

from __future__ import annotations

import json
import os
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread
import pytest
from tests.real.tools import pinned
from tests.unit.evidence.made import GOOD, new_signer

from shipgraph.evidence.requirements import Kind
from shipgraph.evidence.statement import Statement, make_statement
from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.manifest import EMPTY_CONFIG, EMPTY_DESCRIPTOR, build_artifact
from shipgraph.store.content import from_bytes

from .foreign import run, write_key

if TYPE_CHECKING:
    from shipgraph.oci.digest import Digest

    from .authorities import Authorities
    from .conftest import Shop

pytestmark = [pytest.mark.anyio, pytest.mark.real]

PAGE = Path(__file__).parents[3] / "docs" / "verify.md"
PAYLOAD = b"the payload's archive"


def commands() -> list[str]:
    """The commands of the page's last part, one line each."""
    _, _, part = PAGE.read_text().partition("\n## With others\n")
    lines = [line[4:] for line in part.splitlines() if line.startswith("    ")]
    return [line for line in "\n".join(lines).replace("\\\n", " ").splitlines() if line]


def about(digest: Digest, kind: Kind) -> Statement:
    return make_statement([("ghcr.io/acme/demo", digest)], *GOOD[kind])


async def push_file(shop: Shop, repository: str, tag: str, title: str, content: bytes) -> None:
    """An artifact with one file."""
    layer = Descriptor.of("application/octet-stream", content, annotations={"org.opencontainers.image.title": title})
    await shop.store.push_blob(repository, EMPTY_DESCRIPTOR, from_bytes(EMPTY_CONFIG))
    await shop.store.push_blob(repository, layer, from_bytes(content))
    manifest = build_artifact("application/vnd.example", [layer])
    await shop.store.push_manifest(repository, manifest)
    await shop.store.tag(repository, tag, manifest)


async def test_documented_commands_work(shop: Shop, authorities: Authorities, tmp_path: Path) -> None:
    signer = new_signer()
    index, platforms = await shop.image("acme/demo")
    platform = next(iter(platforms.values()))
    for one in (signer, authorities.signer()):
        (bundle,) = await one.sign([about(index.digest, Kind.PROVENANCE)])
        await shop.attach("acme/demo", bundle.raw, index.descriptor)
    for bundle in await signer.sign([about(platform.digest, kind) for kind in Kind]):
        await shop.attach("acme/demo", bundle.raw, platform.descriptor)
    await push_file(shop, "acme/demo-metadata", "dev", "channels.json", b"{}")
    write_key(signer, tmp_path)
    (tmp_path / "trusted_root.jsonl").write_text(authorities.trusted_root)
    (tmp_path / "demo-payload-v1.2.3.tar.gz").write_bytes(PAYLOAD)

    programs = os.pathsep.join(str(pinned(name).parent) for name in ("cosign", "gh", "oras"))
    ran = set()
    for written in commands():
        subject = platform if re.search("shipgraph:gate|test-result", written) else index
        command = written.replace("ghcr.io/", f"{shop.address}/").replace("sha256:…", str(subject.digest))
        if command.startswith("oras"):
            command = re.sub(r"^(oras (?:manifest fetch|\w+))", r"\1 --plain-http", command)  # loopback has no TLS
        more = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
        if "--bundle-from-oci" in command:
            more["GH_TOKEN"] = "any"
        offline = "--bundle " in command
        said = await anyio.to_thread.run_sync(
            partial(run, ["bash", "-c", command], tmp_path, offline=offline, more=more)
        )
        assert said.accepted, f"{command}\n{said.text}"
        if "bundles.jsonl" in command:
            lines = (tmp_path / "bundles.jsonl").read_text().splitlines()
            (keyless,) = [line for line in lines if "certificate" in json.loads(line)["verificationMaterial"]]
            (tmp_path / "bundle.json").write_text(keyless)
        ran.add(" ".join(written.split()[:2]))
        if written.startswith("sha256sum"):
            assert said.text.split()[0] == Descriptor.of("", PAYLOAD).digest.hex
    assert (tmp_path / "channels.json").read_bytes() == b"{}"
    assert ran >= {"cosign verify-attestation", "cosign verify-blob-attestation", "gh attestation", "oras discover"}
