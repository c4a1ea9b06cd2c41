"""Which packages an image has: its layers one on top of the other, the last word counting, deletions honoured.

Image specification 1.1, layer.md § Whiteouts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from shipgraph.errors import MalformedDocument
from shipgraph.layers.compression import Decompressed, find_compression
from shipgraph.layers.reading import Buffered
from shipgraph.layers.tar import TarReader
from shipgraph.sbom.package import Package, System, read_packages, read_system, tells_packages, tells_system

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from shipgraph.layers.reading import Reader
    from shipgraph.layers.tar import Member

FILE_LIMIT: Final = 64 << 20
"""Bytes of one file that names packages."""
LAYER_LIMIT: Final = 64 << 30
WHITEOUT: Final = ".wh."
OPAQUE: Final = ".wh..wh..opq"


@dataclass(slots=True)
class LayerPackages:
    """What one layer says: files that name packages, what it hides of the layers below, what it could not tell.

    ``hidden`` are paths that are gone with all below them; ``emptied`` folders of which only this layer's content is
    left.
    """

    files: dict[str, tuple[Package, ...]] = field(default_factory=dict)
    systems: dict[str, System] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)
    emptied: set[str] = field(default_factory=set)
    skipped: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Contents:
    """An image's packages with the files that name them, its distribution, and files that were too large to read."""

    packages: Mapping[Package, tuple[str, ...]]
    system: System | None
    skipped: tuple[str, ...]


def read_layer(source: Reader) -> LayerPackages:
    """Read one layer. Computes.

    Raises:
        MalformedDocument: it is no tar archive, or one that unpacks to more than can be true.
    """
    blob = Buffered(source)
    kind = find_compression(blob.peek(16))
    total = 0

    def observe(size: int) -> None:
        nonlocal total
        total += size
        if total > LAYER_LIMIT:
            raise MalformedDocument("a layer unpacks to more than 64 GB")

    layer = LayerPackages()
    for member in TarReader(blob if kind is None else Decompressed(blob, kind, observe=observe)):
        _take(layer, member)
    return layer


def _take(layer: LayerPackages, member: Member) -> None:
    path = str(PurePosixPath("/", member.path)).lstrip("/")
    folder, _, name = path.rpartition("/")
    if name == OPAQUE:
        layer.emptied.add(folder)
    elif name.startswith(WHITEOUT):
        layer.hidden.add(f"{folder}/{name[len(WHITEOUT) :]}".lstrip("/"))
    elif not member.folder:
        layer.hidden.add(path)  # whatever was there, a folder even, is there no more
        layer.files.pop(path, None)  # a path may come twice in one archive: the last one counts
        wanted, system = tells_packages(path), tells_system(path)
        if member.regular and (wanted or system):
            if member.size > FILE_LIMIT:
                layer.skipped.append(path)
                return
            content = Buffered(member).take(member.size)
            if wanted:
                layer.files[path] = read_packages(path, content)
            elif (found := read_system(content)) is not None:
                layer.systems[path] = found


def stack(layers: Iterable[LayerPackages]) -> Contents:
    """The layers of an image, from the lowest up, as one."""
    files: dict[str, tuple[Package, ...]] = {}
    systems: dict[str, System] = {}
    skipped: list[str] = []
    for layer in layers:
        files = {path: found for path, found in files.items() if not _is_covered(path, layer)} | layer.files
        systems = {path: found for path, found in systems.items() if not _is_covered(path, layer)} | layer.systems
        skipped = [path for path in skipped if not _is_covered(path, layer)] + layer.skipped
    packages: dict[Package, list[str]] = {}
    for path, found in sorted(files.items()):
        for package in found:
            packages.setdefault(package, []).append(path)
    system = next((systems[path] for path in sorted(systems)), None)
    ordered = {package: tuple(packages[package]) for package in sorted(packages)}
    return Contents(ordered, system, tuple(sorted(set(skipped))))


def _is_covered(path: str, layer: LayerPackages) -> bool:
    """Whether a layer hides a path of a lower one."""
    if path in layer.hidden:
        return True
    folders = [str(parent) for parent in PurePosixPath(path).parents if str(parent) != "."]
    if any(folder in layer.hidden or folder in layer.emptied for folder in folders):
        return True
    return "" in layer.emptied
