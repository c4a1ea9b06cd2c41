"""Builds with buildah (Debian 12 has 1.28): no daemon, chroot isolation, a storage root of its own.

The base is named by its alias, which a registries.conf of the build maps to the job's registry: the same inputs give
the same image through any port. Layers are always committed one by one (``--layers``): that gives other digests than
one layer for all would, so it must not depend on whether a cache is there.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from shipgraph import process
from shipgraph.build.ages import AgeMarks
from shipgraph.build.buildah_storage import DEFAULT_LIMIT, BuildahStorage, registries_conf
from shipgraph.build.builder import BuildOutcome
from shipgraph.build.failures import builder_failures
from shipgraph.build.secrets import redactions
from shipgraph.errors import BuildFailed, InvalidReference
from shipgraph.events import LogLine
from shipgraph.oci.digest import Digest
from shipgraph.oci.reference import is_loopback

if TYPE_CHECKING:
    from shipgraph.build.builder import BuildRequest
    from shipgraph.events import Emit

INSTALL: Final = "install it (Debian: apt-get install buildah)"
_PUSH_SECONDS: Final = 1800.0


class BuildahBuilder:
    """A ``Builder``. ``state`` is the folder that keeps its storage; ``open`` makes one that is ready."""

    def __init__(self, storage: BuildahStorage, version: str) -> None:
        self._storage = storage
        self._version = version
        self._ages = AgeMarks(storage.ages)

    @classmethod
    async def open(cls, state: Path, *, emit: Emit, limit: int = DEFAULT_LIMIT) -> BuildahBuilder:
        """Find buildah, prepare its storage, and remove what killed runs left.

        Raises:
            ToolMissing: buildah isn't installed, or can't store anything here.
        """
        program = process.find_tool("buildah", hint=INSTALL)
        answer = await process.run([program, "--version"], timeout=30.0)
        found = re.search(r"\d+(?:\.\d+)+", answer.stdout)
        storage = BuildahStorage(state, buildah=program, limit=limit)
        await storage.prepare(emit=emit)
        return cls(storage, found[0] if found else "")

    @property
    def description(self) -> str:
        """See ``Builder``."""
        return f"buildah {self._version} ({self._storage.driver})"

    async def build(self, request: BuildRequest, *, emit: Emit) -> BuildOutcome:
        """See ``Builder``."""
        if not is_loopback(request.registry):
            raise BuildFailed(f"{request.registry} is not on loopback: a build pushes to the job's own registry alone")
        what = f"building {request.image} for {request.platform} failed"
        request.log.parent.mkdir(parents=True, exist_ok=True)
        with (
            builder_failures(what, log=request.log),
            self._storage.in_use() as lock,
            tempfile.TemporaryDirectory(prefix="build-", dir=self._storage.temporary) as name,
        ):
            return await self._build(request, Path(name), lock, emit)

    async def _build(self, request: BuildRequest, scratch: Path, lock: int, emit: Emit) -> BuildOutcome:
        conf = scratch / "registries.conf"
        registries_conf(conf, _loopback_places(request), own=_own_registries_conf())
        environment = {**self._storage.environment(), "CONTAINERS_REGISTRIES_CONF": str(conf)}
        # one name for each image and platform: the last build stays as the next one's cache, older ones lose their name
        name = f"localhost/shipgraph/{request.image}:{request.platform.slug}"
        iid, digest_file = scratch / "iid", scratch / "digest"

        async def run(command: list[str], seconds: float) -> None:
            await process.run(
                command,
                env=environment,
                timeout=seconds,
                on_line=lambda line: emit(LogLine(request.task, line)),
                log=request.log,
                redact=redactions(request.secrets),
                pass_fds=(lock,),
            )

        places = ["--ignorefile", str(_ignore_file(request, scratch)), "--iidfile", str(iid), "--tag", name]
        fresh = ["--no-cache"] if self._ages.outdated(request) else []
        command = self._storage.command("bud", *_flags(request), *fresh, *places, "--file", str(request.dockerfile))
        await run([*command, str(request.context)], request.timeout)
        self._ages.remember(request)
        image = (await anyio.Path(iid).read_text()).strip()
        # by id and not by name: another build of the same image may have taken the name meanwhile
        push = ["push", "--quiet", "--format", "oci", "--digestfile", str(digest_file)]
        place = f"docker://{request.registry}/{request.repository}:build-{request.platform.slug}"
        await run(self._storage.command(*push, image, place), _PUSH_SECONDS)
        try:
            return BuildOutcome(Digest.parse((await anyio.Path(digest_file).read_text()).strip()))
        except InvalidReference as error:
            raise BuildFailed(f"buildah pushed {request.image}, but told no digest: {error}") from error


def _flags(request: BuildRequest) -> list[str]:
    flags = ["--format", "oci", "--timestamp", str(request.epoch), "--identity-label=false", "--layers"]
    flags += ["--platform", str(request.platform), f"--http-proxy={_word(request.http_proxy)}", "--force-rm"]
    flags += ["--no-cache"] if request.fresh else []
    for argument, value in request.all_arguments.items():
        flags += ["--build-arg", f"{argument}={value}"]
    for label, value in sorted(request.labels.items()):
        flags += ["--label", f"{label}={value}"]
    for name, path in sorted(request.secrets.items()):
        flags += ["--secret", f"id={name},src={path}"]
    for cache in request.caches:
        if cache.kind == "registry":  # its own storage is the local cache; the Actions cache is BuildKit's alone
            flags += ["--cache-from", cache.place] if cache.read else []
            flags += ["--cache-to", cache.place] if cache.write else []
    return flags


def _loopback_places(request: BuildRequest) -> dict[str, str]:
    """Where the base's alias leads, and the registries on loopback: only these are spoken to without TLS."""
    places = {request.registry: request.registry}
    places |= {host: host for cache in request.caches if is_loopback(host := cache.place.partition("/")[0])}
    if request.base is not None:
        places[request.base.alias] = f"{request.registry}/{request.base.repository}"
    return places


def _ignore_file(request: BuildRequest, scratch: Path) -> Path:
    """Always one: left alone, buildah would look for files that Docker doesn't know."""
    if request.ignore_file is not None:
        return request.ignore_file
    path = scratch / "dockerignore"
    path.touch()
    return path


def _own_registries_conf() -> Path | None:
    named = os.environ.get("CONTAINERS_REGISTRIES_CONF")
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    candidates = [Path(named)] if named else []
    candidates += [home / "containers" / "registries.conf", Path("/etc/containers/registries.conf")]
    return next((path for path in candidates if path.is_file()), None)


def _word(value: bool) -> str:
    return "true" if value else "false"
