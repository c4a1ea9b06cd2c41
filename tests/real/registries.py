"""Two real registries, plain HTTP on a free loopback port, with deletion switched on.

Neither has the referrers API; they differ in much else. README.md has the table.
"""

from __future__ import annotations

import json
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .servers import free_port, server
from .tools import debian, pinned

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def docker_registry(directory: Path) -> Iterator[str]:
    """Debian's docker-registry; yields `127.0.0.1:PORT`. Its data and its log stay in `directory`."""
    with _registry(debian("docker-registry"), directory) as address:
        yield address


@contextmanager
def distribution_v3(directory: Path) -> Iterator[str]:
    """CNCF distribution v3; yields `127.0.0.1:PORT`. Its data and its log stay in `directory`."""
    with _registry(pinned("registry"), directory) as address:
        yield address


@contextmanager
def _registry(program: Path, directory: Path) -> Iterator[str]:
    address = f"127.0.0.1:{free_port()}"
    directory.mkdir(parents=True, exist_ok=True)
    configuration = directory / "registry.yml"
    configuration.write_text(  # JSON is YAML
        json.dumps(
            {
                "version": 0.1,
                "log": {"level": "info", "accesslog": {"disabled": False}},
                "storage": {
                    "filesystem": {"rootdirectory": str(directory / "data")},
                    "delete": {"enabled": True},
                },
                "http": {"addr": address, "secret": "only-for-tests"},
            }
        )
    )
    with server(
        [program, "serve", configuration],
        log=directory / "registry.log",
        ready=lambda: _answers(f"http://{address}/v2/"),
        environment={"OTEL_TRACES_EXPORTER": "none"},  # v3 would look for a collector on port 4318
    ):
        yield address


def _answers(url: str) -> bool:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as response:
        status: int = response.status
        return status == 200
