"""Answers that break off, change or stall at every single byte, head and body: the truth after a retry, or an error."""

from __future__ import annotations

import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from shipgraph.errors import NotFound, ShipgraphError
from shipgraph.oci import media_types
from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import EMPTY_DESCRIPTOR, build_artifact, build_index
from shipgraph.remote import PooledTransport, RemoteStore, RetryPolicy
from shipgraph.store.content import read_blob

CONTENT = bytes(range(48, 112))
BLOB = Descriptor.of(media_types.LAYER_TAR, CONTENT)
ABSENT = Digest.of(b"absent")
MANIFEST = build_artifact("application/vnd.test", [BLOB])
REFERRER = build_artifact("application/vnd.ref", [EMPTY_DESCRIPTOR], subject=MANIFEST.descriptor)
REFERRERS = build_index([REFERRER.descriptor])

Mangle = Callable[[bytes], tuple[bytes, bool]]
"""An honest answer in, what is sent instead out, and whether the connection then stalls (else it is closed)."""
Operation = Callable[[RemoteStore], Awaitable[object]]


def honest(method: str, path: str) -> bytes:
    """A registry's answer, head and body."""
    resource = path.removeprefix("/v2/acme/x/")
    table: dict[str, tuple[int, bytes, str]] = {
        f"blobs/{BLOB.digest}": (200, CONTENT, "application/octet-stream"),
        f"manifests/{MANIFEST.digest}": (200, MANIFEST.raw, MANIFEST.media_type),
        "manifests/v1": (200, MANIFEST.raw, MANIFEST.media_type),
        f"referrers/{MANIFEST.digest}": (200, REFERRERS.raw, REFERRERS.media_type),
        "tags/list?n=1000": (200, b'{"name":"acme/x","tags":["v1","v1.0"]}', "application/json"),
    }
    absent = (404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no"}]}', "application/json")
    status, body, kind = table.get(resource, absent)
    head = [f"HTTP/1.1 {status} {'OK' if status == 200 else 'Not Found'}", f"Content-Type: {kind}"]
    if "manifests/" in resource and status == 200:
        head.append(f"Docker-Content-Digest: {Digest.of(body)}")
    head.append(f"Content-Length: {len(body)}")
    raw = "\r\n".join([*head, "", ""]).encode()
    return raw if method == "HEAD" else raw + body


class Server:
    """Mangles the next answers as told, and gives honest ones after that."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.mangles: list[Mangle] = []
        self.always: Mangle | None = None
        self.let_go = threading.Event()

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as file, suppress(OSError):
            while line := file.readline():
                method, path, _ = line.decode().split(" ", 2)
                while file.readline() not in {b"\r\n", b""}:
                    pass
                answer = honest(method, path)
                mangle = self.mangles.pop(0) if self.mangles else self.always
                if mangle is None:
                    connection.sendall(answer)
                    continue
                sent, stalls = mangle(answer)
                connection.sendall(sent)
                if stalls:
                    self.let_go.wait(5)
                return


@contextmanager
def against(*, read_timeout: float = 5.0, attempts: int = 3) -> Iterator[tuple[RemoteStore, Server]]:
    server = Server()
    threading.Thread(target=server.run, daemon=True).start()
    transport = PooledTransport(connect_timeout=2, read_timeout=read_timeout)
    policy = RetryPolicy(attempts=attempts, base=0.0001, ceiling=0.0002)
    try:
        yield RemoteStore(server.host, credentials=None, transport=transport, retries=policy), server
    finally:
        server.let_go.set()
        server.listener.shutdown(socket.SHUT_RDWR)
        server.listener.close()
        transport.close()


def cut(at: int) -> Mangle:
    return lambda answer: (answer[:at], False)


def stall(at: int) -> Mangle:
    return lambda answer: (answer[:at], True)


def flip(at: int, bit: int) -> Mangle:
    return lambda answer: (answer[:at] + bytes([answer[at] ^ bit]) + answer[at + 1 :], False)


def drop(at: int) -> Mangle:
    return lambda answer: (answer[:at] + answer[at + 1 :], False)


def double(at: int) -> Mangle:
    return lambda answer: (answer[: at + 1] + answer[at:], False)


async def raw_manifest(store: RemoteStore) -> object:
    return (await store.manifest("acme/x", MANIFEST.digest)).raw


async def referrers(store: RemoteStore) -> object:
    return [one.digest for one in await store.referrers("acme/x", MANIFEST.digest)]


async def absent_manifest(store: RemoteStore) -> object:
    try:
        return await store.manifest("acme/x", ABSENT)
    except NotFound:
        return "absent"


OPERATIONS: dict[str, tuple[str, Operation, Any]] = {
    "blob": (f"blobs/{BLOB.digest}", lambda store: read_blob(store, "acme/x", BLOB), CONTENT),
    "manifest": (f"manifests/{MANIFEST.digest}", raw_manifest, MANIFEST.raw),
    "absent manifest": (f"manifests/{ABSENT}", absent_manifest, "absent"),
    "has blob": (f"HEAD blobs/{BLOB.digest}", lambda store: store.has_blob("acme/x", BLOB.digest), True),
    "has no blob": (f"HEAD blobs/{ABSENT}", lambda store: store.has_blob("acme/x", ABSENT), False),
    "has manifest": (f"HEAD manifests/{MANIFEST.digest}", lambda s: s.has_manifest("acme/x", MANIFEST.digest), True),
    "resolve": ("HEAD manifests/v1", lambda store: store.resolve("acme/x", "v1"), MANIFEST.descriptor),
    "tags": ("tags/list?n=1000", lambda store: store.tags("acme/x"), ["v1", "v1.0"]),
    "referrers": (f"referrers/{MANIFEST.digest}", referrers, [REFERRER.digest]),
}
BY_DIGEST = ("blob", "manifest")


def length(name: str) -> int:
    method, _, resource = OPERATIONS[name][0].rpartition(" ")
    return len(honest(method or "GET", f"/v2/acme/x/{resource}"))


@pytest.mark.parametrize("name", OPERATIONS)
async def test_cut_once_at_every_byte_then_honest(name: str) -> None:
    _, operation, truth = OPERATIONS[name]
    wrong = []
    errors = 0
    with against() as (store, server):
        for at in range(length(name)):
            server.mangles = [cut(at)]
            try:
                got = await operation(store)
            except ShipgraphError:
                errors += 1
                continue
            if got != truth:
                wrong.append((at, got))
    assert wrong == []
    assert errors == 0, "what was cut is asked for again"


@pytest.mark.parametrize("name", OPERATIONS)
async def test_cut_always_at_every_byte(name: str) -> None:
    _, operation, truth = OPERATIONS[name]
    with against(attempts=2) as (store, server):
        for at in range(0, length(name), 3):
            server.always = cut(at)
            try:
                assert await operation(store) == truth, at
            except ShipgraphError as error:
                assert str(error)  # noqa: PT017 (either is fine)


@pytest.mark.parametrize("name", BY_DIGEST)
@pytest.mark.parametrize(
    "kind",
    [drop, double, lambda at: flip(at, 1), lambda at: flip(at, 0x80)],
    ids=["dropped", "doubled", "lowest bit", "highest bit"],
)
async def test_changed_at_every_byte(name: str, kind: Callable[[int], Mangle]) -> None:
    """What is named by its digest is the truth or nothing, whichever byte of head or body is another."""
    _, operation, truth = OPERATIONS[name]
    with against() as (store, server):
        for at in range(length(name)):
            server.mangles = [kind(at)]
            try:
                assert await operation(store) == truth, at
            except ShipgraphError as error:
                assert str(error)  # noqa: PT017


@pytest.mark.parametrize("name", ["blob", "manifest", "resolve"])
async def test_stalled_at_some_bytes(name: str) -> None:
    _, operation, truth = OPERATIONS[name]
    with against(read_timeout=0.15, attempts=8) as (store, server):  # a busy machine may miss it by itself
        for at in range(0, length(name), 41):
            server.mangles = [stall(at)]
            assert await operation(store) == truth
