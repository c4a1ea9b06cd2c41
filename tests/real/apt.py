"""Packages and sources out of Debian's archive, by an apt with its own state: the machine's lists stay as they are."""

from __future__ import annotations

import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .tools import debian

if TYPE_CHECKING:
    from collections.abc import Iterator

ARCHIVE = "http://deb.debian.org/debian bookworm main"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


@contextmanager
def downloaded(*command: str, architecture: str = "amd64") -> Iterator[Path]:
    """A folder with the files of one apt command: ``download PACKAGE``, ``source --download-only PACKAGE``.

    apt checks them against the archive's signature.
    """
    with tempfile.TemporaryDirectory(prefix="shipgraph-apt-") as name:
        home, files = Path(name), Path(name) / "files"
        for directory in ("state/lists/partial", "cache/archives/partial", "files"):
            (home / directory).mkdir(parents=True)
        (home / "status").touch()
        kinds = ("deb-src",) if command[0] == "source" else ("deb",)
        lines = [f"{kind} [signed-by={KEYRING}] {ARCHIVE}\n" for kind in kinds]
        (home / "sources.list").write_text("".join(lines))
        settings = {
            "APT::Architecture": architecture,
            "APT::Architectures": architecture,
            "Dir::State": home / "state",
            "Dir::State::status": home / "status",
            "Dir::Cache": home / "cache",
            "Dir::Etc::sourcelist": home / "sources.list",
            "Dir::Etc::sourceparts": "-",
            "APT::Sandbox::User": "root",
            "APT::Update::Error-Mode": "any",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
        }
        options = (word for key, value in settings.items() for word in ("-o", f"{key}={value}"))
        apt = [str(debian("apt-get")), "-qq", *options]
        for words in (["update"], list(command)):
            done = subprocess.run([*apt, *words], cwd=files, stderr=subprocess.PIPE, text=True, timeout=300)
            if done.returncode != 0:
                raise RuntimeError(f"apt-get {' '.join(words)} failed\n{done.stderr}")
        yield files
