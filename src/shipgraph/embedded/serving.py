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

_GRACE: Final = 5  # seconds for requests that are being answered when the server is told to stop
_IDLE: Final = 75  # seconds that an idle connection is kept open


@asynccontextmanager
async def serve(
    backend: Backend, *, host: str = "127.0.0.1", port: int = 0, on_request: OnRequest | None = None
) -> AsyncIterator[str]:
    """Serve while the block runs; gives ``HOST:PORT``. Port 0 is any free one.

    The server has a thread and an event loop of its own, so it answers whatever the caller's loop is doing. It touches
    no signal handler and writes nothing to stdout.

    Raises:
        ConfigurationError: it can't listen there.
    """
    listener, address = _listen(host, port)
    ended: list[BaseException] = []
    try:
        server = await anyio.to_thread.run_sync(_server, backend, on_request)
    except BaseException:
        listener.close()
        raise
    thread = threading.Thread(
        target=_run_in_thread, args=(server, listener, ended), name=f"registry {address}", daemon=True
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
        listener.close()


def run(
    backend: Backend,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    on_ready: Callable[[str], None] = lambda _: None,
    on_request: OnRequest | None = None,
) -> None:
    """Serve in this thread until SIGINT or SIGTERM, which take effect once open requests have been answered.

    ``on_ready`` gets ``HOST:PORT`` as soon as connections are accepted. Call it from the main thread. After SIGTERM it
    returns: that is how a server is stopped, not how it fails.

    Raises:
        ConfigurationError: it can't listen there.
        KeyboardInterrupt: it was SIGINT.
    """
    listener, address = _listen(host, port)
    with listener:
        server = _server(backend, on_request)
        on_ready(address)  # the kernel has been accepting since _listen
        with _stopped_quietly():
            _loop(server, listener)


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


def _server(backend: Backend, on_request: OnRequest | None) -> uvicorn.Server:
    import uvicorn

    from shipgraph.embedded.app import create_app
    from shipgraph.embedded.connection import Connection

    return uvicorn.Server(
        uvicorn.Config(
            create_app(backend, on_request=on_request),
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


def _loop(server: uvicorn.Server, listener: socket.socket) -> None:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(server.serve(sockets=[listener]))


def _run_in_thread(server: uvicorn.Server, listener: socket.socket, ended: list[BaseException]) -> None:
    try:
        _loop(server, listener)
    except BaseException as error:
        ended.append(error)
