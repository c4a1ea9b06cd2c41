"""What a consumer remembers of each channel: the highest serial that it believed, and its digest."""

from __future__ import annotations

import fcntl
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from shipgraph.errors import ConfigurationError
from shipgraph.oci.manifest import encode_json

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Seen:
    """The newest that was believed."""

    serial: int
    digest: str


class SerialMemory:
    """A file of serials, by registry, repository and channel; a file that can't be read is an error, not an empty one.

    Args:
        registry: the registry that is read: a rehearsal's serials are not the real ones.
    """

    def __init__(self, path: Path, registry: str) -> None:
        self._path, self._registry = path, registry

    def get(self, repository: str, channel: str) -> Seen | None:
        """What was believed last.

        Raises:
            ConfigurationError: the file is broken.
        """
        entry = self._read().get(self._key(repository, channel))
        return None if entry is None else Seen(entry["serial"], entry["digest"])

    def remember(self, repository: str, channel: str, seen: Seen) -> None:
        """Write it down, before anything is done with it; a serial never goes down, also where two consumers write.

        Raises:
            ConfigurationError: the file is broken.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_name(f".{self._path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            entries, key = self._read(), self._key(repository, channel)
            entry = {"serial": seen.serial, "digest": seen.digest}
            if entries.get(key) == entry or entries.get(key, entry)["serial"] > seen.serial:
                return
            self._write({**entries, key: entry})

    def _write(self, entries: dict[str, Any]) -> None:
        new = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}")
        try:
            with new.open("xb") as file:
                file.write(encode_json(entries))
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
        finally:
            with suppress(OSError):
                new.unlink(missing_ok=True)

    def _key(self, repository: str, channel: str) -> str:
        return f"{self._registry}/{repository}:{channel}"

    def _read(self) -> dict[str, Any]:
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return {}
        try:
            entries = msgspec.json.decode(content, type=dict[str, dict[str, Any]])
            for entry in entries.values():
                msgspec.convert([entry["serial"], entry["digest"]], tuple[int, str])
        except (msgspec.MsgspecError, KeyError) as error:
            raise ConfigurationError(
                f"{self._path}, which remembers the serials of channels, is broken: {error}",
                hint="without it an older release can't be told; if you know that all is well, delete it",
            ) from error
        return entries
