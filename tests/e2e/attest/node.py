"""Node's packages of Sigstore, pinned, installed once into the cache."""

from __future__ import annotations

import fcntl
import hashlib
import json
import subprocess
from typing import TYPE_CHECKING

from tests.real.tools import cache, debian

if TYPE_CHECKING:
    from pathlib import Path

PACKAGES = {
    "@sigstore/verify": "3.1.1",
    "@sigstore/bundle": "4.0.0",
    "@sigstore/protobuf-specs": "0.5.2",
    "@sigstore/mock": "0.12.1",
}


def node_modules() -> Path:
    """The folder that has them."""
    text = json.dumps({"private": True, "dependencies": PACKAGES})
    folder = cache() / "node" / hashlib.sha256(text.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            (folder / "package.json").write_text(text)
            subprocess.run(
                [debian("npm"), "install", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"],
                cwd=folder,
                check=True,
            )
            (folder / "done").touch()
    return folder
