"""Trivy as the scanner, where a project configures it: one run of the command on PATH for each manifest, by digest.

It runs in an empty folder: one of the project's could hold a `.trivyignore` or a `trivy.yaml`, exceptions that have
neither reason nor end.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import msgspec

from shipgraph import process
from shipgraph.errors import MalformedDocument, ProcessFailed, Refused, ToolMissing
from shipgraph.events import Finished, Started, counted
from shipgraph.oci.reference import is_loopback
from shipgraph.scan.finding import CONFIGURATION, Finding, clean_path, fingerprint
from shipgraph.scan.scanner import Report, Scanned
from shipgraph.scan.severity import of_trivy
from shipgraph.scan.unpacked import DESCRIBED, FILES, unpack_artifact

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from shipgraph.events import Emit
    from shipgraph.oci.manifest import ImageManifest
    from shipgraph.oci.platform import Platform
    from shipgraph.scan.cache import ReportCache
    from shipgraph.store.protocols import Fetcher

COMMAND: Final = "trivy"
REVISION: Final = 1
"""Of how it is run; a new one makes remembered results worthless."""
TIMEOUT: Final = 3600.0
OUTPUT: Final = 14 << 20
"""Characters of output that are read; a report that is longer is refused."""


class Trivy:
    """A ``Scanner``. It reads images from the registry itself, under ``host``, with credentials that it finds itself.

    What is no image, it is given as files. Its reports hold no secret, but lines around it, which are left out.

    Args:
        host: the registry's ``HOST[:PORT]`` as this machine reaches it.
        folder: its cache of layers.
        cache: reports of earlier runs, made when the version is known.
    """

    def __init__(self, host: str, *, folder: Path, cache: Callable[[str], ReportCache] | None = None) -> None:
        self._host, self._folder, self._make_cache = host, folder, cache
        self._program = self._version = ""
        self._cache: ReportCache | None = None

    @property
    def name(self) -> str:
        """See ``Scanner``."""
        return f"trivy {self._version}".rstrip()

    @property
    def version(self) -> str:
        """See ``Scanner``."""
        return f"{self.name}+{REVISION}"

    async def prepare(self) -> None:
        """See ``Scanner``: asks the program for its version."""
        try:
            self._program = process.find_tool(COMMAND)
        except ToolMissing as error:
            raise Refused(
                f"{error}, and the project's gate is set to it",
                hint='install trivy, or set scanner = "kingfisher" in [gate]',
            ) from None
        done = await process.run([self._program, "--version", "--format", "json"], timeout=60)
        document = _parse(done.stdout)
        version = document.get("Version") if isinstance(document, dict) else None
        if not isinstance(version, str) or not version:
            raise Refused("trivy doesn't say which version it is")
        self._version = version[:40]
        self._cache = None if self._make_cache is None else self._make_cache(self.version)

    async def scan(
        self,
        fetcher: Fetcher,
        repository: str,
        manifest: ImageManifest,
        platform: Platform | None,
        *,
        emit: Emit,
    ) -> Scanned:
        """See ``Scanner``."""
        if self._cache is not None and (known := self._cache.get(manifest.digest)) is not None:
            return Scanned((known,), 0)
        task, title = f"gate:{manifest.digest}", f"scan {repository}@{manifest.digest.hex[:12]} with trivy"
        emit(Started(task, title))
        report = await self._report(fetcher, repository, manifest, platform)
        if self._cache is not None:
            self._cache.put(report, manifest.digest)
        emit(Finished(task, title, "clean" if not report.findings else counted(len(report.findings), "finding")))
        return Scanned((report,), 1)

    async def _report(
        self, fetcher: Fetcher, repository: str, manifest: ImageManifest, platform: Platform | None
    ) -> Report:
        with tempfile.TemporaryDirectory(prefix="shipgraph-gate-") as name:
            empty, unpacked = Path(name, "empty"), Path(name, "unpacked")
            await anyio.Path(empty).mkdir()
            problems: tuple[Finding, ...] = ()
            if manifest.artifact_type is None:
                reference = f"{self._host}/{repository}@{manifest.digest}"
                words = ["image", "--image-config-scanners", "secret", "--image-src", "remote"]
                if platform is not None:
                    words += ["--platform", str(platform)]
                if is_loopback(self._host):
                    words.append("--insecure")  # plain HTTP to this machine alone
                document = await self._run([*words, reference], empty, f"{repository}@{manifest.digest}")
                found = read_report(document, reference)
            else:
                problems = await unpack_artifact(fetcher, repository, manifest, unpacked)
                document = await self._run(["filesystem", str(unpacked)], empty, f"{repository}@{manifest.digest}")
                found = read_report(document, files=True)
        size = sum(layer.size for layer in manifest.layers)
        return Report(str(manifest.digest), 1, len(manifest.layers), size, tuple(sorted({*found, *problems})))

    async def _run(self, words: Sequence[str], empty: Path, what: str) -> Any:
        """Trivy's report, parsed; ``empty`` is where it runs."""
        command, *rest = words
        options = [
            command, "--scanners", "secret", "--format", "json", "--quiet", "--no-progress", "--cache-dir",
            str(self._folder.absolute()), "--skip-db-update", "--skip-java-db-update", "--offline-scan",
        ]  # fmt: skip
        try:
            done = await process.run(
                [self._program, *options, *rest], cwd=empty, env=_environment(os.environ), timeout=TIMEOUT
            )
        except ProcessFailed as error:
            raise ProcessFailed(
                f"trivy could not scan {what}: {error}: {_reason(error.tail)}",
                status=error.status, tail=error.tail, hint=f"run the same trivy {command} command by hand to see why",
            ) from None  # fmt: skip
        if len(done.stdout) > OUTPUT:
            raise Refused(f"trivy's report about {what} is too long to be read")
        return _parse(done.stdout)


def read_report(document: Any, reference: str = "", *, files: bool = False) -> tuple[Finding, ...]:
    """The findings of Trivy's JSON report (schema version 2).

    Args:
        reference: how it calls an image's configuration.
        files: it is about what ``unpack_artifact`` wrote.

    Raises:
        MalformedDocument: it is another document.
    """
    if not isinstance(document, dict) or document.get("SchemaVersion") != 2:
        raise MalformedDocument("trivy's report is not of schema version 2")
    results = document.get("Results") or []
    if not isinstance(results, list):
        raise MalformedDocument("trivy's report has no list of results")
    found: set[Finding] = set()
    for result in results:
        target = str(result.get("Target", ""))
        if target == reference or (files and target.startswith(f"{DESCRIBED}/")):
            path = CONFIGURATION  # the registry's address is no part of a finding
        else:
            path = target.removeprefix(f"{FILES}/") if files else target
        for secret in result.get("Secrets") or []:
            found.add(_finding(path, secret))
    return tuple(sorted(found))


def _finding(path: str, secret: Mapping[str, Any]) -> Finding:
    rule, line = str(secret.get("RuleID", "unknown")), secret.get("StartLine")
    return Finding(
        path=clean_path(path),
        line=line if isinstance(line, int) else 0,
        rule=f"trivy.{rule}"[:100],
        title=str(secret.get("Title", rule))[:100],
        severity=of_trivy(str(secret.get("Severity", ""))),
        confidence="",
        masked="",
        # Trivy masks the secret in the line; what is left tells two findings apart.
        fingerprint=fingerprint(f"{rule} {path} {secret.get('Match', '')}"),
    )


def _reason(tail: str) -> str:
    """The end of what trivy said before it gave up."""
    lines = [line.strip() for line in tail.splitlines() if "FATAL" in line or "rror" in line]
    return clean_path(lines[-1])[-300:] if lines else "it doesn't say why"


def _parse(text: str) -> Any:
    try:
        return msgspec.json.decode(text.encode())
    except msgspec.DecodeError:
        raise MalformedDocument("trivy's answer is not JSON") from None


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Without settings that would change what is scanned."""
    return {name: value for name, value in environment.items() if not name.startswith("TRIVY_")}
