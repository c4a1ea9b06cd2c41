"""The targets of a bake file, in the JSON that ``docker buildx bake --print`` writes (or a bake file in JSON)."""

from __future__ import annotations

import csv
import os
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import msgspec

from shipgraph.errors import ConfigurationError
from shipgraph.setup.init_dockerfile import parse_dockerfile
from shipgraph.setup.init_draft import Found, slug

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_HUB: Final = "docker.io"
_TARGET: Final = "target:"


class Bake:
    """What a bake file says, and whether its tags agree on a registry and a namespace (else empty)."""

    def __init__(self, found: list[Found], registry: str, namespace: str, notes: tuple[str, ...]) -> None:
        self.found, self.registry, self.namespace, self.notes = found, registry, namespace, notes


def read_bake(text: bytes, file: str, folder: Path, place: Path) -> Bake:
    """Read it.

    Args:
        file: its name, for errors.
        folder: the project's; everything must be within it.
        place: the folder that the file's paths are relative to.

    Raises:
        ConfigurationError: it isn't one, or no target of it can be drafted.
    """
    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        hint = f"`docker buildx bake --print -f {file} > bake.json`, then `shipgraph init --from bake.json`"
        raise ConfigurationError(f"is not a bake file in JSON: {error}", file=file, hint=hint) from None
    targets = document.get("target") if isinstance(document, dict) else None
    if not isinstance(targets, dict) or not targets:
        raise ConfigurationError("has no targets", file=file, key="target")
    reader = _Reader(folder, place, {name: table for name, table in targets.items() if isinstance(table, dict)})
    found = [one for name, table in reader.targets.items() if (one := reader.target(name, table)) is not None]
    if not found:
        raise ConfigurationError(f"no target can be drafted: {'; '.join(reader.notes)}", file=file)
    places = {tag.rpartition("/")[0] for tag in reader.tags}
    registry, _, namespace = places.pop().partition("/") if len(places) == 1 else ("", "", "")
    return Bake(found, registry, namespace, tuple(reader.notes))


class _Reader:
    def __init__(self, folder: Path, place: Path, targets: Mapping[str, dict[str, Any]]) -> None:
        self.folder, self.place = folder, place
        self.targets = {name: self._inherited(name, targets, ()) for name in targets}
        self.keys = {name: slug(name) for name in targets}
        self.notes: list[str] = []
        self.tags: list[str] = []

    def _inherited(self, name: str, targets: Mapping[str, dict[str, Any]], seen: tuple[str, ...]) -> dict[str, Any]:
        """A target with what it inherits; ``--print`` has resolved that, a file written by hand hasn't."""
        table = targets.get(name, {})
        merged: dict[str, Any] = {}
        for parent in _texts(table.get("inherits")):
            if parent not in seen and parent != name:
                merged |= self._inherited(parent, targets, (*seen, name))
        return {**merged, **table}

    def target(self, name: str, table: dict[str, Any]) -> Found | None:
        context = self._relative(_text(table.get("context")) or ".")
        if context is None:
            self.notes.append(f"target {name}: its context {table.get('context')!r} is not a folder of the project")
            return None
        if table.get("dockerfile-inline"):
            self.notes.append(f"target {name}: its Dockerfile is in the bake file; write it to a file of its own")
            return None
        dockerfile = self._relative(_text(table.get("dockerfile")) or "Dockerfile", within=context)
        try:
            text = "" if dockerfile is None else (self.folder / dockerfile).read_text(errors="replace")
        except OSError:
            dockerfile = None
        if dockerfile is None:
            self.notes.append(f"target {name}: there is no Dockerfile {table.get('dockerfile') or 'Dockerfile'!r}")
            return None
        notes = (
            [f"the bake file builds the stage {stage!r}; here the last one counts"]
            if (stage := _text(table.get("target")))
            else []
        )
        tags = [_repository(tag) for tag in _texts(table.get("tags"))]
        self.tags += tags[:1]
        contexts = table.get("contexts") if isinstance(table.get("contexts"), dict) else {}
        links = {
            alias: self.keys[target.removeprefix(_TARGET)]
            for alias, target in (contexts or {}).items()
            if isinstance(target, str) and target.startswith(_TARGET) and target.removeprefix(_TARGET) in self.keys
        }
        args = table.get("args") if isinstance(table.get("args"), dict) else {}
        return Found(
            key=self.keys[name],
            dockerfile=dockerfile,
            context=context,
            content=parse_dockerfile(text),
            names=tuple(name for tag in tags for name in (tag, tag.partition("/")[2])),
            links=links,
            platforms=tuple(_texts(table.get("platforms"))),
            args={key: value for key, value in (args or {}).items() if isinstance(value, str)},
            secrets=tuple(_identifiers(table.get("secret"))),
            repository=tags[0].rpartition("/")[2] if tags else "",
            cache_scope=_scope(table.get("cache-to")) or _scope(table.get("cache-from")),
            notes=tuple(notes),
        )

    def _relative(self, text: str, within: str | None = None) -> str | None:
        """A path as the draft has it: POSIX, relative to the project's folder; None if it leads out of it."""
        if "://" in text or text.startswith(("git@", _TARGET)):
            return None
        start = self.place if within is None else self.folder / within
        found = os.path.relpath(os.path.normpath(start / text), self.folder)
        path = PurePosixPath(found.replace(os.sep, "/"))
        return None if path.is_absolute() or ".." in path.parts else str(path)


def _repository(tag: str) -> str:
    """Host and repository of an image's name; Docker Hub's host where it names none."""
    name = tag.partition("@")[0]
    head, colon, last = name.rpartition(":")
    if colon and "/" not in last:
        name = head
    first = name.partition("/")[0]
    return name if "/" in name and ("." in first or ":" in first or first == "localhost") else f"{_HUB}/{name}"


def _scope(value: Any) -> str:
    """The scope of a GitHub Actions cache."""
    for entry in value if isinstance(value, list) else ():
        pairs = entry if isinstance(entry, dict) else _pairs(entry) if isinstance(entry, str) else {}
        if pairs.get("type") == "gha" and isinstance(pairs.get("scope"), str):
            return str(pairs["scope"])
    return ""


def _identifiers(value: Any) -> Iterable[str]:
    for entry in value if isinstance(value, list) else ():
        pairs = entry if isinstance(entry, dict) else _pairs(entry) if isinstance(entry, str) else {}
        if isinstance(pairs.get("id"), str):
            yield str(pairs["id"])


def _pairs(text: str) -> dict[str, str]:
    fields = next(csv.reader([text]), [])
    return {key: value for key, _, value in (field.partition("=") for field in fields)}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: Any) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
