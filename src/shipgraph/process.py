"""The only place that starts a process: a list of arguments, never a shell; cancelled, limited and redacted."""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
from anyio.streams.text import TextReceiveStream

from shipgraph.errors import ProcessFailed, ToolMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

TAIL_LINES = 25
OUTPUT_LIMIT = 16 << 20
GRACE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Completed:
    """How a process ended: its exit status and its standard output (bounded by ``OUTPUT_LIMIT`` characters)."""

    status: int
    stdout: str
    tail: str


def find_tool(name: str, *, hint: str = "") -> str:
    """The absolute path of a program on PATH.

    Raises:
        ToolMissing: it isn't there.
    """
    path = shutil.which(name)
    if path is None:
        raise ToolMissing(f"{name} is not on PATH", hint=hint or f"install {name}")
    return path


async def run(  # noqa: C901 (one reader per stream, one deadline, one clean end: they belong together)
    arguments: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    timeout: float = math.inf,
    check: bool = True,
    on_line: Callable[[str], None] | None = None,
    log: Path | None = None,
    redact: Sequence[str] = (),
    pass_fds: Sequence[int] = (),
) -> Completed:
    """Run a program to its end; cancellation stops it and all its children.

    Args:
        env: the whole environment; the parent's where None.
        timeout: seconds.
        on_line: called with each line of standard output and error as it comes.
        log: a file that gets the lines too, appended.
        redact: values that are replaced by ``***`` wherever they show up in lines, logs and errors.
        pass_fds: open descriptors that the program inherits (a lock that must last as long as it runs).

    Raises:
        ProcessFailed: the exit status isn't 0 (only with ``check``), or the time is up.
        ToolMissing: the program doesn't exist.
    """
    words = [str(argument) for argument in arguments]
    name = words[0].rsplit("/", 1)[-1]
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    kept: list[str] = []
    size = 0
    secrets = [secret for secret in redact if secret]

    def clean(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, "***")
        return text

    handle = log.open("a", encoding="utf-8") if log is not None else None

    def take(line: str) -> None:
        line = clean(line)
        tail.append(line)
        if handle is not None:
            handle.write(line + "\n")
            handle.flush()
        if on_line is not None:
            on_line(line)

    try:
        try:
            process = await anyio.open_process(
                words,
                stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=cwd,
                env=env,
                start_new_session=True,
                pass_fds=pass_fds,
            )
        except FileNotFoundError as error:
            raise ToolMissing(f"{name} can't be started: {error.strerror}", hint=f"install {name}") from error

        async def read(stream: anyio.abc.ByteReceiveStream, *, keep: bool) -> None:
            nonlocal size
            rest = ""
            async for text in TextReceiveStream(stream, errors="replace"):
                if keep and size < OUTPUT_LIMIT:
                    kept.append(text)
                    size += len(text)
                *lines, rest = (rest + text).split("\n")
                for line in lines:
                    take(line.rstrip("\r"))
                if len(rest) > OUTPUT_LIMIT:
                    rest = ""
            if rest:
                take(rest)

        timed_out = False
        try:
            with anyio.move_on_after(None if math.isinf(timeout) else timeout) as deadline:
                async with anyio.create_task_group() as group:
                    assert process.stdout is not None  # noqa: S101 (both are PIPE)
                    assert process.stderr is not None  # noqa: S101
                    group.start_soon(lambda: read(process.stdout, keep=True))  # type: ignore[arg-type]
                    group.start_soon(lambda: read(process.stderr, keep=False))  # type: ignore[arg-type]
                    if stdin is not None and process.stdin is not None:
                        with suppress(anyio.BrokenResourceError, BrokenPipeError, ConnectionResetError):
                            await process.stdin.send(stdin)
                        await process.stdin.aclose()
                await process.wait()
            timed_out = deadline.cancelled_caught
        finally:
            with anyio.CancelScope(shield=True):
                await _stop(process)
                await process.aclose()
    finally:
        if handle is not None:
            handle.close()

    status = process.returncode if process.returncode is not None else -signal.SIGKILL
    if timed_out:
        raise ProcessFailed(f"{name} was stopped after {timeout:.0f} s", status=status, tail="\n".join(tail))
    if check and status != 0:
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        raise ProcessFailed(f"{name} {how}", status=status, tail="\n".join(tail))
    return Completed(status, clean("".join(kept)), "\n".join(tail))


async def _stop(process: anyio.abc.Process) -> None:
    """End the process group: first politely, then surely."""
    if process.returncode is not None:
        return
    for step in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, step)
        with anyio.move_on_after(GRACE_SECONDS):
            await process.wait()
            return
