"""Finds a builder by itself: buildx where a BuildKit can be reached, else buildah."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from typing import TYPE_CHECKING, Final, Literal, TypeAlias
from urllib.parse import urlsplit

import anyio

from shipgraph import process
from shipgraph.build.buildah import BuildahBuilder
from shipgraph.build.buildx import Buildx, BuildxBuilder
from shipgraph.errors import ProcessFailed, ToolMissing
from shipgraph.events import Note

if TYPE_CHECKING:
    from pathlib import Path

    from shipgraph.events import Emit

Choice: TypeAlias = Literal["auto", "buildx", "buildah"]

_INSTALL: Final = (
    "install buildah (Debian: apt-get install buildah), or Docker with its buildx plugin, "
    "or run buildkitd and set BUILDKIT_HOST"
)
_CONNECT_SECONDS: Final = 5.0
_OWN: Final = "shipgraph"
_QUESTION_SECONDS: Final = 20.0
_BOOT_SECONDS: Final = 180.0


async def select_builder(choice: Choice, state: Path, *, emit: Emit) -> BuildahBuilder | BuildxBuilder:
    """The builder of that name, or the best that works here.

    Args:
        state: the folder for builders' own files; a user's storage and configuration are never touched.

    Raises:
        ToolMissing: there is none; the hint says what to install.
    """
    reasons: list[str] = []
    if choice in ("auto", "buildx"):
        try:
            return await open_buildx(state)
        except (ToolMissing, ProcessFailed) as error:
            reasons.append(f"buildx: {_reason(error)}")
            # docker without a BuildKit that answers is worth a word, a machine without docker isn't
            if choice == "auto" and shutil.which("buildah") and not isinstance(error, ToolMissing):
                emit(Note(f"building with buildah, because buildx has no BuildKit to work with: {_reason(error)}"))
    if choice in ("auto", "buildah"):
        try:
            return await BuildahBuilder.open(state, emit=emit)
        except ToolMissing as error:
            reasons.append(f"buildah: {error}")
    raise ToolMissing(f"no builder works on this machine: {'; '.join(reasons)}", hint=_INSTALL)


async def open_buildx(state: Path) -> BuildxBuilder:
    """buildx on a BuildKit that runs: BUILDKIT_HOST's, the user's own builder, or one of shipgraph's in Docker.

    Raises:
        ToolMissing: there is no buildx.
        ProcessFailed: no BuildKit answers.
    """
    command = await find_buildx()
    private = {"BUILDX_CONFIG": str(state / "buildx")}
    address = os.environ.get("BUILDKIT_HOST")
    if address:
        await _connect(address)
        buildx = Buildx(command, f"{_OWN}-{hashlib.sha256(address.encode()).hexdigest()[:12]}", private)
        await _ensure(buildx, "remote", address)
        return await _opened(buildx, state)
    if command[0].endswith("docker"):
        users = Buildx(command, os.environ.get("BUILDX_BUILDER", ""))
        if found := await _users_builder(users):
            return await _opened(found, state)
        buildx = Buildx(command, _OWN, private)
        await _ensure(buildx, "docker-container", "--driver-opt", "network=host")
        return await _opened(buildx, state)
    raise ToolMissing("buildx is here, but neither docker nor BUILDKIT_HOST leads to a BuildKit", hint=_INSTALL)


async def _connect(address: str) -> None:
    """Look for somebody behind the address; buildx itself would wait twenty seconds for nobody."""
    place = urlsplit(address)
    try:
        with anyio.fail_after(_CONNECT_SECONDS):
            if place.scheme == "unix":
                await (await anyio.connect_unix(place.path)).aclose()
            elif place.scheme == "tcp" and place.hostname and place.port:
                await (await anyio.connect_tcp(place.hostname, place.port)).aclose()
    except (OSError, TimeoutError) as error:
        raise ProcessFailed(f"nobody answers at BUILDKIT_HOST={address}") from error


async def find_buildx() -> tuple[str, ...]:
    """The command of a buildx that answers, alone or as docker's plugin.

    Raises:
        ToolMissing: there is none.
    """
    docker, alone = shutil.which("docker"), shutil.which("buildx")
    candidates: list[tuple[str, ...]] = []
    if docker:
        candidates.append((docker, "buildx"))
    if alone:
        candidates.append((alone,))
    if os.environ.get("BUILDKIT_HOST"):
        candidates.reverse()  # a remote BuildKit needs no docker
    for command in candidates:
        answer = await process.run([*command, "version"], check=False, timeout=_QUESTION_SECONDS)
        if answer.status == 0:
            return command
    raise ToolMissing("there is no buildx on PATH, alone or as docker's plugin", hint=_INSTALL)


async def _ensure(buildx: Buildx, driver: str, *options: str) -> None:
    """Make the instance unless it is there: it keeps its cache from run to run."""

    async def known() -> bool:
        answer = await process.run(
            [*buildx.command, "inspect", buildx.instance],
            env=buildx.full_environment(),
            check=False,
            timeout=_QUESTION_SECONDS,
        )
        return answer.status == 0

    if await known():
        return
    try:
        await buildx.run("create", "--name", buildx.instance, "--driver", driver, *options)
    except ProcessFailed:
        if not await known():  # another process may have made it meanwhile
            raise


async def _users_builder(buildx: Buildx) -> Buildx | None:
    """The user's current builder, if it can push by digest to this machine's loopback; docker's own driver can't."""
    try:
        answer = await buildx.run("inspect", *([buildx.instance] if buildx.instance else []), timeout=_QUESTION_SECONDS)
    except ProcessFailed:
        return None
    name, driver = _field(answer.stdout, "Name"), _field(answer.stdout, "Driver")
    if driver == "remote" or (driver == "docker-container" and 'network="host"' in answer.stdout):
        return Buildx(buildx.command, name, buildx.environment)
    return None


async def _opened(buildx: Buildx, state: Path) -> BuildxBuilder:
    answer = await buildx.run("inspect", "--bootstrap", buildx.instance, timeout=_BOOT_SECONDS)
    version = _field(answer.stdout, "BuildKit version") or _field(answer.stdout, "Buildkit")
    driver = _field(answer.stdout, "Driver")
    status = _field(answer.stdout, "Status")
    if status and status != "running":
        why = _field(answer.stdout, "Error") or status
        raise ProcessFailed(f"the BuildKit of builder {buildx.instance} doesn't run: {why}", tail=answer.tail)
    description = f"buildkit {version} ({driver})".replace("  ", " ")
    return BuildxBuilder(buildx, description, ages=state / "buildx-ages" / buildx.instance)


def _field(text: str, name: str) -> str:
    found = re.search(rf"^{re.escape(name)}:[ \t]*(.+?)[ \t]*$", text, re.MULTILINE)
    return found[1] if found else ""


def _reason(error: ToolMissing | ProcessFailed) -> str:
    if isinstance(error, ProcessFailed) and error.tail:
        last = next((line.strip() for line in reversed(error.tail.splitlines()) if line.strip()), "")
        return last.removeprefix("ERROR: ") or str(error)
    return str(error)
