"""A registry in this process, and a client that adds nothing to what the tests send."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import pytest
import urllib3

from shipgraph.embedded.serving import serve
from shipgraph.store.disk import DiskStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from pathlib import Path

    from shipgraph.embedded.fault import Fault, OnRequest


class Client:
    """Raw requests; ``fault`` is what happens to the next one."""

    def __init__(self) -> None:
        self.address = ""
        self.faults: list[Fault] = []
        self.pool = urllib3.PoolManager(retries=False, maxsize=8)

    def on_request(self, method: str, path: str, headers: Mapping[str, str]) -> Fault | None:
        """See ``OnRequest``."""
        return self.faults.pop(0) if self.faults else None

    async def send(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> urllib3.BaseHTTPResponse:
        """One request, off this loop."""
        return await anyio.to_thread.run_sync(self.send_now, method, path, body, headers)

    def send_now(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> urllib3.BaseHTTPResponse:
        """One request, blocking."""
        return self.pool.request(method, f"http://{self.address}{path}", body=body, headers=headers, redirect=False)

    async def push(self, repository: str, content: bytes, digest: str) -> None:
        """A blob, in one POST."""
        answer = await self.send("POST", f"/v2/{repository}/blobs/uploads/?digest={digest}", content)
        assert answer.status == 201, answer.data


def codes(answer: urllib3.BaseHTTPResponse) -> list[str]:
    """The error codes of an answer."""
    return [error["code"] for error in json.loads(answer.data)["errors"]]


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    return DiskStore(tmp_path)


@pytest.fixture
def client() -> Iterator[Client]:
    client = Client()
    yield client
    client.pool.clear()


@pytest.fixture
async def registry(store: DiskStore, client: Client) -> AsyncIterator[Client]:
    on_request: OnRequest = client.on_request
    async with serve(store, on_request=on_request) as address:
        client.address = address
        yield client
