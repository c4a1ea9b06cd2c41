"""The tables ``[retention]`` and ``[retired]``: how much a clean-up keeps."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta

from shipgraph.errors import ConfigurationError
from shipgraph.oci.reference import check_repository
from shipgraph.project.durations import DURATION_ALLOWED, DURATION_PATTERN, parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from shipgraph.project.toml_lines import KeyPath

DEFAULT: Final = "default"
PAYLOAD: Final = "payload"
METADATA: Final = "metadata"
KEEP: Final = 10
"""Complete releases that stay where nothing else is said."""


def _duration(description: str) -> Meta:
    return Meta(description=description, pattern=DURATION_PATTERN, min_length=1, extra={"allowed": DURATION_ALLOWED})


TagPattern = Annotated[
    str,
    Meta(
        description="A tag; * stands for any characters, ? for one.",
        pattern="^[A-Za-z0-9._*?-]+$",
        min_length=1,
        max_length=128,
        extra={"allowed": "letters, digits, . _ - and the wildcards * and ?"},
    ),
]


class RetentionTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """What `shipgraph prune` keeps. Whatever something that stays needs stays too, whatever the counts say."""

    keep: Annotated[
        dict[str, Annotated[int, Meta(ge=0, le=100_000)]],
        Meta(
            description="How many of the newest complete releases stay, by image key, `payload`, `metadata`, a retired"
            " package's name, or `default`, which is 10 unless it is given."
        ),
    ] = {}
    grace: Annotated[
        str, _duration("What was pushed or tagged within this time stays: longer than the longest release takes.")
    ] = "24h"
    unfinished: Annotated[str, _duration("How long a release stays that was begun, and not finished.")] = "30d"
    protect: Annotated[tuple[TagPattern, ...], Meta(description="Tags that always stay, in every repository.")] = ()
    disposable: Annotated[
        tuple[TagPattern, ...],
        Meta(
            description="Tags that were not made by shipgraph and may go, once nothing else needs what they point at;"
            " tags that are not known otherwise always stay."
        ),
    ] = ()
    outside: (
        Annotated[
            str,
            Meta(
                description="A file, relative to this one, of what is used elsewhere and must stay: a digest or a"
                " reference with a digest on each line.",
                min_length=1,
                max_length=512,
            ),
        ]
        | None
    ) = None


class RetiredTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """Packages of images that are no longer part of the project: they are cleaned up like the others."""

    packages: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=128)], ...],
        Meta(description="Repositories below the namespace."),
    ] = ()


@dataclass(frozen=True, slots=True)
class RetentionSpec:
    """Retention, checked. ``keep`` goes by repository below the namespace; times in seconds; ``outside`` is a path."""

    keep: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    default: int = KEEP
    grace: int = 86400
    unfinished: int = 30 * 86400
    protect: tuple[str, ...] = ()
    disposable: tuple[str, ...] = ()
    outside: str | None = None
    retired: tuple[str, ...] = ()


def derive_retention(
    table: RetentionTable,
    retired: RetiredTable,
    repositories: Mapping[str, str],
    note: Callable[[KeyPath, str, str], None],
) -> RetentionSpec:
    """Check both tables.

    Args:
        repositories: the project's, below the namespace, by what ``keep`` calls them: image keys, then ``payload`` and
            ``metadata``.
        note: takes the place of a problem, what it is, and what is allowed.
    """
    taken = {repository: key for key, repository in repositories.items()}
    for index, package in enumerate(retired.packages):
        at: KeyPath = ("retired", "packages", index)
        try:
            check_repository(package)
        except ConfigurationError as error:
            note(at, str(error).removesuffix(f"; allowed: {error.allowed}"), error.allowed)
        if package in taken:
            note(at, f"{package!r} is not retired: it is the repository of {taken[package]}", "")
    known = {**repositories, **{package: package for package in retired.packages}}
    keep: dict[str, int] = {}
    for key, count in table.keep.items():
        if key in known:
            keep[known[key]] = count
        elif key != DEFAULT:
            note(("retention", "keep", key), f"there is no image {key!r}", ", ".join((*known, DEFAULT)))
    if table.outside is not None:
        path = PurePosixPath(table.outside)
        if path.is_absolute() or ".." in path.parts or "\\" in table.outside:
            note(("retention", "outside"), f"{table.outside!r} leads out of the project's folder", "a path below it")
    return RetentionSpec(
        keep=MappingProxyType(keep),
        default=table.keep.get(DEFAULT, KEEP),
        grace=parse_duration(table.grace),
        unfinished=parse_duration(table.unfinished),
        protect=table.protect,
        disposable=table.disposable,
        outside=table.outside,
        retired=retired.packages,
    )
