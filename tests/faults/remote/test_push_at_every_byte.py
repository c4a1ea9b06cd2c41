"""A whole push whose connection breaks at any byte, on its way there or back: done after retries, never half."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from shipgraph.embedded.serving import serve
from shipgraph.oci import media_types
from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.manifest import EMPTY_CONFIG, EMPTY_DESCRIPTOR, build_artifact
from shipgraph.remote import PooledTransport, RemoteStore, RetryPolicy
from shipgraph.store.content import from_bytes, read_blob
from shipgraph.store.disk import DiskStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Proxy:
    """Passes bytes on between a client and the registry, and breaks a connection off after so many of them."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self.target = (host, int(port))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.there: int | None = None
        """Bytes to the registry after which the next connection is cut."""
        self.back: int | None = None
        self.passed = [0, 0]

    def run(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            limits, self.there, self.back = (self.there, self.back), None, None
            threading.Thread(target=self.serve, args=(client, *limits), daemon=True).start()

    def serve(self, client: socket.socket, there: int | None, back: int | None) -> None:
        with client, socket.create_connection(self.target) as registry:
            other = threading.Thread(target=self.pump, args=(1, registry, client, back), daemon=True)
            other.start()
            self.pump(0, client, registry, there)
            other.join()

    def pump(self, way: int, source: socket.socket, sink: socket.socket, limit: int | None) -> None:
        passed = 0
        with suppress(OSError):
            while piece := source.recv(65536):
                if limit is not None and passed + len(piece) >= limit:
                    sink.sendall(piece[: limit - passed])
                    break
                sink.sendall(piece)
                passed += len(piece)
                self.passed[way] += len(piece)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxied(target: str) -> Iterator[Proxy]:
    proxy = Proxy(target)
    threading.Thread(target=proxy.run, daemon=True).start()
    yield proxy
    proxy.listener.shutdown(socket.SHUT_RDWR)
    proxy.listener.close()


async def push(store: RemoteStore, number: int) -> tuple[Descriptor, bytes]:
    content = b"%06d" % number * 50
    blob = Descriptor.of(media_types.LAYER_TAR, content)
    await store.push_blob("acme/x", blob, from_bytes(content))
    await store.tag("acme/x", f"v{number}", build_artifact("application/vnd.x", [blob]))
    return blob, content


@pytest.mark.parametrize("way", ["there", "back"])
async def test_cut(way: str, tmp_path: Path) -> None:
    disk = DiskStore(tmp_path, durable=False)
    await disk.push_blob("acme/x", EMPTY_DESCRIPTOR, from_bytes(EMPTY_CONFIG))
    async with serve(disk) as address:
        with proxied(address) as proxy:
            policy = RetryPolicy(attempts=4, base=0.0001, ceiling=0.0002)
            transport = PooledTransport(connect_timeout=2, read_timeout=5)
            store = RemoteStore(proxy.host, credentials=None, transport=transport, retries=policy)
            await push(store, 0)
            total = proxy.passed[0 if way == "there" else 1]
            assert total > 500
            for number, at in enumerate(range(1, total + 50, 17), start=1):
                transport.close()  # a new connection, cut after so many bytes
                setattr(proxy, way, at)
                blob, content = await push(store, number)
                found = await disk.resolve("acme/x", f"v{number}")
                assert found is not None
                manifest = await disk.manifest("acme/x", found.digest)
                assert manifest.digest == build_artifact("application/vnd.x", [blob]).digest
                assert await read_blob(disk, "acme/x", blob) == content
            transport.close()
