"""Starting, stopping, and breaking on purpose."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest
import urllib3

from shipgraph.embedded.fault import Fault
from shipgraph.embedded.serving import serve
from shipgraph.errors import ConfigurationError
from shipgraph.oci.digest import Digest
from shipgraph.store.disk import DiskStore
from shipgraph.store.disk import upload as disk_upload

from .conftest import Client, codes

if TYPE_CHECKING:
    from pathlib import Path

UPLOADS = "/v2/acme/one/blobs/uploads/"


def left_in(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


async def test_it_answers_while_this_loop_is_busy(registry: Client) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    assert registry.send_now("GET", "/v2/").status == 200  # blocks this loop
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


async def test_nothing_is_left_when_it_stops(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    threads = set(threading.enumerate())
    with urllib3.PoolManager(retries=False) as pool:
        async with serve(DiskStore(tmp_path)) as address:
            assert (await anyio.to_thread.run_sync(pool.request, "GET", f"http://{address}/v2/")).status == 200
        with pytest.raises(urllib3.exceptions.NewConnectionError), urllib3.PoolManager(retries=False) as other:
            other.request("GET", f"http://{address}/v2/")
    assert not [thread for thread in set(threading.enumerate()) - threads if thread.name.startswith("registry")]
    assert capfd.readouterr() == ("", "")


async def test_it_stops_when_the_block_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with serve(DiskStore(tmp_path)):
            _ = 1 / 0
    with anyio.move_on_after(0.05) as scope:
        async with serve(DiskStore(tmp_path)):
            await anyio.sleep(60)
    assert scope.cancelled_caught


async def test_a_port_that_is_taken(tmp_path: Path) -> None:
    async with serve(DiskStore(tmp_path)) as address:
        port = int(address.rpartition(":")[2])
        with pytest.raises(ConfigurationError, match="can't listen"):
            async with serve(DiskStore(tmp_path), port=port):
                pass


async def test_other_addresses(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            host, shown = "localhost", "localhost:"
        else:
            host, shown = "[::1]", "[::1]:"
    async with serve(DiskStore(tmp_path), host=host) as address:
        assert address.startswith(shown)


RUN = """
import sys
from pathlib import Path
from shipgraph.embedded.serving import run
from shipgraph.store.disk import DiskStore

assert "starlette" not in sys.modules, "imported before it is needed"
run(DiskStore(Path(sys.argv[1])), on_ready=lambda address: print(address, flush=True))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_as_a_program(number: signal.Signals, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RUN, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        with urllib3.PoolManager(retries=False) as pool:
            assert pool.request("GET", f"http://{address}/v2/").status == 200
        process.send_signal(number)
        output, _ = process.communicate(timeout=10)
    assert process.returncode in ({0} if number == signal.SIGTERM else {-number, 1, 130})
    assert output == ""


async def test_faults_answer_and_delay(registry: Client) -> None:
    registry.faults = [Fault(delay=0.1, status=429, headers={"Retry-After": "1"}, body=b"slow down"), Fault()]
    start = time.monotonic()
    answer = await registry.send("GET", "/v2/")
    assert time.monotonic() - start >= 0.1
    assert (answer.status, answer.headers["Retry-After"], answer.data) == (429, "1", b"slow down")
    assert (await registry.send("GET", "/v2/")).status == 200
    assert (await registry.send("GET", "/v2/")).status == 200


async def test_a_request_that_never_arrives(registry: Client, store: DiskStore) -> None:
    digest = Digest.of(b"blob")
    registry.faults = [Fault(cut_request_after=0)]
    with pytest.raises(urllib3.exceptions.ProtocolError):
        await registry.send("POST", f"{UPLOADS}?digest={digest}", b"blob")
    assert not await store.has_blob("acme/one", digest)


async def test_an_answer_that_is_lost(registry: Client, store: DiskStore) -> None:
    digest = Digest.of(b"blob")
    registry.faults = [Fault(cut_response_after=0)]
    with pytest.raises(urllib3.exceptions.ProtocolError):
        await registry.send("POST", f"{UPLOADS}?digest={digest}", b"blob")
    assert await store.has_blob("acme/one", digest)


async def test_an_answer_that_is_cut(registry: Client) -> None:
    content = os.urandom(3_000_000)
    digest = Digest.of(content)
    await registry.push("acme/one", content, str(digest))
    for position in (1, 1 << 20, 1_500_000, len(content) - 1):
        registry.faults = [Fault(cut_response_after=position)]
        answer = await anyio.to_thread.run_sync(
            lambda: registry.pool.request(
                "GET", f"http://{registry.address}/v2/acme/one/blobs/{digest}", preload_content=False
            )
        )
        with pytest.raises(urllib3.exceptions.ProtocolError) as caught:
            await anyio.to_thread.run_sync(answer.read)
        assert isinstance(caught.value.args[1], http.client.IncompleteRead)
        assert caught.value.args[1].partial == content[:position]


@pytest.mark.parametrize("chunked", [True, False])
async def test_an_upload_that_is_cut_goes_on(registry: Client, chunked: bool) -> None:
    content = os.urandom(3_000_000)
    digest = Digest.of(content)
    location = (await registry.send("POST", UPLOADS)).headers["Location"]
    registry.faults = [Fault(cut_request_after=1_234_567)]
    body = iter([content]) if chunked else content
    with pytest.raises(urllib3.exceptions.ProtocolError):
        await registry.send("PATCH", location, body)
    status = await registry.send("GET", location)
    assert status.headers["Range"] == "0-1234566"
    headers = {"Content-Range": f"1234567-{len(content) - 1}"}
    answer = await registry.send("PUT", f"{location}?digest={digest}", content[1234567:], headers)
    assert answer.status == 201
    assert (await registry.send("GET", f"/v2/acme/one/blobs/{digest}")).data == content


async def test_a_full_disk_is_said_and_frees_what_was_sent(
    registry: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk_upload, "write_all", full)
    location = (await registry.send("POST", UPLOADS)).headers["Location"]
    answer = await registry.send("PATCH", location, b"x" * 10_000)
    assert (answer.status, codes(answer)) == (507, ["UNKNOWN"])
    assert b"No space left" in answer.data
    assert left_in(tmp_path) == []
    assert "No space left" in caplog.text


async def test_many_clients_at_once(registry: Client) -> None:
    contents = [os.urandom(200_000) for _ in range(24)]

    async def one(content: bytes) -> None:
        digest = Digest.of(content)
        await registry.push("acme/one", content, str(digest))
        assert (await registry.send("GET", f"/v2/acme/one/blobs/{digest}")).data == content

    async with anyio.create_task_group() as group:
        for content in contents:
            group.start_soon(one, content)


def test_it_starts_quickly(tmp_path: Path) -> None:
    """Generous: what is measured is 0.16 s; a heavy import would add as much again."""
    code = f"""
import time; start = time.perf_counter()
import anyio
from pathlib import Path
from shipgraph.embedded.serving import serve
from shipgraph.store.disk import DiskStore
async def main():
    async with serve(DiskStore(Path({str(tmp_path)!r}))):
        print(time.perf_counter() - start)
anyio.run(main)
"""

    def once() -> float:
        return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)

    assert min(once() for _ in range(3)) < 1.0
