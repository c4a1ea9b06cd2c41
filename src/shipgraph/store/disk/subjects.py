"""Which manifest refers to which subject.

A manifest never changes, so what is known of it stays true: the file in ``.shipgraph/subjects/`` is a memo that only
grows, one line ``<digest> <subject or ->`` for each manifest. What it doesn't say (another program wrote into the
layout; a line was lost) is read from the manifest itself, so the memo may be deleted at any time.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from shipgraph.errors import DiskFull, InvalidReference, RegistryError
from shipgraph.oci.digest import Digest
from shipgraph.store.disk.files import make_directory, named_causes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

_NONE = "-"


class Subjects:
    """The memo of one repository. All methods block; safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._subject: dict[str, str] = {}
        self._referrers: dict[str, list[str]] = {}
        self._loaded = False

    def learn(self, digest: str, subject: Digest | None) -> None:
        """Remember a manifest that has just been stored."""
        with self._lock:
            if digest not in self._subject:
                self._append([(digest, subject)])

    def referrers(self, subject: Digest, listed: Iterable[str], read: Callable[[str], Digest | None]) -> list[str]:
        """Those of the listed manifests whose subject is that one; ``read`` looks into a manifest not yet known."""
        listed = set(listed)
        with self._lock:
            if not self._loaded:
                self._load()
            unknown = listed - self._subject.keys()
            if unknown:
                found = [(digest, read(digest)) for digest in sorted(unknown)]
                with suppress(
                    RegistryError, DiskFull
                ):  # only a memo, and reading must be possible where writing is not
                    self._append(found)
                for digest, its_subject in found:
                    self._remember(digest, str(its_subject or _NONE))
            return sorted(digest for digest in self._referrers.get(str(subject), ()) if digest in listed)

    def _append(self, found: list[tuple[str, Digest | None]]) -> None:
        text = "".join(f"{digest} {subject or _NONE}\n" for digest, subject in found)
        with named_causes(f"write {self._path}"):
            make_directory(self._path.parent, durable=False)
            with self._path.open("a", encoding="ascii") as file:  # one write in append mode: whole lines, in any order
                file.write(text)
        for digest, subject in found:
            self._remember(digest, str(subject or _NONE))

    def _load(self) -> None:
        self._loaded = True
        try:
            text = self._path.read_text("ascii", errors="replace")
        except OSError:
            return
        for line in text.split("\n"):
            digest, _, subject = line.partition(" ")
            if _is_digest(digest) and (subject == _NONE or _is_digest(subject)):
                self._remember(digest, subject)

    def _remember(self, digest: str, subject: str) -> None:
        if digest in self._subject:
            return
        self._subject[digest] = subject
        if subject != _NONE:
            self._referrers.setdefault(subject, []).append(digest)


def _is_digest(text: str) -> bool:
    try:
        Digest.parse(text)
    except InvalidReference:
        return False
    return True
