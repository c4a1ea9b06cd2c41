"""Finds the Dockerfiles of a folder, and guesses each one's name and build context."""

from __future__ import annotations

import os
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from shipgraph.setup.init_dockerfile import parse_dockerfile
from shipgraph.setup.init_draft import Found, slug, with_unique_keys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOST: Final = 500
DEEPEST: Final = 8
MAX_FILE: Final = 1 << 20
_SKIPPED: Final = frozenset(
    {"node_modules", "vendor", "venv", "__pycache__", "testdata", "fixtures", "examples", "third_party", "target"}
)
_GENERIC: Final = frozenset(
    {"docker", "dockerfiles", "container", "containers", "images", "build", "deploy", "ci", "src"}
)
"""Folders whose names say nothing about the image in them."""
_FILE: Final = re.compile(
    r"(?:Dockerfile|Containerfile)(?:[.-](?P<after>[A-Za-z0-9._-]+))?|(?P<before>[A-Za-z0-9._-]+)\.(?:Dockerfile|Containerfile)",
    re.IGNORECASE,
)


def find_images(folder: Path, below: Path, project: str) -> list[Found]:
    """The images of all Dockerfiles below a folder.

    Args:
        folder: the project's; paths are relative to it.
        below: where to look: it or a folder in it.
        project: the project's name, which a Dockerfile at the root gets.
    """
    found: list[Found] = []
    alternatives: dict[str, list[str]] = {}
    for path in _dockerfiles(folder, below):
        try:
            content = parse_dockerfile((folder / path).read_text(encoding="utf-8", errors="replace"))
        except OSError:
            continue
        if not content.stages:
            continue  # a template, say
        names = _names(path, project)
        context, missing = _context(folder, path, content.copied)
        notes = (f"these files to copy are not in {context!r}: {', '.join(missing[:3])}",) if missing else ()
        alternatives[str(path)] = names[1:]
        found.append(Found(names[0], str(path), context, content, notes=notes))
    return with_unique_keys(found, alternatives)


def _dockerfiles(folder: Path, below: Path) -> Iterator[PurePosixPath]:
    count = 0
    for place, folders, files in os.walk(below):
        here = PurePosixPath(os.path.relpath(place, folder).replace(os.sep, "/"))
        depth = len(here.parts)
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name not in _SKIPPED and depth < DEEPEST
        )
        for name in sorted(files):
            if not _FILE.fullmatch(name) or name.lower().endswith(".dockerignore"):
                continue
            path = folder / here / name
            if path.is_file() and path.resolve().is_relative_to(folder.resolve()) and path.stat().st_size <= MAX_FILE:
                count += 1
                if count > MOST:
                    return
                yield here / name


def _names(path: PurePosixPath, project: str) -> list[str]:
    """What the image may be called, the shortest first."""
    match = _FILE.fullmatch(path.name)
    suffix = slug((match["after"] or match["before"] or "") if match else "", "")
    folders = [slug(part, "") for part in path.parent.parts]
    telling = [part for part in folders if part and part not in _GENERIC]
    if not telling:
        return [suffix, f"{project}-{suffix}"] if suffix else [project]
    tails = ["-".join(telling[start:]) for start in range(len(telling) - 1, -1, -1)]
    if suffix:
        return [slug(f"{tail}-{suffix}") for tail in tails]
    return [slug(tail) for tail in tails]


def _context(folder: Path, path: PurePosixPath, copied: tuple[str, ...]) -> tuple[str, list[str]]:
    """The nearest folder that holds everything that is copied; the Dockerfile's own where none does, and what lacks."""
    own = path.parent
    for place in (own, *own.parents):
        if all(_is_there(folder / place, source) for source in copied):
            return str(place), []
    return str(own), [source for source in copied if not _is_there(folder / own, source)]


def _is_there(place: Path, source: str) -> bool:
    relative = source.lstrip("/")
    if ".." in PurePosixPath(relative).parts or "\0" in relative:
        return False
    if not relative or relative == ".":
        return True
    try:
        if any(char in relative for char in "*?["):
            return any(True for _ in place.glob(relative))
        return (place / relative).exists()
    except (OSError, ValueError, NotImplementedError):
        return False
