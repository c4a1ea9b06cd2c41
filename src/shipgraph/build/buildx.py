"""Builds with BuildKit through buildx: a running `buildkitd` (BUILDKIT_HOST), or a builder of docker buildx.

The base's alias is a *named context* that leads to the job's registry, so the image and its history know the alias
alone. Attestations are left out: a platform's manifest is one image manifest; provenance is made later, for what was
really published. Timestamps in layers are rewritten to SOURCE_DATE_EPOCH.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import msgspec

from shipgraph import process
from shipgraph.build.ages import AgeMarks
from shipgraph.build.builder import BuildOutcome
from shipgraph.build.failures import builder_failures
from shipgraph.build.secrets import redactions
from shipgraph.errors import BuildFailed, InvalidReference
from shipgraph.events import LogLine
from shipgraph.oci.digest import Digest
from shipgraph.oci.reference import is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shipgraph.build.builder import BuildRequest, Cache
    from shipgraph.events import Emit

_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")
_UNREACHABLE: Final = (
    "BuildKit could not reach the job's registry on this machine's loopback: it must share the host's network "
    "(docker buildx create --driver docker-container --driver-opt network=host)"
)


@dataclass(frozen=True, slots=True)
class Buildx:
    """How buildx is called: its command, the instance to use, and its environment on top of the user's."""

    command: tuple[str, ...]
    instance: str
    environment: Mapping[str, str] = field(default_factory=dict)

    async def run(self, *arguments: str, timeout: float = 60.0) -> process.Completed:
        """One short command of buildx.

        Raises:
            ProcessFailed: it said no.
        """
        return await process.run([*self.command, *arguments], env=self.full_environment(), timeout=timeout)

    def full_environment(self) -> dict[str, str]:
        """The user's environment (credentials for other images are theirs), without extras in the result."""
        quiet = {
            "BUILDX_METADATA_PROVENANCE": "disabled",
            "BUILDX_NO_DEFAULT_ATTESTATIONS": "1",
            "BUILDX_GIT_INFO": "false",
            "BUILDX_METADATA_WARNINGS": "0",
            "DOCKER_CLI_HINTS": "false",
        }
        return {**os.environ, **quiet, **self.environment}


class BuildxBuilder:
    """A ``Builder`` on one buildx instance; ``select`` finds or makes it."""

    def __init__(self, buildx: Buildx, description: str, *, ages: Path) -> None:
        self._buildx = buildx
        self._description = description
        self._ages = AgeMarks(ages)

    @property
    def description(self) -> str:
        """See ``Builder``."""
        return self._description

    async def build(self, request: BuildRequest, *, emit: Emit) -> BuildOutcome:
        """See ``Builder``."""
        if not is_loopback(request.registry):
            raise BuildFailed(f"{request.registry} is not on loopback: a build pushes to the job's own registry alone")
        request.log.parent.mkdir(parents=True, exist_ok=True)
        what = f"building {request.image} for {request.platform} failed"
        unreachable = False

        def show(line: str) -> None:
            nonlocal unreachable
            unreachable = unreachable or (request.registry in line and "connection refused" in line)
            emit(LogLine(request.task, line))

        with builder_failures(what, log=request.log), tempfile.TemporaryDirectory(prefix="shipgraph-") as name:
            metadata = Path(name) / "metadata.json"
            command = [*self._buildx.command, "build", "--builder", self._buildx.instance, "--progress", "plain"]
            command += [*_flags(request), "--metadata-file", str(metadata)]
            command += ["--no-cache"] if self._ages.outdated(request) else []
            try:
                await process.run(
                    [*command, "--file", str(request.dockerfile), str(request.context)],
                    env={**self._buildx.full_environment(), "SOURCE_DATE_EPOCH": str(request.epoch)},
                    timeout=request.timeout,
                    on_line=show,
                    log=request.log,
                    redact=redactions(request.secrets),
                )
            except Exception as error:
                if unreachable:
                    raise BuildFailed(f"{what}: {_UNREACHABLE}", log=str(request.log)) from error
                raise
            self._ages.remember(request)
            return BuildOutcome(_pushed(await anyio.Path(metadata).read_bytes(), request.image))


def _flags(request: BuildRequest) -> list[str]:
    output = {
        "type": "image",
        "name": f"{request.registry}/{request.repository}",
        "push": "true",
        "push-by-digest": "true",
        "name-canonical": "true",
        "oci-mediatypes": "true",
        "compression": "gzip",
        "rewrite-timestamp": "true",
    }
    flags = ["--platform", str(request.platform), "--provenance=false", "--sbom=false"]
    flags += ["--no-cache"] if request.fresh else []
    flags += ["--output", ",".join(f"{key}={value}" for key, value in output.items())]
    if request.base is not None:
        place = f"docker-image://{request.registry}/{request.base.repository}@{request.base.digest}"
        flags += ["--build-context", f"{request.base.reference}={place}"]
    for argument, value in request.all_arguments.items():
        flags += ["--build-arg", f"{argument}={value}"]
    if request.http_proxy:
        # by name alone: the values may hold a password, and go through the environment
        flags += [word for name in _PROXIES for word in _proxy_flags(name)]
    for label, value in sorted(request.labels.items()):
        flags += ["--label", f"{label}={value}"]
    for name, path in sorted(request.secrets.items()):
        flags += ["--secret", f"id={name},src={path}"]
    for cache in request.caches:
        flags += _cache_flags(cache, request)
    return flags


def _proxy_flags(name: str) -> list[str]:
    return [word for found in (name, name.lower()) if os.environ.get(found) for word in ("--build-arg", found)]


def _cache_flags(cache: Cache, request: BuildRequest) -> list[str]:
    """BuildKit's words for a cache; each platform has its own, for two would overwrite each other."""
    slug = request.platform.slug
    if cache.kind == "gha":
        source = target = f"type=gha,scope={cache.place}-{slug}"
    elif cache.kind == "registry":
        source = target = f"type=registry,ref={cache.place}:{slug}"
        target += ",image-manifest=true,oci-mediatypes=true"
    else:
        folder = Path(cache.place) / slug
        source, target = f"type=local,src={folder}", f"type=local,dest={folder}"
        if not (folder / "index.json").exists():
            source = ""  # the first time there is nothing to read
    flags = ["--cache-from", source] if cache.read and source else []
    return flags + (["--cache-to", f"{target},mode=max,ignore-error=true"] if cache.write else [])


def _pushed(metadata: bytes, image: str) -> Digest:
    try:
        content: dict[str, Any] = msgspec.json.decode(metadata, type=dict[str, Any])
        return Digest.parse(str(content["containerimage.digest"]))
    except (msgspec.DecodeError, KeyError, InvalidReference) as error:
        raise BuildFailed(f"buildx built {image}, but its metadata file tells no digest: {error}") from error
