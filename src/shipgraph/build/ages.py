"""Maximum ages and layer caches: an image that is too old is rebuilt for what changed *outside* its inputs.

Debian's updates, say, come with the same Dockerfile and base. A cached layer would bring the old packages back, so no
layer from before may be used: caches by name get the age epoch into their name (``scoped``), and a builder's own
storage remembers for which epoch it built last (``AgeMarks``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from shipgraph.build.builder import BuildRequest, Cache


class AgeMarks:
    """One small file in ``folder`` for each image and platform that has a maximum age."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def outdated(self, request: BuildRequest) -> bool:
        """Whether this builder's own storage may hold layers of an earlier epoch of that image."""
        try:
            return self._place(request).read_text() != str(request.age_epoch)
        except OSError:
            return False

    def remember(self, request: BuildRequest) -> None:
        """Note that the storage now holds this epoch's layers."""
        if request.age_epoch:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._place(request).write_text(str(request.age_epoch))

    def _place(self, request: BuildRequest) -> Path:
        return self._folder / f"{request.image}-{request.platform.slug}"


def scoped(caches: Iterable[Cache], epoch: int) -> tuple[Cache, ...]:
    """The caches of one age epoch; those of an image without a maximum age are left as they are."""
    return tuple(replace(cache, place=f"{cache.place}-age{epoch}") if epoch else cache for cache in caches)
