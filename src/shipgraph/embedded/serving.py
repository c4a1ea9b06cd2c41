"""Running the registry: beside the caller in a thread with its own event loop, or as a program of its own."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from shipgraph.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    import uvicorn

    from shipgraph.embedded.backend import Backend
    from shipgraph.embedded.fault import OnRequest
    from shipgraph.embedded.ghcr.state import Ghcr

_GRACE: Final = 5  # seconds for requests that are being answered when the server is told to stop
_IDLE: Final = 75  # seconds that an idle connection is kept open


@asynccontextmanager
async def serve(
    backend: Backend,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    on_request: OnRequest | None = None,
    ghcr: Ghcr | None = None,
) -> AsyncIterator[str]:
    """Serve while the block runs; gives ``HOST:PORT``. Port 0 is any free one. ``ghcr``: with GHCR's habits.

    The server has a thread and an event loop of its own, so it answers whatever the caller's loop is doing. It touches
    no signal handler and writes nothing to stdout.

    Raises:
        ConfigurationError: it can't listen there.
    """
    listeners, address = _listen_all(host, port, ghcr)
    ended: list[BaseException] = []
    try:
        server = await anyio.to_thread.run_sync(_server, backend, on_request, ghcr, listeners)
    except BaseException:
        _close(listeners, ghcr)
        raise
    thread = threading.Thread(
        target=_run_in_thread, args=(server, listeners, ended), name=f"registry {address}", daemon=True
    )
    thread.start()
    try:
        while not server.started and thread.is_alive():  # noqa: ASYNC110 (uvicorn has a flag, no event)
            await anyio.sleep(0.002)
        if ended:
            raise ended[0]
        yield address
    finally:
        server.should_exit = True
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(thread.join)
        _close(listeners, ghcr)


def run(
    backend: Backend,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    on_ready: Callable[[str], None] = lambda _: None,
    on_request: OnRequest | None = None,
    ghcr: Ghcr | None = None,
) -> None:
    """Serve in this thread until SIGINT or SIGTERM, which take effect once open requests have been answered.

    ``on_ready`` gets ``HOST:PORT`` as soon as connections are accepted. Call it from the main thread. After SIGTERM it
    returns: that is how a server is stopped, not how it fails.

    Raises:
        ConfigurationError: it can't listen there.
        KeyboardInterrupt: it was SIGINT.
    """
    listeners, address = _listen_all(host, port, ghcr)
    try:
        server = _server(backend, on_request, ghcr, listeners)
        on_ready(address)  # the kernel has been accepting since _listen
        with _stopped_quietly():
            _loop(server, listeners)
    finally:
        _close(listeners, ghcr)


def _listen_all(host: str, port: int, ghcr: Ghcr | None) -> tuple[list[socket.socket], str]:
    """The registry's socket, and in GHCR's mode one more, from which blobs are read."""
    listener, address = _listen(host, port)
    if ghcr is None:
        return [listener], address
    try:
        return [listener, _listen(host, 0)[0]], address
    except BaseException:
        listener.close()
        raise


def _close(listeners: list[socket.socket], ghcr: Ghcr | None) -> None:
    for listener in listeners:
        listener.close()
    if ghcr is not None:
        ghcr.ledger.close()


@contextmanager
def _stopped_quietly() -> Iterator[None]:
    """uvicorn raises a signal that it has caught once more when it is done; to SIGTERM nobody needs to react again."""
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _listen(host: str, port: int) -> tuple[socket.socket, str]:
    bare = host.removeprefix("[").removesuffix("]")
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(bare, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigurationError(f"can't listen on {host}:{port}: {error.strerror or error}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"can't listen on {host}:{port}: {error.strerror or error}",
            hint="another program may be using that port; port 0 takes any free one",
        ) from error
    name = f"[{bare}]" if family == socket.AF_INET6 else bare
    return listener, f"{name}:{listener.getsockname()[1]}"


def _server(
    backend: Backend, on_request: OnRequest | None, ghcr: Ghcr | None, listeners: list[socket.socket]
) -> uvicorn.Server:
    import uvicorn

    from shipgraph.embedded.app import create_app
    from shipgraph.embedded.connection import Connection

    return uvicorn.Server(
        uvicorn.Config(
            create_app(backend, on_request=on_request, ghcr=ghcr, storage=listeners[-1].getsockname()[:2]),
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            timeout_keep_alive=_IDLE,
            timeout_graceful_shutdown=_GRACE,
            backlog=1024,
        )
    )


def _loop(server: uvicorn.Server, listeners: list[socket.socket]) -> None:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(server.serve(sockets=listeners))


def _run_in_thread(server: uvicorn.Server, listeners: list[socket.socket], ended: list[BaseException]) -> None:
    try:
        _loop(server, listeners)
    except BaseException as error:
        ended.append(error)
