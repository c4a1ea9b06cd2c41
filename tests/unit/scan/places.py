"""Images that hold a planted secret in one of the places where secrets are found."""

from __future__ import annotations

import base64
import io
import zipfile
from typing import TYPE_CHECKING

from .images import AMD64, ARM64, layer, packed, push_image, push_index, tar

if TYPE_CHECKING:
    from shipgraph.oci.digest import Digest
    from shipgraph.store.protocols import Store

    from .planted import Planted

PLACES = ("file", "deleted file", "ENV", "base64", "nested archive", "arm64 alone")


def zipped(files: dict[str, bytes]) -> bytes:
    """A zip file."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return out.getvalue()


async def push_planted(store: Store, repository: str, one: Planted, place: str) -> Digest:
    """Push an image of two platforms with a secret in that place; the index's digest."""
    clean, found = layer({"etc/motd": b"hello\n"}), layer({one.path: one.content})
    folder, _, name = one.path.rpartition("/")
    layers, env = [clean, found], []
    if place == "deleted file":
        layers.append(layer({f"{folder}/.wh.{name}": b""}))
    elif place == "ENV":
        layers, env = [clean], [f"SETTINGS={one.content.decode()}"]
    elif place == "base64":
        layers = [clean, layer({"srv/encoded.txt": b"data: " + base64.b64encode(one.content) + b"\n"})]
    elif place == "nested archive":
        layers = [clean, layer({"srv/a.zip": zipped({"b.tar.gz": packed(tar({one.path: one.content}))})})]
    images = {}
    for platform in (AMD64, ARM64):
        base = {"Env": ["PATH=/usr/bin"], "Labels": {"platform": str(platform)}}
        if place == "arm64 alone" and platform is AMD64:
            images[platform] = await push_image(store, repository, [clean], config=base)
        else:
            config = {**base, "Env": [*base["Env"], *env]}
            images[platform] = await push_image(store, repository, layers, config=config)
    return (await push_index(store, repository, images)).digest
