"""Uploads to CNCF distribution v3 whose connection breaks: they end with the right blob, whatever it kept."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

import pytest
from tests.faults.remote.test_push_at_every_byte import proxied
from tests.real.registries import distribution_v3

from shipgraph.oci import media_types
from shipgraph.oci.descriptor import Descriptor
from shipgraph.remote import PooledTransport, RemoteStore, RetryPolicy
from shipgraph.remote.transport import TransportFailure
from shipgraph.remote.upload import CHUNK
from shipgraph.store.content import from_bytes
from shipgraph.store.protocols import PIECE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shipgraph.remote.transport import Request, Response

pytestmark = pytest.mark.real

CONTENT = bytes(range(251)) * ((2 * CHUNK + 3 * PIECE + 777) // 251)
BLOB = Descriptor.of(media_types.LAYER_TAR, CONTENT)


class Noted:
    """A transport that remembers what was asked, and how it was answered."""

    def __init__(self) -> None:
        self.inner = PooledTransport(connect_timeout=2, read_timeout=5)
        self.asked: list[str] = []
        self.refuse_whole = 0
        """So many PUTs with a body are lost on the way."""
        self.lose_answer_to = ""
        """The answer to the next request of this method gets lost."""
        self.patient = False

    def exchange(self, request: Request) -> Response:
        if request.method == "GET" and self.patient:
            self.wait_for_progress(request)
        if request.method == "PUT" and request.length and self.refuse_whole:
            self.refuse_whole -= 1
            raise TransportFailure("lost on the way")
        response = self.inner.exchange(request)
        self.asked.append(f"{request.method} {response.status}")
        if request.method == self.lose_answer_to:
            self.lose_answer_to = ""
            response.close()
            raise TransportFailure("the answer was lost")
        return response

    def wait_for_progress(self, request: Request) -> None:
        """Until the registry has written what came before the cut: it may be busy with that still."""
        before = ""
        for _ in range(200):
            response = self.inner.exchange(request)
            now = response.headers.get("Range", "")
            response.close()
            if now == before and now != "0-0":
                return
            before = now
            time.sleep(0.05)

    def close(self) -> None:
        self.inner.close()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with distribution_v3(tmp_path_factory.mktemp("v3")) as address:
        yield address


async def pushed(host: str, direct: str, name: str, transport: Noted) -> list[str]:
    """Push the blob; what was asked. The registry itself is asked for its bytes, past all that breaks."""
    policy = RetryPolicy(attempts=6, base=0.01, ceiling=0.05)
    async with RemoteStore(host, credentials=None, transport=transport, retries=policy) as store:
        assert await store.push_blob(name, BLOB, from_bytes(CONTENT))
    transport.close()
    async with RemoteStore(direct, credentials=None) as store, store.blob(name, BLOB) as pieces:
        hasher = hashlib.sha256()
        async for piece in pieces:
            hasher.update(piece)
    assert hasher.hexdigest() == BLOB.digest.hex
    return transport.asked


@pytest.mark.parametrize("at", [100_000, PIECE + 1, CHUNK, len(CONTENT) - 7])
async def test_a_whole_that_is_cut_arrives(registry: str, at: int) -> None:
    with proxied(registry) as proxy:
        proxy.there = at
        transport = Noted()
        transport.patient = True
        asked = await pushed(proxy.host, registry, f"acme/cut-{at}", transport)
    assert asked[:4] == ["HEAD 404", "POST 202", "HEAD 404", "GET 204"]
    assert set(asked[4:-1]) == {"PATCH 202"}  # the rest, in the same upload
    assert asked[-1] == "PUT 201"


async def test_a_chunk_whose_answer_was_lost_is_not_sent_again(registry: str) -> None:
    transport = Noted()
    transport.refuse_whole, transport.lose_answer_to = 2, "PATCH"
    asked = await pushed(registry, registry, "acme/lost-chunk", transport)
    assert asked[-5:] == ["PATCH 202", "GET 204", "PATCH 202", "PATCH 202", "PUT 201"]


async def test_a_closing_put_whose_answer_was_lost_is_not_sent_again(registry: str) -> None:
    transport = Noted()
    transport.lose_answer_to = "PUT"
    asked = await pushed(registry, registry, "acme/lost-close", transport)
    assert asked == ["HEAD 404", "POST 202", "PUT 201", "HEAD 200"]
