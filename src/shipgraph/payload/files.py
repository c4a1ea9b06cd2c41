"""Which files the payload holds: those of the project that its patterns name, and two that say what they belong to."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pathspec

from shipgraph.errors import ConfigurationError
from shipgraph.oci.manifest import encode_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from shipgraph.oci.digest import Digest
    from shipgraph.project.spec import FileRule

IMAGES: Final = "images.json"
SUMS: Final = "SHA256SUMS"
PIECE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class PayloadImage:
    """An image that the payload belongs to: its key, its repository's last part, and its index's digest."""

    key: str
    repository: str
    digest: Digest


@dataclass(frozen=True, slots=True)
class Member:
    """One file of the archive: from a file of the project, or from ``content``; ``sha256`` in hexadecimal digits."""

    path: str
    size: int
    sha256: str
    executable: bool
    source: Path | None = None
    content: bytes = b""


def select_files(folder: Path, rules: Sequence[FileRule], listed: Iterable[str]) -> dict[str, Path]:
    """The project's files that the rules name, by their path in the payload, sorted.

    ``listed`` are the files that may be shipped at all (those that git knows), as POSIX paths relative to ``folder``.

    Raises:
        ConfigurationError: a pattern matches nothing, two files want one place, or a file is not a regular one.
    """
    candidates = sorted(listed)
    chosen: dict[str, Path] = {}
    for rule in rules:
        matcher = pathspec.PathSpec.from_lines("gitignore", [f"/{rule.pattern}"])
        matches = [path for path in candidates if matcher.match_file(path)]
        if not matches:
            raise ConfigurationError(
                f"the pattern {rule.pattern!r} matches no file that git knows", key="payload.files",
                hint="add the files to git, or correct the pattern",
            )  # fmt: skip
        for path in matches:
            source, target = folder / path, rule.target(path)
            if target in (IMAGES, SUMS):
                raise ConfigurationError(f"{path} would take the place of {target}, which is made", key="payload.files")
            if target in chosen and chosen[target] != source:
                raise ConfigurationError(f"two files want to be {target} in the payload", key="payload.files")
            if source.is_symlink() or not source.is_file():
                raise ConfigurationError(
                    f"{path} is not a regular file, and a payload holds no links or devices", key="payload.files"
                )
            chosen[target] = source
    return dict(sorted(chosen.items()))


def read_members(files: dict[str, Path], images: Sequence[PayloadImage]) -> list[Member]:
    """All members of the archive in its order: the project's files, ``images.json`` and ``SHA256SUMS``, sorted by path.

    ``SHA256SUMS`` covers every other member, in the form that ``sha256sum -c`` reads.
    """
    members = [
        Member(path, source.stat().st_size, _hash(source), bool(source.stat().st_mode & 0o100), source)
        for path, source in files.items()
    ]
    members.append(_made(IMAGES, encode_json([_describe(image) for image in images])))
    members.sort(key=lambda member: member.path)
    sums = "".join(f"{member.sha256}  {member.path}\n" for member in members)
    members.append(_made(SUMS, sums.encode()))
    return sorted(members, key=lambda member: member.path)


def _describe(image: PayloadImage) -> dict[str, str]:
    return {"image": image.key, "repository": image.repository, "digest": str(image.digest)}


def _made(path: str, content: bytes) -> Member:
    return Member(path, len(content), hashlib.sha256(content).hexdigest(), executable=False, content=content)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
