"""A whole Linux in 1 MB, for tests: Debian's static busybox as a root file system and as an OCI image layout.

The layout is written by hand, from the image specification, so that it is a judge of shipgraph and not its product.
The same .deb files give the same bytes everywhere.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import io
import json
import lzma
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .apt import downloaded
from .tools import cache

if TYPE_CHECKING:
    from collections.abc import Mapping

APPLETS = """
[ ash awk basename cat chmod chown cmp cp cut date dd df dirname du echo env expr false find grep gunzip gzip
head hostname httpd id install kill ln ls md5sum mkdir mktemp mount mv nc nproc od printf ps pwd readlink
realpath rm rmdir sed seq sh sha256sum sleep sort stat sync tail tar tee test time timeout touch tr true tty
umount uname uniq unzip vi wc wget which whoami xargs yes
"""
CREATED = "1970-01-01T00:00:00Z"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
VARIANTS = {"arm64": "v8"}


@dataclass(frozen=True)
class Layout:
    """An OCI image layout with one index, under one tag."""

    path: Path
    tag: str
    index: str
    manifests: Mapping[str, str]  # architecture to digest

    @property
    def skopeo(self) -> str:
        """The name skopeo has for it."""
        return f"oci:{self.path}:{self.tag}"


def busybox_layout(directory: Path, architectures: tuple[str, ...] = ("amd64", "arm64"), tag: str = "1") -> Layout:
    return write_layout(directory, {name: busybox_tar(name) for name in architectures}, tag)


def busybox_tar(architecture: str) -> Path:
    """The root file system as a tar, out of the cache; fetched from Debian when it is not there."""
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    directory = cache() / "busybox" / recipe
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / f"{architecture}.tar"
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            unfinished = target.with_suffix(".unfinished")
            unfinished.write_bytes(_root(_busybox(_fetch(architecture))))
            unfinished.replace(target)
    return target


def write_layout(directory: Path, roots: Mapping[str, Path], tag: str, command: tuple[str, ...] = ("sh",)) -> Layout:
    """One image for each root tar, and an index over them."""
    (directory / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
    children = []
    for architecture, root in roots.items():
        platform = {"architecture": architecture, "os": "linux"}
        if architecture in VARIANTS:
            platform["variant"] = VARIANTS[architecture]
        plain = root.read_bytes()
        layer = _blob(directory, LAYER, gzip.compress(plain, mtime=0))
        config = _blob(
            directory,
            CONFIG,
            _json(
                {
                    "created": CREATED,
                    **platform,
                    "config": {"Cmd": list(command), "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]},
                    "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(plain).hexdigest()}"]},
                    "history": [{"created": CREATED, "created_by": f"tests: {root.stem}"}],
                }
            ),
        )
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}
        children.append({**_blob(directory, MANIFEST, _json(manifest)), "platform": platform})
    top = _blob(directory, INDEX, _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": children}))
    (directory / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))
    named = {**top, "annotations": {"org.opencontainers.image.ref.name": tag}}
    (directory / "index.json").write_bytes(_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [named]}))
    digests = {architecture: str(child["digest"]) for architecture, child in zip(roots, children, strict=True)}
    return Layout(directory, tag, str(top["digest"]), digests)


def _blob(directory: Path, media_type: str, content: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    (directory / "blobs" / "sha256" / digest).write_bytes(content)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _fetch(architecture: str) -> bytes:
    with downloaded("download", f"busybox-static:{architecture}", architecture=architecture) as files:
        (package,) = files.glob("busybox-static_*.deb")
        return package.read_bytes()


def _busybox(package: bytes) -> bytes:
    """The program out of a .deb, which is an `ar` archive with a data.tar.xz in it."""
    position = len(b"!<arch>\n")
    while position < len(package):
        header = package[position : position + 60]
        size = int(header[48:58])
        if header[:16].rstrip().rstrip(b"/") == b"data.tar.xz":
            data = lzma.decompress(package[position + 60 : position + 60 + size])
            with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                program = archive.extractfile("./bin/busybox")
                assert program is not None
                return program.read()
        position += 60 + size + size % 2
    raise RuntimeError("busybox-static: no data.tar.xz in the .deb")


def _root(program: bytes) -> bytes:
    files = {
        "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
        "etc/group": b"root:x:0:\nnogroup:x:65534:\n",
    }
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for directory in ("bin", "dev", "etc", "proc", "root", "sys", "tmp"):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if directory == "tmp" else 0o755
            archive.addfile(entry)
        for path, content in {"bin/busybox": program, **files}.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), 0o755 if path.startswith("bin/") else 0o644
            archive.addfile(entry, io.BytesIO(content))
        for applet in APPLETS.split():
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, "busybox", 0o777
            archive.addfile(entry)
    return output.getvalue()
