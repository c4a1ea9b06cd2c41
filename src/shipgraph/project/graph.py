"""The image graph: who is built from whom, in which order, and every way it can be wrong."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from shipgraph.errors import GraphError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from shipgraph.oci.platform import Platform
    from shipgraph.project.bases import Base


@dataclass(frozen=True, slots=True)
class ImageTest:
    """One test of an image: what is run and what must come out; profiles are POSIX paths as in ``ImageSpec``.

    ``platforms`` empty means all of the image's; ``timeout`` is in seconds.
    """

    name: str
    run: tuple[str, ...]
    entrypoint: tuple[str, ...] | None = None
    expect_exit: int = 0
    expect_output: str | None = None
    user: str | None = None
    read_only: bool = False
    tmpfs: tuple[str, ...] = ()
    seccomp: str | None = None
    apparmor: str | None = None
    env: Mapping[str, str] = field(default_factory=dict, hash=False)
    timeout: int = 60
    platforms: tuple[Platform, ...] = ()


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """One image of the project, with everything derived.

    ``context`` and ``dockerfile`` are POSIX paths relative to the project's folder; exactly one of ``base`` and
    ``parent`` is set; ``max_age`` and ``timeout`` are seconds.
    """

    key: str
    repository: str
    context: str
    dockerfile: str
    platforms: tuple[Platform, ...]
    cache_scope: str
    base: Base | None = None
    parent: str | None = None
    args: Mapping[str, str] = field(default_factory=dict, hash=False)
    secrets: tuple[str, ...] = ()
    max_age: int | None = None
    timeout: int | None = None
    description: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    tests: tuple[ImageTest, ...] = ()


@dataclass(frozen=True, slots=True)
class GraphProblem:
    """One thing that is wrong with a graph: the image and its key in the file that say so."""

    image: str
    key: str
    what: str
    allowed: str = ""
    hint: str = ""

    def error(self) -> GraphError:
        """The problem as an exception."""
        return GraphError(self.what, key=f"images.{self.image}.{self.key}", allowed=self.allowed, hint=self.hint)


@dataclass(frozen=True, slots=True)
class Graph:
    """A checked, acyclic graph; iterating yields the images in topological order.

    The order is stable: parents first, otherwise as the file has them.
    """

    images: Mapping[str, ImageSpec] = field(hash=False)
    levels: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, images: Iterable[ImageSpec]) -> Graph:
        """Check the images and order them.

        Raises:
            GraphError: the first of what ``find_problems`` finds.
        """
        by_key: dict[str, ImageSpec] = {}
        for image in images:
            if image.key in by_key:
                raise GraphError(f"image {image.key} exists twice")
            by_key[image.key] = image
        for problem in find_problems(by_key):
            raise problem.error()
        depths: dict[str, int] = {}
        for key in by_key:
            path: list[str] = []
            at: str | None = key
            while at is not None and at not in depths:
                path.append(at)
                at = by_key[at].parent
            depth = -1 if at is None else depths[at]
            for step, name in enumerate(reversed(path), start=1):
                depths[name] = depth + step
        levels: list[list[str]] = [[] for _ in range(max(depths.values(), default=-1) + 1)]
        for key in by_key:
            levels[depths[key]].append(key)
        ordered = {key: by_key[key] for level in levels for key in level}
        return cls(MappingProxyType(ordered), tuple(map(tuple, levels)))

    def __iter__(self) -> Iterator[ImageSpec]:
        return iter(self.images.values())

    def __len__(self) -> int:
        return len(self.images)

    def __contains__(self, key: object) -> bool:
        return key in self.images

    def __getitem__(self, key: str) -> ImageSpec:
        """One image.

        Raises:
            GraphError: the project has no such image.
        """
        try:
            return self.images[key]
        except KeyError:
            raise GraphError(
                f"the project has no image {key[:100]!r}",
                allowed=", ".join(self.images),
                hint=_suggest(key, self.images),
            ) from None

    @property
    def order(self) -> tuple[str, ...]:
        """All keys, parents before children."""
        return tuple(self.images)

    def children(self, key: str) -> tuple[str, ...]:
        """The images built directly from this one."""
        return tuple(image.key for image in self if image.parent == key)

    def ancestors(self, key: str) -> tuple[str, ...]:
        """The images this one is built from, nearest first."""
        found: list[str] = []
        parent = self[key].parent
        while parent is not None:
            found.append(parent)
            parent = self[parent].parent
        return tuple(found)

    def descendants(self, key: str) -> tuple[str, ...]:
        """The images built from this one, directly or not, in topological order."""
        below = {self[key].key}
        for image in self:
            if image.parent in below:
                below.add(image.key)
        return tuple(image for image in self.images if image in below and image != key)

    def closure(self, keys: Iterable[str]) -> tuple[str, ...]:
        """These images and all they are built from, in topological order: what building them takes."""
        wanted = set(keys)
        for key in tuple(wanted):
            wanted.update(self.ancestors(key))
        return tuple(key for key in self.images if key in wanted)


def find_problems(images: Mapping[str, ImageSpec]) -> list[GraphProblem]:
    """Everything that is wrong: unknown parents, each cycle once, platforms that a parent lacks."""
    problems: list[GraphProblem] = []
    for image in images.values():
        if image.parent is None:
            continue
        parent = images.get(image.parent)
        if parent is None:
            others = [key for key in images if key != image.key]
            what = f"image {image.key} has the parent {image.parent!r}, and the project has no such image"
            problems.append(GraphProblem(image.key, "parent", what, ", ".join(others), _suggest(image.parent, others)))
            continue
        missing = [str(platform) for platform in image.platforms if platform not in parent.platforms]
        if missing and parent.key != image.key:
            what = f"image {image.key} is built for {', '.join(missing)}, and its parent {parent.key} is not"
            problems.append(GraphProblem(image.key, "platforms", what, ", ".join(map(str, parent.platforms))))
    problems.extend(_cycles(images))
    return problems


def _cycles(images: Mapping[str, ImageSpec]) -> list[GraphProblem]:
    problems: list[GraphProblem] = []
    done: set[str] = set()
    for start in images:
        path: dict[str, None] = {}
        key: str | None = start
        while key is not None and key in images and key not in done and key not in path:
            path[key] = None
            key = images[key].parent
        if key is not None and key in path:
            cycle = list(path)[list(path).index(key) :]
            # Said from the image that comes first in the file, so that the message doesn't depend on the walk.
            members = set(cycle)
            first = next(name for name in images if name in members)
            turn = cycle.index(first)
            walk = [*cycle[turn:], *cycle[:turn], first]
            problems.append(
                GraphProblem(
                    first,
                    "parent",
                    f"the images are built from each other in a circle: {' → '.join(walk)}",
                    hint="give one of them a `base` instead of its `parent`",
                )
            )
        done.update(path)
    return problems


def _suggest(word: str, known: Sequence[str] | Mapping[str, object]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else ""
