"""``shipgraph serve`` as a process of its own, as a user runs it."""

from __future__ import annotations

import sys
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.real.servers import free_port, server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROGRAM = "from shipgraph.cli.main import main; main()"


@contextmanager
def shipgraph_serve(directory: Path, *arguments: str) -> Iterator[str]:
    """Yields ``127.0.0.1:PORT``; data and log stay in ``directory``."""
    address = f"127.0.0.1:{free_port()}"
    directory.mkdir(parents=True, exist_ok=True)
    command: list[str | Path] = [sys.executable, "-c", PROGRAM, "serve"]
    command += ["--root", directory / "data", "--listen", address, *arguments]
    with server(command, log=directory / "serve.log", ready=lambda: _answers(address)):
        yield address


def _answers(address: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{address}/v2/", timeout=5) as response:
        return bool(response.status == 200)
