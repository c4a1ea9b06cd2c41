"""Scans a manifest layer by layer, straight from a store: each layer once, however many images share it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from shipgraph.errors import Refused
from shipgraph.events import Finished, Progressed, Started, counted
from shipgraph.layers.reading import read_in_thread
from shipgraph.oci import media_types
from shipgraph.scan.configuration import scan_configuration
from shipgraph.scan.content import ContentScan
from shipgraph.scan.limits import DEFAULT, Limits
from shipgraph.scan.scanner import Report, Scanned
from shipgraph.scan.turns import Turns
from shipgraph.store.content import read_blob
from shipgraph.tasks import gather

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shipgraph.events import Emit
    from shipgraph.layers.reading import Reader
    from shipgraph.oci.descriptor import Descriptor
    from shipgraph.oci.digest import Digest
    from shipgraph.oci.manifest import ImageManifest
    from shipgraph.oci.platform import Platform
    from shipgraph.scan.cache import ReportCache
    from shipgraph.scan.scanner import ContentScanner
    from shipgraph.store.protocols import Fetcher

THREADS: Final = 2
_LAYERS: Final = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.")


class LayeredScanner:
    """A ``Scanner`` over one that scans bytes.

    Args:
        content: finds the secrets.
        cache: reports of earlier runs.
        threads: layers at a time.
    """

    def __init__(
        self,
        content: ContentScanner,
        *,
        cache: ReportCache | None = None,
        threads: int = THREADS,
        limits: Limits = DEFAULT,
    ) -> None:
        self._content = content
        self._cache = cache
        self._limits = limits
        self._turns = Turns(threads)
        self._done: dict[Digest, Report] = {}
        self._running: dict[Digest, anyio.Lock] = {}
        self.scanned: list[Digest] = []
        """What was really scanned, in that order: for figures, and for "nothing the second time"."""

    @property
    def name(self) -> str:
        """See ``Scanner``."""
        return self._content.name

    @property
    def version(self) -> str:
        """See ``Scanner``."""
        return self._content.version

    async def prepare(self) -> None:
        """See ``Scanner``. The rules are loaded later, by the first blob that has to be scanned."""
        if not self.name or not self.version:
            raise Refused("the scanner doesn't say which it is")

    async def scan(
        self,
        fetcher: Fetcher,
        repository: str,
        manifest: ImageManifest,
        platform: Platform | None,  # noqa: ARG002 (layers are the same whatever they run on)
        *,
        emit: Emit,
    ) -> Scanned:
        """See ``Scanner``."""
        # A blob named twice is one; the largest first, so that threads end together.
        layers = sorted({layer.digest: layer for layer in manifest.layers}.values(), key=lambda layer: -layer.size)
        mine: set[Digest] = set()
        calls: list[Callable[[], Awaitable[Report]]] = [
            partial(self._once, manifest.digest, partial(self._manifest, fetcher, repository, manifest), mine),
            *(
                partial(self._once, layer.digest, partial(self._layer, fetcher, repository, layer, emit), mine)
                for layer in layers
            ),
        ]
        reports = {report.digest: report for report in await gather(calls)}
        return Scanned(tuple(reports[str(digest)] for digest in _in_order(manifest)), len(mine))

    async def _once(self, digest: Digest, work: Callable[[], Awaitable[Report]], mine: set[Digest]) -> Report:
        """The report about a digest: of this run, of an earlier one, or made now by whoever comes first."""
        async with self._running.setdefault(digest, anyio.Lock()):
            report = self._done.get(digest)
            if report is None and self._cache is not None:
                report = await anyio.to_thread.run_sync(self._cache.get, digest)
            if report is None:
                report = await work()
                if report.rules <= 0:
                    raise Refused("the scanner has no rules, so it would find nothing")
                self.scanned.append(digest)
                mine.add(digest)
                if self._cache is not None:
                    await anyio.to_thread.run_sync(self._cache.put, report, digest)
            self._done[digest] = report
            return report

    async def _manifest(self, fetcher: Fetcher, repository: str, manifest: ImageManifest) -> Report:
        config = await read_blob(fetcher, repository, manifest.config)
        async with self._turns.turn(len(config)):
            return await anyio.to_thread.run_sync(scan_configuration, self._content, manifest, config)

    async def _layer(self, fetcher: Fetcher, repository: str, layer: Descriptor, emit: Emit) -> Report:
        task = f"gate:{layer.digest}"
        title = f"scan layer {layer.digest.hex[:12]}"
        file = (
            None
            if layer.media_type.startswith(_LAYERS)
            else layer.annotations.get(media_types.ANNOTATION_TITLE, "(file)")
        )
        done = 0

        def observe(size: int) -> None:
            nonlocal done
            if done == 0:
                emit(Started(task, title, layer.size))
            done += size
            emit(Progressed(task, done, layer.size))

        def work(source: Reader) -> Report:
            rules = self._content.rules()
            found = ContentScan(self._content, self._limits)
            found.blob(source, file)
            return Report(str(layer.digest), rules, found.files, found.bytes, tuple(sorted(found.findings)), found.more)

        async with self._turns.turn(layer.size):
            report = await read_in_thread(fetcher, repository, layer, work, observe=observe)
        count = len(report.findings) + report.more
        emit(Finished(task, title, "clean" if not count else counted(count, "finding")))
        return report


def _in_order(manifest: ImageManifest) -> tuple[Digest, ...]:
    return tuple(dict.fromkeys((manifest.digest, *(layer.digest for layer in manifest.layers))))
