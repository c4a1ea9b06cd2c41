"""A registry with GHCR's habits in this process, a clock to move, and clients with each kind of credentials."""

from __future__ import annotations

import base64
import json
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import pytest
import urllib3

from shipgraph.embedded.ghcr.accounts import DELETE, READ, WRITE, Accounts, Pat, Workflow
from shipgraph.embedded.ghcr.habits import Habits
from shipgraph.embedded.ghcr.state import Ghcr
from shipgraph.embedded.serving import serve
from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.manifest import EMPTY_CONFIG, EMPTY_DESCRIPTOR, build_artifact
from shipgraph.remote import Credentials, RemoteStore, RetryPolicy
from shipgraph.store.content import from_bytes
from shipgraph.store.disk import DiskStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from shipgraph.oci.manifest import ImageManifest
    from shipgraph.store.protocols import Store

PUBLIC, PRIVATE, READER, OTHER = "ghs_public", "ghs_private", "ghs_reader", "ghs_other"
STARTER = "ghs_starter"
MUTE, ONLOOKER, WRITER = "ghs_mute", "ghs_onlooker", "ghp_writer"
ADMIN, PUSHER, LOOKER, STRANGER, BAD = "ghp_admin", "ghp_pusher", "ghp_looker", "ghp_stranger", "ghp_expired"

ACCOUNTS = Accounts(
    tokens={
        PUBLIC: Workflow("acme/app"),
        PRIVATE: Workflow("acme/secret"),
        READER: Workflow("acme/app", "read"),
        OTHER: Workflow("acme/other"),
        STARTER: Workflow("acme/app", actions="write"),
        MUTE: Workflow("acme/app", attestations="none"),
        ONLOOKER: Workflow("acme/app", attestations="read"),
        WRITER: Pat("erin", frozenset({"repo"}), frozenset({"acme"})),
        ADMIN: Pat("alice", administers=frozenset({"acme"})),
        PUSHER: Pat("bob", frozenset({READ, WRITE}), frozenset({"acme"})),
        LOOKER: Pat("carol", frozenset({READ}), frozenset({"acme"})),
        STRANGER: Pat("dave", frozenset({READ, WRITE, DELETE})),
    },
    repositories={"acme/app": "public", "acme/other": "public", "acme/secret": "private"},
    owners={"acme": "organization"},
)


class Ticking:
    """A clock that moves only when it is told to."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Rehearsal:
    """One server: its store and mode, raw requests, and stores that log in."""

    def __init__(self, address: str, disk: DiskStore, ghcr: Ghcr, clock: Ticking, stack: AsyncExitStack) -> None:
        self.address, self.disk, self.ghcr, self.clock = address, disk, ghcr, clock
        self._stack = stack
        self._stores: dict[str | None, RemoteStore] = {}
        self.pool = urllib3.PoolManager(retries=False, maxsize=8)

    async def store(self, token: str | None) -> RemoteStore:
        """A client with a token's credentials, or nobody's."""
        if token not in self._stores:
            self._stores[token] = await self._stack.enter_async_context(client(self.address, token))
        return self._stores[token]

    async def send(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, token: str = ""
    ) -> urllib3.BaseHTTPResponse:
        """One raw request; with a token, GitHub's way to send it, or to the registry a PAT's shortcut."""
        given = dict(headers or {})
        if token:
            registry = path.startswith("/v2")
            given["Authorization"] = "Bearer " + (base64.b64encode(token.encode()).decode() if registry else token)
        url = path if "://" in path else f"http://{self.address}{path}"
        return await anyio.to_thread.run_sync(
            lambda: self.pool.request(method, url, body=body, headers=given, redirect=False)
        )

    async def api(self, method: str, path: str, token: str = ADMIN) -> tuple[int, Any]:
        """Status and document of a call to GitHub's API."""
        answer = await self.send(method, path, token=token)
        return answer.status, json.loads(answer.data) if answer.data else None


def client(address: str, token: str | None, *, lag: float = 0.0, attempts: int = 4) -> RemoteStore:
    """The real client; it waits hardly ever."""
    credentials = None if token is None else Credentials("x", token)
    retries = RetryPolicy(attempts=attempts, base=0.005, ceiling=0.02)
    return RemoteStore(address, credentials=credentials, lag=lag, retries=retries)


async def push(
    store: Store,
    repository: str,
    content: str,
    *tags: str,
    subject: Descriptor | None = None,
    annotations: Mapping[str, str] | None = None,
) -> ImageManifest:
    """An artifact with one small layer, under its digest and tags."""
    layer = Descriptor.of("text/plain", content.encode())
    await store.push_blob(repository, layer, from_bytes(content.encode()))
    await store.push_blob(repository, EMPTY_DESCRIPTOR, from_bytes(EMPTY_CONFIG))
    manifest = build_artifact("application/vnd.example.v1", [layer], subject=subject, annotations=annotations)
    await store.push_manifest(repository, manifest)
    for tag in tags:
        await store.tag(repository, tag, manifest)
    return manifest


def message(answer: urllib3.BaseHTTPResponse) -> str:
    """What a registry's error says."""
    return str(json.loads(answer.data)["errors"][0]["message"])


def code(answer: urllib3.BaseHTTPResponse) -> str:
    """The code of a registry's error."""
    return str(json.loads(answer.data)["errors"][0]["code"])


@pytest.fixture
def clock() -> Ticking:
    return Ticking()


@asynccontextmanager
async def start(root: Path, ticking: Ticking, **habits: Any) -> AsyncIterator[Rehearsal]:
    """A server over a folder."""
    async with AsyncExitStack() as stack:
        disk = DiskStore(root, durable=False)
        ghcr = Ghcr(root / ".shipgraph", ACCOUNTS, habits=Habits(**{"clock": ticking, "write_rate": 0, **habits}))
        address = await stack.enter_async_context(serve(disk, ghcr=ghcr))
        server = Rehearsal(address, disk, ghcr, ticking, stack)
        stack.callback(server.pool.clear)
        yield server


@pytest.fixture
def rehearse(tmp_path: Path, clock: Ticking) -> Callable[..., AbstractAsyncContextManager[Rehearsal]]:
    """Makes servers over one root: ``async with rehearse(lag=5.0) as server``."""
    return lambda **habits: start(tmp_path, clock, **habits)


@pytest.fixture
async def server(rehearse: Callable[..., AbstractAsyncContextManager[Rehearsal]]) -> AsyncIterator[Rehearsal]:
    async with rehearse() as started:
        yield started
