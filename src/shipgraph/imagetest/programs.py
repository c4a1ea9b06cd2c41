"""docker and podman as engines: both pull by digest and understand the same options."""

from __future__ import annotations

import secrets
import tempfile
from collections import deque
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from shipgraph.errors import ProcessFailed, ShipgraphError, ToolMissing
from shipgraph.imagetest.engine import Command, Container, EngineBroken, Ran, TestImage
from shipgraph.oci.reference import is_loopback
from shipgraph.process import find_tool, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PULL_SECONDS: Final = 1800.0
ASK_SECONDS: Final = 30.0
FAILED: Final = 125
"""The status with which both programs say that they failed themselves."""
KEPT_LINES: Final = 2000


class ProgramEngine:
    """docker (with its daemon) or podman."""

    def __init__(self, name: str, program: str, version: str) -> None:
        self._name, self._program = name, program
        self.description = f"{name} {version}"

    @classmethod
    async def find(cls, name: str) -> ProgramEngine:
        """The engine, if it is there and answers.

        Raises:
            EngineBroken
        """
        form = "{{.Server.Version}}" if name == "docker" else "{{.Client.Version}}"
        try:
            program = find_tool(name)
            answer = await run([program, "version", "--format", form], timeout=ASK_SECONDS)
        except (ToolMissing, ProcessFailed) as error:
            raise EngineBroken(f"{name} can't be used here: {error}") from error
        version = answer.stdout.strip()
        if not version:
            raise EngineBroken(f"{name} does not say its version")
        return cls(name, program, version)

    @asynccontextmanager
    async def open(self, image: TestImage) -> AsyncIterator[Container]:
        """See ``Engine``."""
        pull: list[str] = [self._program, "pull", "--quiet", "--platform", str(image.platform)]
        if self._name == "podman" and is_loopback(image.reference.partition("/")[0]):
            pull.append("--tls-verify=false")
        try:
            await run([*pull, image.reference], timeout=PULL_SECONDS)
        except ProcessFailed as error:
            raise EngineBroken(f"{self._name} can't pull {image.reference}: {_last(error.tail)}") from error
        with tempfile.TemporaryDirectory(prefix="shipgraph-test-") as folder:
            try:
                yield _ProgramContainer(self._name, self._program, image, Path(folder))
            finally:
                with anyio.CancelScope(shield=True), suppress(ShipgraphError):
                    await run([self._program, "image", "rm", image.reference], timeout=ASK_SECONDS, check=False)


class _ProgramContainer:
    def __init__(self, name: str, program: str, image: TestImage, folder: Path) -> None:
        self._name, self._program, self._image, self._folder = name, program, image, folder

    async def run(self, command: Command) -> Ran:
        """See ``Container``."""
        container = f"shipgraph-test-{secrets.token_hex(8)}"
        lines: deque[str] = deque(maxlen=KEPT_LINES)
        try:
            done = await run(
                [self._program, "run", "--rm", "--name", container, *self._options(command)],
                timeout=command.timeout,
                check=False,
                on_line=lines.append,
            )
        except ProcessFailed:
            return Ran(-1, "\n".join(lines), timed_out=True)
        finally:
            with anyio.CancelScope(shield=True), suppress(ShipgraphError):
                await run([self._program, "rm", "--force", container], timeout=ASK_SECONDS, check=False)
        output = "\n".join(lines)
        return Ran(done.status, output)

    def _options(self, command: Command) -> list[str]:
        options = ["--network", "none", "--pull", "never", "--platform", str(self._image.platform)]
        if command.seccomp is not None:
            place = self._folder / f"seccomp-{secrets.token_hex(4)}.json"
            place.write_bytes(command.seccomp.raw)
            options += ["--security-opt", f"seccomp={place}"]
        if command.apparmor is not None:
            options += ["--security-opt", f"apparmor={command.apparmor}"]
        if command.read_only:
            options.append("--read-only")
            if self._name == "podman":
                options.append("--read-only-tmpfs=false")
        for place_in in command.tmpfs:
            options += ["--tmpfs", f"{place_in}:rw,mode=1777"]
        if command.user is not None:
            options += ["--user", command.user]
        for name, value in command.env.items():
            options += ["--env", f"{name}={value}"]
        arguments = list(command.run)
        if command.entrypoint is not None:
            whole = [*command.entrypoint, *command.run]
            options += ["--entrypoint", whole[0]]
            arguments = whole[1:]
        return [*options, self._image.reference, *arguments]


def _last(tail: str) -> str:
    lines = tail.strip().splitlines()
    return lines[-1] if lines else "no reason given"
