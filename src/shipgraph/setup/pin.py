"""``shipgraph pin``: external bases in ``shipgraph.toml`` get the digest they have now.

Only the values of ``base`` change; every other byte of the file, comments and line ends included, stays as it is.
"""

from __future__ import annotations

import os
import tempfile
import tomllib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from shipgraph.errors import ConfigurationError, ShipgraphError
from shipgraph.oci.reference import Reference
from shipgraph.project.bases import ExternalBase
from shipgraph.project.config import FILE_NAME
from shipgraph.project.loader import load_project
from shipgraph.project.toml_lines import find_spans

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from shipgraph.oci.descriptor import Descriptor

    Resolver = Callable[[Reference], Awaitable[Descriptor | None]]

LOOKUPS: Final = 8


class PinOutcome(StrEnum):
    """What became of one base."""

    PINNED = "pinned"
    UNCHANGED = "unchanged"
    LEFT = "left"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class PinResult:
    """One image's base: as it was, as it is now (the same unless pinned), and why."""

    image: str
    outcome: PinOutcome
    before: str
    after: str
    reason: str = ""

    def __str__(self) -> str:
        if self.outcome is PinOutcome.PINNED:
            return f"{self.image}: {self.before} → {self.after}"
        if self.outcome is PinOutcome.FAILED:
            return f"{self.image}: {self.before} is not pinned: {self.reason}"
        if self.outcome is PinOutcome.LEFT:
            return f"{self.image}: {self.before} stays as it is: {self.reason}"
        return f"{self.image}: {self.before} {self.outcome}" + (f": {self.reason}" if self.reason else "")


@dataclass(frozen=True, slots=True)
class _Answer:
    digest: str = ""
    reason: str = ""


async def pin(folder: Path, resolver: Resolver, *, update: bool = False, write: bool = True) -> tuple[PinResult, ...]:
    """Pin the external bases of the project in a folder.

    A base that can't be looked up becomes a ``FAILED`` result and the others are pinned all the same. Recipes and
    ``scratch`` are left.

    Args:
        folder: where ``shipgraph.toml`` is.
        resolver: what a reference points at now; None where nothing is there; raises a ``ShipgraphError`` where
            nobody answers.
        update: look up pinned bases again by their tag.
        write: whether the file is changed; the results say the same without.

    Raises:
        ConfigurationError: the file is wrong, can't be written, or changed while bases were looked up.
    """
    path = folder / FILE_NAME
    content = await anyio.to_thread.run_sync(path.read_bytes) if path.is_file() else b""
    project = load_project(folder)
    bases = {image.key: image.base for image in project.graph if image.base is not None}
    wanted = {
        key: _target(base, update=update)
        for key, base in bases.items()
        if isinstance(base, ExternalBase) and (update or not base.pinned)
    }
    found = await _look_up({target for target in wanted.values() if target is not None}, resolver)
    results = []
    for image in project.graph:
        if image.base is None:
            continue
        text = str(image.base)
        if not isinstance(image.base, ExternalBase):
            results.append(PinResult(image.key, PinOutcome.LEFT, text, text, "a recipe or nothing: there is no digest"))
        elif image.key not in wanted:
            results.append(PinResult(image.key, PinOutcome.UNCHANGED, text, text, "it has a digest"))
        else:
            results.append(_result(image.key, text, wanted[image.key], found))
    changes = {result.image: result.after for result in results if result.outcome is PinOutcome.PINNED}
    if write and changes:
        await anyio.to_thread.run_sync(_write, path, content, changes)
    return tuple(results)


def _target(base: ExternalBase, *, update: bool) -> Reference | None:
    """What to look up: the reference by tag; None where an update has no tag to go by."""
    reference = base.reference
    if reference.tag is None and update:
        return None
    return Reference(reference.host, reference.repository, reference.tag)


async def _look_up(targets: Iterable[Reference], resolver: Resolver) -> dict[Reference, _Answer]:
    """What there is at each target; each is asked once, at most 8 at a time."""
    found: dict[Reference, _Answer] = {}
    limiter = anyio.CapacityLimiter(LOOKUPS)

    async def ask(target: Reference) -> None:
        async with limiter:
            try:
                descriptor = await resolver(target)
            except ShipgraphError as error:
                found[target] = _Answer(reason=str(error))
            else:
                if descriptor is None:
                    found[target] = _Answer(reason=f"{target} is not there")
                else:
                    found[target] = _Answer(str(descriptor.digest))

    async with anyio.create_task_group() as group:
        for target in targets:
            group.start_soon(ask, target)
    return found


def _result(image: str, text: str, target: Reference | None, found: Mapping[Reference, _Answer]) -> PinResult:
    if target is None:
        return PinResult(image, PinOutcome.LEFT, text, text, "it has no tag to look up")
    answer = found[target]
    if not answer.digest:
        return PinResult(image, PinOutcome.FAILED, text, text, answer.reason)
    name = text.partition("@")[0]
    if ":" not in name.rpartition("/")[2]:
        name += f":{target.tag}"  # so that a later update knows what to look up
    after = f"{name}@{answer.digest}"
    return PinResult(image, PinOutcome.UNCHANGED if after == text else PinOutcome.PINNED, text, after)


def _write(path: Path, content: bytes, changes: Mapping[str, str]) -> None:
    """Replace the values and nothing else, in one step that leaves the old file or the new one."""
    text = content.decode("utf-8")
    spans = find_spans(text)
    edits = sorted(((spans["images", key, "base"], value) for key, value in changes.items()), reverse=True)
    new = text
    for (start, end), value in edits:
        new = f'{new[:start]}"{value}"{new[end:]}'
    expected = tomllib.loads(text)
    for key, value in changes.items():
        expected["images"][key]["base"] = value
    assert tomllib.loads(new) == expected, "only bases may change"  # noqa: S101 (a mistake here would damage the file)
    try:
        if path.read_bytes() != content:
            raise ConfigurationError(
                "the file changed while bases were looked up", file=str(path), hint="run pin again"
            )
        place = path.resolve()
        handle, temporary = tempfile.mkstemp(prefix=f".{FILE_NAME}-", dir=place.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(new.encode())
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(place.stat().st_mode & 0o7777)
            Path(temporary).replace(place)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigurationError(f"the file can't be written: {error.strerror}", file=str(path)) from error
