"""Debian's archive as this machine reaches it: which mirror, and what state the archive is in.

The machine's own apt says where its mirror is and does the downloading, so its proxies, authorities and credentials
count. Nothing of that gets into an image or a record: those know ``deb.debian.org`` alone.
"""

from __future__ import annotations

import email.utils
import hashlib
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio

from shipgraph import process
from shipgraph.errors import MalformedDocument, ProcessFailed, RegistryUnavailable, ToolMissing

MAIN: Final = "http://deb.debian.org/debian"
SECURITY: Final = "http://deb.debian.org/debian-security"
_HELPER: Final = "/usr/lib/apt/apt-helper"
_ROLLING: Final = frozenset({"sid", "unstable", "experimental"})
_DATE: Final = re.compile(rb"^Date:[ \t]*(.+?)[ \t]*$", re.MULTILINE)
_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Source:
    """One part of the archive: ``public`` is its address for everybody, ``mirror`` the one this machine uses."""

    suite: str
    public: str
    mirror: str

    @property
    def line(self) -> str:
        """The line for sources.list that everybody can use."""
        return f"deb {self.public} {self.suite} main"

    @property
    def mirror_line(self) -> str:
        """The line that works on this machine."""
        return f"deb {self.mirror} {self.suite} main"


@dataclass(frozen=True, slots=True)
class ArchiveState:
    """The archive at one moment: its sources, the sha256 of each one's InRelease file, and the newest one's date."""

    sources: tuple[Source, ...]
    hashes: tuple[str, ...]
    epoch: int


async def archive_sources(suite: str) -> tuple[Source, ...]:
    """What a suite consists of: itself, and its updates and security fixes unless it has none, by the machine's apt."""
    parts = [(suite, MAIN)]
    if suite not in _ROLLING:
        parts += [(f"{suite}-updates", MAIN), (f"{suite}-security", SECURITY)]
    known = await _configured()
    return tuple(Source(name, public, _mirror(name, public, known)) for name, public in parts)


async def read_archive(suite: str) -> ArchiveState:
    """Fetch the suite's InRelease files.

    Raises:
        RegistryUnavailable: the archive can't be reached, or has no such suite.
        ToolMissing: this machine has no apt.
    """
    if not await anyio.Path(_HELPER).exists():
        raise ToolMissing(f"{_HELPER} is missing", hint="root file systems are made with Debian's apt and mmdebstrap")
    sources = await archive_sources(suite)
    hashes, dates = [], []
    with tempfile.TemporaryDirectory(prefix="shipgraph-archive-") as name:
        for number, source in enumerate(sources):
            address = f"{source.mirror}/dists/{source.suite}/InRelease"
            place = Path(name) / str(number)
            try:
                await process.run([_HELPER, "download-file", address, place], timeout=_SECONDS)
                content = await anyio.Path(place).read_bytes()
            except (ProcessFailed, OSError) as error:
                detail = error.tail.strip().rpartition("\n")[2] if isinstance(error, ProcessFailed) else str(error)
                raise RegistryUnavailable(
                    f"Debian's archive has no answer for suite {source.suite}",
                    detail=detail,
                    hint="check that this machine's apt reaches its mirror (apt-get update), then run it again",
                ) from error
            hashes.append(hashlib.sha256(content).hexdigest())
            dates.append(_date(content, source.suite))
    return ArchiveState(sources, tuple(hashes), max(dates))


async def apt_proxy() -> dict[str, str]:
    """The proxies that the machine's apt is configured with, as environment variables for another apt."""
    found: dict[str, str] = {}
    for scheme in ("http", "https"):
        answer = await process.run(
            ["apt-config", "shell", "PROXY", f"Acquire::{scheme}::Proxy"], check=False, timeout=_SECONDS
        )
        match = re.search(r"PROXY='([^']+)'", answer.stdout)
        if match and match[1] != "DIRECT":
            found[f"{scheme}_proxy"] = match[1]
    return found


async def _configured() -> list[tuple[str, str]]:
    """Address and suite of each source of the machine's apt."""
    try:
        answer = await process.run(
            ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"],
            check=False,
            timeout=_SECONDS,
        )
    except ToolMissing:
        return []
    pairs = (line.split() for line in answer.stdout.splitlines())
    return [(pair[0].rstrip("/"), pair[1].rstrip("/")) for pair in pairs if len(pair) == 2]


def _mirror(suite: str, public: str, known: list[tuple[str, str]]) -> str:
    """The machine's mirror for a suite: that of the very suite, else one of the same part, else Debian's own."""
    ending = public.rpartition("/")[2]
    mirrors = [address for address, _ in known if address.endswith(f"/{ending}")]
    exact = [address for address, name in known if name == suite and address in mirrors]
    return (exact or mirrors or [public])[0]


def _date(content: bytes, suite: str) -> int:
    match = _DATE.search(content)
    try:
        if match is not None:
            return int(email.utils.parsedate_to_datetime(match[1].decode()).timestamp())
    except (ValueError, UnicodeDecodeError):
        pass
    raise MalformedDocument(f"the InRelease file of suite {suite} has no readable date")
