"""Packages as the files of an image tell them: dpkg's status, npm's package.json, Python's METADATA."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

_NPM: Final = re.compile(r"(?:^|/)node_modules/(?:@[^/]+/)?[^/@.][^/]*/package\.json$")
_PYTHON: Final = re.compile(r"\.dist-info/METADATA$")
_DPKG: Final = re.compile(r"^var/lib/dpkg/(?:status|status\.d/[^/]+)$")
_OS: Final = ("etc/os-release", "usr/lib/os-release")
_NPM_NAME: Final = re.compile(r"(?:@[A-Za-z0-9._~-]+/)?[A-Za-z0-9._~-]+")
_LONGEST: Final = 256


@dataclass(frozen=True, slots=True, order=True)
class Package:
    """One package: ``kind`` is the purl type (deb, npm, pypi); ``source`` and ``architecture`` only Debian tells."""

    kind: str
    name: str
    version: str
    architecture: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class System:
    """The distribution, from os-release."""

    id: str
    version: str = ""
    name: str = ""


def tells_packages(path: str) -> bool:
    """Whether a file of that path (relative to the root, without ``./``) says something about packages."""
    return bool(_DPKG.match(path) or _NPM.search(path) or _PYTHON.search(path)) and not path.endswith(".md5sums")


def tells_system(path: str) -> bool:
    """Whether it says which distribution this is."""
    return path in _OS


def read_packages(path: str, content: bytes) -> tuple[Package, ...]:
    """The packages that one file names; none where it doesn't make sense (an image may hold broken files)."""
    if _DPKG.match(path):
        return tuple(sorted(_debian(content.decode("utf-8", "replace"), strict=path.endswith("/status"))))
    if path.endswith("package.json"):
        found = _npm(content)
    else:
        fields = next(_paragraphs(content.decode("utf-8", "replace")), {})
        found = _package("pypi", re.sub(r"[-_.]+", "-", fields.get("Name", "")).lower(), fields.get("Version", ""))
    return () if found is None else (found,)


def read_system(content: bytes) -> System | None:
    """The distribution that an os-release file names (os-release(5))."""
    values: dict[str, str] = {}
    for line in content.decode("utf-8", "replace").splitlines():
        key, equals, value = line.strip().partition("=")
        if equals and not key.startswith("#"):
            values[key] = value.strip().strip("\"'")
    if not values.get("ID"):
        return None
    return System(values["ID"][:64], values.get("VERSION_ID", "")[:64], values.get("PRETTY_NAME", "")[:128])


def _debian(text: str, *, strict: bool) -> Iterator[Package]:
    """deb-status: of the one big file only what is installed; files of their own (distroless) have no status."""
    for fields in _paragraphs(text):
        state = fields.get("Status", "")
        if (strict or state) and not state.endswith(" installed"):
            continue
        source, _, version = fields.get("Source", "").partition(" ")
        known = _package("deb", fields.get("Package", ""), fields.get("Version", ""))
        if known is not None:
            origin = f"{source} {version.strip('()')}".strip()[:_LONGEST]
            yield Package("deb", known.name, known.version, fields.get("Architecture", "")[:64], origin)


def _npm(content: bytes) -> Package | None:
    try:
        document = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    name, version = document.get("name"), document.get("version")
    if not isinstance(name, str) or not isinstance(version, str) or not _NPM_NAME.fullmatch(name):
        return None
    return _package("npm", name, version)


def _package(kind: str, name: str, version: str) -> Package | None:
    good = 0 < len(name) <= _LONGEST and 0 < len(version) <= _LONGEST and (name + version).isprintable()
    return Package(kind, name, version) if good else None


def _paragraphs(text: str) -> Iterator[dict[str, str]]:
    """Fields before each empty line; continued lines are left out, since none that is needed has them."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        if not line.strip():
            if fields:
                yield fields
            fields = {}
        elif not line[0].isspace():
            key, colon, value = line.partition(":")
            if colon:
                fields.setdefault(key, value.strip())
    if fields:
        yield fields
