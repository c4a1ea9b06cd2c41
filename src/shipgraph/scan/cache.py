"""Reports that are remembered on this disk, by the digest of what was scanned and the version of the rules.

The same bytes under the same rules give the same report, so a report is never stale, only missing. Nothing in it is a
secret. A file that can't be read, or isn't what it should be, is as good as none.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from shipgraph.scan.scanner import Report

if TYPE_CHECKING:
    from shipgraph.oci.digest import Digest

FORMAT: Final = 1


class ReportCache:
    """A folder of reports. ``version`` is the scanner's; another one starts from nothing and leaves the old alone."""

    def __init__(self, folder: Path, version: str) -> None:
        key = hashlib.sha256(f"{FORMAT} {version}".encode()).hexdigest()[:24]
        self._folder = folder / key

    def get(self, digest: Digest) -> Report | None:
        """The report about a blob or manifest, if it is remembered."""
        try:
            report = msgspec.json.decode(self._path(digest).read_bytes(), type=Report)
        except (OSError, msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError):
            return None
        return report if report.digest == str(digest) and report.rules > 0 else None

    def put(self, report: Report, digest: Digest) -> None:
        """Remember a report; a disk that won't is no reason to fail."""
        path = self._path(digest)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(msgspec.json.encode(report))
                Path(name).replace(path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError:
            return

    def _path(self, digest: Digest) -> Path:
        return self._folder / digest.algorithm / f"{digest.hex}.json"
