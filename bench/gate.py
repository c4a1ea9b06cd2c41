"""The secret gate over several images: `shipgraph gate` beside `trivy image --scanners secret`, over one registry.

    python -m bench.gate --root DIR [--tag dev] [--trivy PROGRAM] [--rounds 2]
    python -m bench.gate [--trivy PROGRAM] [--rounds 2]

With --root the images of a rehearsal's registry that have the tag are scanned; without it, seven made of this
machine's own files: a chain of five over one large layer, and two beside it. Trivy runs once for each image: with a
cache of its own each time, as in the jobs of a workflow, and with one cache for all. Every round runs all of them, one
after the other, so that a noisy machine is noisy to all; the fastest round counts. `first` also compiles the rules,
`again` finds everything remembered. Printed are seconds by the clock and on the processor, peak memory, and ratios to
`shipgraph`.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

from bench.transfer import Run, measured
from tests.unit.scan.images import Blob, packed, push_image, push_index

from shipgraph.embedded.serving import serve
from shipgraph.oci.platform import Platform
from shipgraph.store.disk import DiskStore

PROGRAM = "from shipgraph.cli.main import main; main()"
PROJECT = """
[project]
name = "bench"
namespace = "bench"
platforms = ["linux/amd64"]
source = "https://github.com/bench/bench"
[images.bench]
context = "."
base = "scratch"
"""
AMD64 = Platform("linux", "amd64")
MB = 1 << 20
SIZES = {"base": 300, "top": 1, "one": 80, "two": 80, "three": 80, "beside": 40, "other": 30}
"""Megabytes of each image's own layer."""
CHAIN = ("base", "top")


def files(most: int, skip: int) -> list[tuple[str, bytes]]:
    """Files of this machine, some megabytes of them, after some others."""
    found: list[tuple[str, bytes]] = []
    left, skipped = most * MB, 0
    for path in sorted(Path("/usr/lib").rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        size = path.stat().st_size
        if skipped < skip * MB:
            skipped += size
        elif left > 0:
            found.append((str(path).lstrip("/"), path.read_bytes()))
            left -= size
        else:
            break
    return found


def make_layer(most: int, skip: int) -> Blob:
    """A layer of files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files(most, skip):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return Blob(packed(out.getvalue()))


async def make_images(store: DiskStore, tag: str) -> None:
    """Seven images; the first five share the first layer."""
    layers, skip = {}, 0
    for name, size in SIZES.items():
        layers[name] = await asyncio.to_thread(make_layer, size, skip)
        skip += size
    chain = {name: [layers[step] for step in CHAIN] + [layers[name]] for name in ("one", "two", "three")}
    contents = {
        "base": [layers["base"]], "top": [layers["base"], layers["top"]], **chain,
        "beside": [layers["beside"]], "other": [layers["other"]],
    }  # fmt: skip
    for name, own in contents.items():
        image = await push_image(store, f"bench/{name}", own, config={"Env": [f"IMAGE={name}"]})
        index = await push_index(store, f"bench/{name}", {AMD64: image})
        await store.tag(f"bench/{name}", tag, index)


def repositories(root: Path) -> list[str]:
    """All of a registry's folder."""
    return sorted(str(layout.parent.relative_to(root)) for layout in root.glob("*/*/oci-layout"))


async def find_images(root: Path, tag: str) -> list[str]:
    """Repositories of a registry's folder that have the tag."""
    store = DiskStore(root)
    names = await asyncio.to_thread(repositories, root)
    found = [name for name in names if await store.resolve(name, tag) is not None]
    return [name for name in found if not name.endswith(("-metadata", "-payload"))]


def total(runs: list[Run]) -> Run:
    """One process after the other."""
    return Run(sum(r.seconds for r in runs), sum(r.processor for r in runs), max(r.memory for r in runs))


class Bench:
    """What is run, and where."""

    def __init__(self, address: str, images: list[str], tag: str, trivy: str, folder: Path) -> None:
        self.address, self.images, self.tag, self.trivy, self.folder = address, images, tag, trivy, folder
        self.project = folder / "project"
        self.project.mkdir()
        (self.project / "shipgraph.toml").write_text(PROJECT)
        (self.project / "Dockerfile").write_text("FROM scratch\n")
        identity = ["-c", "user.name=b", "-c", "user.email=b@example.org"]
        for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "b"]):
            measured(["git", "-C", str(self.project), *identity, *words])

    def own(self, *forget: str) -> Run:
        """`shipgraph gate` over all images, without some of what it remembers."""
        for name in forget:
            shutil.rmtree(self.project / ".shipgraph" / "gate" / name, ignore_errors=True)
        references = [f"{self.address}/{image}:{self.tag}" for image in self.images]
        words = ["gate", "--project", str(self.project), "--registry", f"{self.address}/bench", "--json", *references]
        return measured([sys.executable, "-c", f"import sys; sys.argv[0] = 'shipgraph'\n{PROGRAM}", *words])

    def foreign(self, *, shared: bool) -> Run:
        """Trivy over each image."""
        cache = self.folder / "trivy"
        shutil.rmtree(cache, ignore_errors=True)
        runs = []
        for image in self.images:
            if not shared:
                shutil.rmtree(cache, ignore_errors=True)
            words = ["image", "--scanners", "secret", "--severity", "HIGH,CRITICAL", "--insecure", "--no-progress"]
            words += ["--quiet", "--skip-db-update", "--image-src", "remote", "--cache-dir", str(cache)]
            runs.append(measured([self.trivy, *words, f"{self.address}/{image}:{self.tag}"]))
        return total(runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--root", type=Path, help="a rehearsal's registry")
    parser.add_argument("--tag", default="dev")
    parser.add_argument("--trivy", default=shutil.which("trivy") or "", help="the program; without it, ours alone")
    parser.add_argument("--rounds", type=int, default=2)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        runs = asyncio.run(rounds(asked.root, asked.tag, asked.trivy, asked.rounds, folder))
    best = {kind: min(found, key=lambda run: run.seconds) for kind, found in runs.items()}
    own = best["shipgraph"]
    print(f"{'':24}{'seconds':>9}{'cpu s':>9}{'MB':>7}{'× time':>9}{'× cpu':>8}")
    for kind, run in best.items():
        ratios = f"{run.seconds / own.seconds:9.1f}{run.processor / own.processor:8.1f}"
        print(f"{kind:24}{run.seconds:9.2f}{run.processor:9.2f}{run.memory:7.0f}{ratios}")


async def rounds(root: Path | None, tag: str, trivy: str, count: int, folder: Path) -> dict[str, list[Run]]:
    """All kinds in every round, with the registry in a thread of this process."""
    if root is None:
        root = folder / "registry"
        await make_images(DiskStore(root, durable=False), tag)
    images = await find_images(root, tag)
    if not images:
        raise SystemExit(f"no image in {root} has the tag {tag}")
    runs: dict[str, list[Run]] = {}
    async with serve(DiskStore(root)) as address:
        bench = Bench(address, images, tag, trivy, folder)
        print(f"{len(images)} images: {', '.join(images)}")
        for _ in range(count):
            runs.setdefault("first", []).append(await asyncio.to_thread(bench.own, "rules", "reports"))
            runs.setdefault("shipgraph", []).append(await asyncio.to_thread(bench.own, "reports"))
            runs.setdefault("again", []).append(await asyncio.to_thread(bench.own))
            if trivy:
                for shared, kind in ((False, "trivy, a cache each"), (True, "trivy, one cache")):
                    run = await asyncio.to_thread(lambda shared=shared: bench.foreign(shared=shared))  # type: ignore[misc]
                    runs.setdefault(kind, []).append(run)
    return runs


if __name__ == "__main__":
    main()
