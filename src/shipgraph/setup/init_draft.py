"""From what was found (Dockerfiles, a bake file) to the images of a draft: keys, parents, bases; pure.

A guess that can't be proved is a note, which the drafted file shows where it matters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from shipgraph.setup.init_dockerfile import BASE_ARGUMENT, SCRATCH, Dockerfile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PLATFORMS: Final = ("linux/amd64", "linux/arm64")
_LOCAL_TAGS: Final = frozenset({"", "latest", "local", "dev", "main", "edge", "nightly", "build"})
_ARGUMENT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NOT_NAME: Final = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Found:
    """Something that could be an image: its Dockerfile and context (POSIX, relative to the project's folder).

    ``names`` are what other Dockerfiles may call it beside its key; ``links`` say outright which of the others a name
    in a ``FROM`` stands for.
    """

    key: str
    dockerfile: str
    context: str
    content: Dockerfile
    names: tuple[str, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)
    platforms: tuple[str, ...] = ()
    args: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    repository: str = ""
    cache_scope: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DraftImage:
    """One image of the draft: exactly one of ``parent`` and ``base`` is given. ``why`` explains which."""

    key: str
    context: str
    dockerfile: str
    parent: str = ""
    base: str = ""
    why: str = ""
    repository: str = ""
    platforms: tuple[str, ...] = ()
    args: Mapping[str, str] = field(default_factory=dict)
    needed: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    cache_scope: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Draft:
    """What the file will say; images stand after their parents."""

    name: str
    platforms: tuple[str, ...]
    images: tuple[DraftImage, ...]
    registry: str = ""
    namespace: str = ""
    default_branch: str = ""
    payload: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def slug(text: str, fallback: str = "app") -> str:
    """A name as projects, keys and repositories have them."""
    return _NOT_NAME.sub("-", text.lower()).strip("-")[:50].strip("-") or fallback


def draft(name: str, found: Sequence[Found], **more: str | tuple[str, ...]) -> Draft:
    """The draft of a project.

    Args:
        more: members of ``Draft`` that are known already.
    """
    keyed = {one.key: one for one in found}
    parents = {one.key: _parent(name, one, found) for one in found}
    for key in _in_cycles(parents):
        parents[key] = ""
    platforms = _platforms(found)
    images = {key: _image(one, parents[key], platforms) for key, one in keyed.items()}
    order: list[str] = []
    for key in images:
        _visit(key, parents, order)
    for key in order:
        images[key] = _within(images[key], images.get(parents[key]), platforms)
    _separate(name, order, images)
    return Draft(name, platforms, tuple(images[key] for key in order), **more)  # type: ignore[arg-type]


def repository_of(project: str, key: str, repository: str) -> str:
    """An image's repository: what it has, or what the project's file derives from its key."""
    own = key == project or key.startswith(f"{project}-")
    return repository or (key if own else f"{project}-{key}")


def _separate(project: str, order: Sequence[str], images: dict[str, DraftImage]) -> None:
    """No two things may share a repository: whoever comes later gets one of its own."""
    taken = {f"{project}-payload", f"{project}-metadata"}
    for key in order:
        wanted = repository_of(project, key, images[key].repository)
        free = wanted
        for number in range(1, len(images) + 3):
            if free not in taken:
                break
            free = f"{project}-{key}-image{number if number > 1 else ''}"
        if free != wanted:
            notes = (*images[key].notes, f"the repository {wanted} is taken; choose a better name than this")
            images[key] = replace(images[key], repository=free, notes=notes)
        taken.add(free)


def _within(image: DraftImage, parent: DraftImage | None, all_: tuple[str, ...]) -> DraftImage:
    """An image can't be built for a platform that its parent lacks."""
    if parent is None or not parent.platforms:
        return image
    wanted = image.platforms or all_
    both = tuple(platform for platform in wanted if platform in parent.platforms) or parent.platforms
    if both == wanted:
        return image
    note = f"only for the platforms of {parent.key}, which it is built on"
    return replace(image, platforms=both, notes=(*image.notes, note))


def _visit(key: str, parents: Mapping[str, str], order: list[str]) -> None:
    chain = []
    while key and key not in order and key not in chain:
        chain.append(key)
        key = parents[key]
    order += reversed(chain)


def _platforms(found: Sequence[Found]) -> tuple[str, ...]:
    """The platforms of the project: all that any image names, else the usual two."""
    named = [platform for one in found for platform in one.platforms]
    return tuple(dict.fromkeys(named)) or PLATFORMS


def _parent(project: str, one: Found, found: Sequence[Found]) -> str:
    """The key of the image that another is built on; empty for an external base."""
    origin = one.content.origin
    if origin is None:
        return ""
    given = one.args.get(BASE_ARGUMENT, "") if one.content.takes_base else ""
    wanted = given or origin.image
    if wanted in one.links:
        return one.links[wanted] if one.links[wanted] != one.key else ""
    for other in found:
        if other.key != one.key and _is_called(project, other, wanted):
            return other.key
    return ""


def _is_called(project: str, image: Found, reference: str) -> bool:
    """Whether a reference may mean an image of this project."""
    path, _, tag = reference.partition("@")[0].rpartition(":")
    if not path or "/" in tag:
        path, tag = reference.partition("@")[0], ""
    head, slash, last = path.rpartition("/")
    repository = repository_of(project, image.key, image.repository)
    if path.lower() in image.names or last.lower() in (repository.rpartition("/")[2], f"{project}-{image.key}"):
        return True
    if not slash:  # a bare name could be Docker Hub's: only without a foreign version
        return last.lower() == image.key and tag in _LOCAL_TAGS
    return last.lower() == image.key and head.rpartition("/")[2].lower() == project


def _in_cycles(parents: Mapping[str, str]) -> set[str]:
    found: set[str] = set()
    for start in parents:
        seen = [start]
        while (following := parents[seen[-1]]) and following not in seen:
            seen.append(following)
        if following:
            found |= set(seen[seen.index(following) :])
    return found


def _image(one: Found, parent: str, platforms: tuple[str, ...]) -> DraftImage:
    content = one.content
    origin = content.origin
    notes = list(one.notes)
    given = one.args.get(BASE_ARGUMENT, "") if content.takes_base else ""
    base = given or ("" if origin is None else origin.image)
    why = ""
    if origin is None:
        notes.append("the Dockerfile has no FROM that could be read")
    elif parent:
        why = f"{one.dockerfile}:{origin.line} starts from {base}"
    if origin is not None and not content.takes_base and base != SCRATCH:
        notes.append(
            f"{one.dockerfile}:{origin.line} says `FROM {origin.written}`: let the file begin with "
            f"`ARG {BASE_ARGUMENT}={base}` and say `FROM ${{{BASE_ARGUMENT}}}` there, or it won't follow"
        )
    if not parent and not _is_reference(base):
        notes.append("what it is built on can't be told; `scratch` stands for it")
        base = SCRATCH
    own = one.platforms if one.platforms and set(one.platforms) != set(platforms) else ()
    if origin is not None and origin.platform and "$" not in origin.platform and not own:
        own = (origin.platform,) if origin.platform in platforms else ()
        if not own:
            notes.append(f"{one.dockerfile}:{origin.line} wants {origin.platform}, which is none of the platforms")
    args = {
        name: value
        for name, value in one.args.items()
        if _ARGUMENT.fullmatch(name) and name not in (BASE_ARGUMENT, "SOURCE_DATE_EPOCH")
    }
    return DraftImage(
        key=one.key,
        context=one.context,
        dockerfile=one.dockerfile,
        parent=parent,
        base="" if parent else base,
        why=why,
        repository=one.repository,
        platforms=own,
        args=args,
        needed=tuple(name for name in content.needed if name not in args and name not in _PREDEFINED),
        secrets=tuple(dict.fromkeys((*one.secrets, *content.secrets))),
        cache_scope=one.cache_scope,
        notes=tuple(notes),
    )


_PREDEFINED: Final = frozenset(
    {
        *(f"{side}{part}" for side in ("TARGET", "BUILD") for part in ("PLATFORM", "OS", "ARCH", "VARIANT")),
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "FTP_PROXY", "ALL_PROXY"),
        *("http_proxy", "https_proxy", "no_proxy", "ftp_proxy", "all_proxy"),
        *(BASE_ARGUMENT, "SOURCE_DATE_EPOCH"),
    }
)


def _is_reference(text: str) -> bool:
    from shipgraph.errors import ConfigurationError
    from shipgraph.project.bases import parse_base

    try:
        parse_base(text)
    except ConfigurationError:
        return False
    return True


def with_unique_keys(found: Sequence[Found], alternatives: Mapping[str, Sequence[str]]) -> list[Found]:
    """Every key once: where two are the same, longer ones are tried, by Dockerfile, and at last a number."""
    taken: dict[str, int] = {}
    for one in found:
        taken[one.key] = taken.get(one.key, 0) + 1
    used = {key for key, count in taken.items() if count == 1}
    unique = []
    for one in found:
        key = one.key
        if taken[key] > 1:
            tries = [*alternatives.get(one.dockerfile, ()), *(f"{key}-{number}" for number in range(2, 10_000))]
            key = next(name for name in tries if name not in used and taken.get(name, 0) != 1)
            used.add(key)
        unique.append(replace(one, key=key))
    return unique
