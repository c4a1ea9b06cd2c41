"""An index of 2,000 small manifests: shipgraph beside crane, oras, regctl and skopeo, over one registry, in one run.

    python -m bench.manifests [--count 2000] [--rounds 1] [--server v3|serve] [--clients shipgraph,oras]

The manifests share one layer, so what is measured is requests. Each client copies the index from an OCI layout to a
registry of its own, and back into a layout. Without referrers, which the others do not copy either.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import tempfile
from collections import defaultdict
from pathlib import Path

from bench.transfer import OWN, SERVERS, Run, clients, measured, show


def make_index(directory: Path, count: int) -> int:
    """A layout with one index; the bytes of its manifests."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    total = 0

    def blob(media_type: str, content: bytes) -> dict[str, object]:
        nonlocal total
        total += len(content)
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    kind = "application/vnd.oci.image"
    layer = blob(f"{kind}.layer.v1.tar", b"layer" * 100)
    rootfs = {"type": "layers", "diff_ids": [layer["digest"]]}
    config = blob(
        f"{kind}.config.v1+json", json.dumps({"architecture": "amd64", "os": "linux", "rootfs": rootfs}).encode()
    )
    children = []
    for number in range(count):
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{kind}.manifest.v1+json",
            "config": config,
            "layers": [layer],
            "annotations": {"number": str(number)},
        }
        child = blob(f"{kind}.manifest.v1+json", json.dumps(manifest).encode())
        child["platform"] = {"os": "linux", "architecture": "amd64", "os.version": str(number)}
        children.append(child)
    index = {"schemaVersion": 2, "mediaType": f"{kind}.index.v1+json", "manifests": children}
    entry = blob(f"{kind}.index.v1+json", json.dumps(index).encode())
    entry["annotations"] = {"org.opencontainers.image.ref.name": "v1"}
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description="An index of many small manifests, copied by each client.")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--server", choices=SERVERS, default="v3")
    parser.add_argument("--scratch", type=Path, default=Path("/dev/shm"))
    parser.add_argument("--clients", default="shipgraph,crane,oras,regctl,skopeo")
    options = parser.parse_args()
    more = {OWN: ["--no-referrers"], "skopeo": ["--all", "--preserve-digests"]}
    runs: dict[str, dict[str, list[Run]]] = {"push": defaultdict(list), "pull": defaultdict(list)}
    with tempfile.TemporaryDirectory(dir=options.scratch, prefix="manifests-") as held:
        directory = Path(held)
        size = make_index(directory / "source", options.count)
        for _ in range(options.rounds):
            for name in options.clients.split(","):
                place = directory / name
                with SERVERS[options.server](place / "registry") as host:
                    push, pull = clients(host)[name]
                    reference = f"{host}/bench/index:v1"
                    runs["push"][name].append(measured(push(str(directory / "source"), reference) + more.get(name, [])))
                    runs["pull"][name].append(measured(pull(reference, str(place / "pulled")) + more.get(name, [])))
                shutil.rmtree(place)
    for way, by_name in runs.items():
        print(f"\n{way} an index of {options.count} manifests, registry {options.server}, {options.rounds} rounds")
        show(by_name, size)


if __name__ == "__main__":
    main()
