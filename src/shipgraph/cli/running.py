"""Runs a command's coroutine: signals, errors as text, exit codes. A traceback is shown only with ``--debug``."""

from __future__ import annotations

import errno
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from shipgraph.cli import exit_codes
from shipgraph.cli.output import error_document
from shipgraph.errors import DiskFull, ShipgraphError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    import anyio

    from shipgraph.cli.output import Output


class Interrupt:
    """What the user's Ctrl-C or a SIGTERM means: stop now, or, while tags move, stop only at the second one."""

    def __init__(self) -> None:
        self.asked = False
        self.scope: anyio.CancelScope | None = None
        self._protected = False

    def __bool__(self) -> bool:
        return self.asked

    @contextmanager
    def protected(self) -> Iterator[None]:
        """While tags move: the first signal is only remembered, and the transaction ends cleanly by itself."""
        self._protected = True
        try:
            yield
        finally:
            self._protected = False

    def signal(self, say: Callable[[str], None]) -> None:
        """Take one signal."""
        if self._protected and not self.asked:
            say("stopping: the transaction ends first, so that no tag is left half-moved (again: stop at once)")
        elif self.scope is not None:
            if self._protected:
                say("stopped in the middle of a transaction; run `shipgraph resume` to end it")
            self.scope.cancel()
        self.asked = True


def run(output: Output, command: Callable[[Interrupt], Awaitable[int | None]]) -> NoReturn:
    """Run a command to its end and exit with its code."""
    import anyio

    set_up_logs(debug=output.debug)
    interrupt = Interrupt()

    async def watched() -> int:
        code: int | None = exit_codes.INTERRUPTED
        async with anyio.create_task_group() as group:
            with anyio.CancelScope() as scope:
                interrupt.scope = scope

                async def listen() -> None:
                    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                        async for _ in signals:
                            interrupt.signal(output.say)

                group.start_soon(listen)
                code = await command(interrupt)
            group.cancel_scope.cancel()
        if scope.cancelled_caught:
            output.say("interrupted; running the same command again goes on where this one stopped")
        return exit_codes.DONE if code is None else code

    try:
        code = anyio.run(watched)
    except BaseException as raised:  # the last place before the user
        code = _report(output, raised)
    sys.exit(code)


def set_up_logs(*, debug: bool, errors: bool = False) -> None:
    """What the embedded registry logs about a request that failed: its client reports that better.

    Args:
        errors: one line for each, where the client is another program.
    """
    import logging

    def without_traceback(record: logging.LogRecord) -> bool:
        record.exc_info = record.exc_text = None
        return True

    handler: logging.Handler = logging.StreamHandler() if debug or errors else logging.NullHandler()
    if not debug:
        handler.addFilter(without_traceback)
    logging.getLogger("shipgraph").handlers = [handler]


def _report(output: Output, raised: BaseException) -> int:
    from shipgraph.tasks import first_error

    error = first_error(raised) if isinstance(raised, BaseExceptionGroup) else raised
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        error = _of_this_machine(error)
    if isinstance(error, ShipgraphError):
        if output.debug:
            import traceback

            output.say("".join(traceback.format_exception(error)).rstrip())
        output.error(error)
        if output.as_json:
            code = exit_codes.exit_code(error)
            output.result(error_document(type(error).__name__, str(error), error.hint, code), "")
        return exit_codes.exit_code(error)
    if isinstance(error, KeyboardInterrupt):
        return exit_codes.INTERRUPTED
    if isinstance(error, BrokenPipeError):
        return exit_codes.FAILED
    if output.debug or not isinstance(error, Exception):
        raise raised
    import traceback

    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{last.name} in {Path(last.filename).name}, line {last.lineno}"
    text, hint = f"{type(error).__name__}: {error} ({where})", "run it again with --debug and report the traceback"
    output.say(f"internal error: {text}")
    output.say(f"  next: {hint}")
    if output.as_json:
        output.result(error_document(type(error).__name__, text, hint, exit_codes.FAILED), "")
    return exit_codes.FAILED


def _of_this_machine(error: OSError) -> OSError | ShipgraphError:
    """A file that can't be read or written, as an error with a next step; others stay what they are."""
    if error.errno is None or not error.filename:
        return error
    text = f"{error.filename}: {error.strerror}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(text, hint="free some room, then run the same command again").with_traceback(
            error.__traceback__
        )
    hints = {
        errno.EACCES: "give this user the right to it",
        errno.EPERM: "give this user the right to it",
        errno.EROFS: "mount it writable, or work in another folder",
        errno.EMFILE: "raise the limit of open files (ulimit -n)",
    }
    if error.errno not in hints:
        return error
    return ShipgraphError(text, hint=hints[error.errno]).with_traceback(error.__traceback__)
