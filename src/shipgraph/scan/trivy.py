"""Trivy as the scanner, where a project configures it: one run of the command on PATH for each manifest, by digest."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import msgspec

from shipgraph import process
from shipgraph.errors import MalformedDocument, ProcessFailed, Refused, ToolMissing
from shipgraph.events import Finished, Started
from shipgraph.oci.reference import is_loopback
from shipgraph.scan.finding import CONFIGURATION, Finding, clean_path, fingerprint
from shipgraph.scan.scanner import Report, Scanned
from shipgraph.scan.severity import of_trivy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from shipgraph.events import Emit
    from shipgraph.oci.manifest import ImageManifest
    from shipgraph.oci.platform import Platform
    from shipgraph.scan.cache import ReportCache
    from shipgraph.store.protocols import Fetcher

COMMAND: Final = "trivy"
TIMEOUT: Final = 3600.0
OUTPUT: Final = 14 << 20
"""Characters of output that are read; a report that is longer is refused."""


class Trivy:
    """A ``Scanner``. It reads the registry itself, under ``host``, with the credentials that it finds itself.

    Its reports hold no secret, but lines around it, which are left out. It scans images only: an artifact is refused.

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
        return self.name

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
        fetcher: Fetcher,  # noqa: ARG002 (trivy reads for itself)
        repository: str,
        manifest: ImageManifest,
        platform: Platform | None,
        *,
        emit: Emit,
    ) -> Scanned:
        """See ``Scanner``."""
        if manifest.artifact_type is not None:
            raise Refused(
                f"trivy scans images, and {repository}@{manifest.digest} is {manifest.artifact_type}",
                hint='set scanner = "kingfisher" in [gate]',
            )
        if self._cache is not None and (known := self._cache.get(manifest.digest)) is not None:
            return Scanned((known,), 0)
        task, title = f"gate:{manifest.digest}", f"scan {repository}@{manifest.digest.hex[:12]} with trivy"
        emit(Started(task, title))
        report = await self._run(repository, manifest, platform)
        if self._cache is not None:
            self._cache.put(report, manifest.digest)
        emit(Finished(task, title, "clean" if not report.findings else f"{len(report.findings)} findings"))
        return Scanned((report,), 1)

    async def _run(self, repository: str, manifest: ImageManifest, platform: Platform | None) -> Report:
        words = [
            self._program, "image", "--scanners", "secret", "--image-config-scanners", "secret", "--format", "json",
            "--quiet", "--no-progress", "--cache-dir", str(self._folder), "--skip-db-update", "--skip-java-db-update",
            "--offline-scan", "--image-src", "remote",
        ]  # fmt: skip
        if platform is not None:
            words += ["--platform", str(platform)]
        if is_loopback(self._host):
            words.append("--insecure")  # plain HTTP to this machine alone
        reference = f"{self._host}/{repository}@{manifest.digest}"
        words.append(reference)
        try:
            done = await process.run(words, env=_environment(os.environ), timeout=TIMEOUT)
        except ProcessFailed as error:
            raise ProcessFailed(
                f"trivy could not scan {repository}@{manifest.digest}: {error}: {_reason(error.tail)}",
                status=error.status, tail=error.tail, hint="run the same trivy image command by hand to see why",
            ) from None  # fmt: skip
        if len(done.stdout) > OUTPUT:
            raise Refused(f"trivy's report about {repository}@{manifest.digest} is too long to be read")
        findings = read_report(_parse(done.stdout), reference)
        size = sum(layer.size for layer in manifest.layers)
        return Report(str(manifest.digest), 1, len(manifest.layers), size, findings)


def read_report(document: Any, reference: str = "") -> tuple[Finding, ...]:
    """The findings of Trivy's JSON report (schema version 2); ``reference`` is how it calls the configuration.

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
        path = CONFIGURATION if target == reference else target  # the registry's address is no part of a finding
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
