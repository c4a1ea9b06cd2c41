"""Push and pull of large layers: shipgraph beside crane, oras, regctl and skopeo, over one registry, in one run.

    python -m bench.transfer [--rounds 3] [--server v3|serve] [--shapes 1x1024,4x256] [--clients shipgraph,oras]

Each client copies the same image from an OCI layout to a repository of its own, and back into a layout of its own, one
after the other in every round, so that a noisy machine is noisy to all. Printed are the best round and the median, in
MB/s, the peak memory of the client's process, and each time's ratio to the best of the others.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.conformance.program import shipgraph_serve
from tests.real.registries import distribution_v3
from tests.real.tools import debian, pinned

if TYPE_CHECKING:
    from collections.abc import Callable

OWN = "shipgraph"
PROGRAM = "from shipgraph.cli.main import main; main()"
SERVERS = {"v3": distribution_v3, "serve": shipgraph_serve}


@dataclass(frozen=True)
class Run:
    """One process: seconds by the clock and on the processor, and its peak memory in MB."""

    seconds: float
    processor: float
    memory: float


def measured(command: list[str]) -> Run:
    """Run a command to its end; what it wrote is shown only if it fails."""
    with tempfile.TemporaryFile() as output:
        began = time.monotonic()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            output.seek(0)
            raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}\n{output.read().decode()}")
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def clients(host: str) -> dict[str, tuple[Callable[[str, str], list[str]], Callable[[str, str], list[str]]]]:
    """By name: the command that pushes a layout to a reference, and the one that pulls a reference into a layout."""
    crane, oras = [str(pinned("crane")), "--insecure"], [str(pinned("oras"))]
    regctl = [str(pinned("regctl")), "--host", f"reg={host},tls=disabled"]
    skopeo = [debian("skopeo").as_posix(), "copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false"]
    own = [sys.executable, "-c", PROGRAM, "copy"]
    return {
        OWN: (
            lambda layout, name: [*own, f"oci:{layout}:v1", name],
            lambda name, layout: [*own, name, f"oci:{layout}:v1"],
        ),
        "crane": (
            lambda layout, name: [*crane, "push", layout, name],
            lambda name, layout: [*crane, "pull", "--format", "oci", name, layout],
        ),
        "oras": (
            lambda layout, name: [*oras, "cp", "--from-oci-layout", f"{layout}:v1", name, "--to-plain-http"],
            lambda name, layout: [*oras, "cp", "--to-oci-layout", name, f"{layout}:v1", "--from-plain-http"],
        ),
        "regctl": (
            lambda layout, name: [*regctl, "image", "copy", f"ocidir://{layout}:v1", name],
            lambda name, layout: [*regctl, "image", "copy", name, f"ocidir://{layout}:v1"],
        ),
        "skopeo": (
            lambda layout, name: [*skopeo, f"oci:{layout}:v1", f"docker://{name}"],
            lambda name, layout: [*skopeo, f"docker://{name}", f"oci:{layout}:v1"],
        ),
    }


def make_layout(directory: Path, layers: int, megabytes: int) -> int:
    """An image of so many layers of random bytes; their total size."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(media_type: str, content: bytes) -> dict[str, object]:
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    kind = "application/vnd.oci.image"
    described = []
    for _ in range(layers):
        hasher, path = hashlib.sha256(), blobs / "unnamed"
        with path.open("wb") as file:
            for _ in range(megabytes):
                piece = os.urandom(1 << 20)
                hasher.update(piece)
                file.write(piece)
        path.rename(blobs / hasher.hexdigest())
        digest = f"sha256:{hasher.hexdigest()}"
        described.append({"mediaType": f"{kind}.layer.v1.tar", "digest": digest, "size": megabytes << 20})
    rootfs = {"type": "layers", "diff_ids": [layer["digest"] for layer in described]}
    config = blob(
        f"{kind}.config.v1+json",
        json.dumps({"architecture": "amd64", "os": "linux", "rootfs": rootfs, "config": {}}).encode(),
    )
    manifest = {"schemaVersion": 2, "mediaType": f"{kind}.manifest.v1+json", "config": config, "layers": described}
    entry = blob(f"{kind}.manifest.v1+json", json.dumps(manifest).encode())
    entry["annotations"] = {"org.opencontainers.image.ref.name": "v1"}
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return layers * megabytes << 20


def compare(scratch: Path, server: str, layers: int, megabytes: int, rounds: int, names: list[str]) -> None:
    """Measure one shape of image, and print the two tables."""
    with tempfile.TemporaryDirectory(dir=scratch, prefix="transfer-") as held:
        directory = Path(held)
        size = make_layout(directory / "source", layers, megabytes)
        runs: dict[str, dict[str, list[Run]]] = {"push": defaultdict(list), "pull": defaultdict(list)}
        for round_ in range(rounds):
            for name in names[round_ % len(names) :] + names[: round_ % len(names)]:  # nobody is always the first
                place = directory / f"{name}-{round_}"
                # a registry of its own each time: one that holds the blob already would spare it the storing
                with SERVERS[server](place / "registry") as host:
                    push, pull = clients(host)[name]
                    reference = f"{host}/bench/image:v1"
                    runs["push"][name].append(measured(push(str(directory / "source"), reference)))
                    runs["pull"][name].append(measured(pull(reference, str(place / "pulled"))))
                shutil.rmtree(place)
        for way, by_name in runs.items():
            print(f"\n{way} {layers} x {megabytes} MB, registry {server}, {rounds} rounds")
            show(by_name, size)


def show(by_name: dict[str, list[Run]], size: int) -> None:
    """One table."""
    best = {name: min(run.seconds for run in runs) for name, runs in by_name.items()}
    rival = min([seconds for name, seconds in best.items() if name != OWN] or best.values())
    print(f"{'':10} {'best s':>7} {'median':>7} {'MB/s':>6} {'cpu s':>6} {'MB peak':>8} {'to best rival':>14}")
    for name, runs in by_name.items():
        print(
            f"{name:10} {best[name]:7.2f} {statistics.median(run.seconds for run in runs):7.2f}"
            f" {size / best[name] / 1e6:6.0f} {min(run.processor for run in runs):6.2f}"
            f" {max(run.memory for run in runs):8.0f} {best[name] / rival:13.2f}x"
        )
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description="Push and pull of large layers beside the field's own clients.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--server", choices=SERVERS, default="v3")
    parser.add_argument("--scratch", type=Path, default=Path("/dev/shm"))
    parser.add_argument("--shapes", default="1x1024,4x256", help="LAYERSxMEGABYTES, with commas between")
    parser.add_argument("--clients", default="shipgraph,crane,oras,regctl,skopeo")
    options = parser.parse_args()
    for shape in options.shapes.split(","):
        layers, _, megabytes = shape.partition("x")
        compare(
            options.scratch, options.server, int(layers), int(megabytes), options.rounds, options.clients.split(",")
        )


if __name__ == "__main__":
    main()
