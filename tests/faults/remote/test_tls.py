"""TLS: trust as SSL_CERT_FILE says, certificates that nobody trusts, and no way out of it."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.faults.remote.server import Asked, Server, Wire, serving

from shipgraph.errors import RegistryError, RegistryUnavailable
from shipgraph.oci import media_types
from shipgraph.oci.descriptor import Descriptor
from shipgraph.remote import PooledTransport, RemoteStore, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="needs the openssl program to make certificates"
)

BODY = b'{"tags": ["v1"]}'


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    directory = tmp_path_factory.mktemp("tls")
    chain, key = directory / "chain.pem", directory / "key.pem"
    options = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=registry"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(chain)]
    subprocess.run(["openssl", *options.split(), *names], check=True, capture_output=True)
    return chain, key


@contextmanager
def secure(certificate: tuple[Path, Path], answer: object) -> Iterator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with serving(answer) as server:  # type: ignore[arg-type]
        server.socket = context.wrap_socket(server.socket, server_side=True)
        yield server


@contextmanager
def client(server: Server) -> Iterator[RemoteStore]:
    transport = PooledTransport(connect_timeout=2, read_timeout=3)
    try:
        policy = RetryPolicy(attempts=2, base=0.01)
        yield RemoteStore(server.host, credentials=None, plain_http=False, transport=transport, retries=policy)
    finally:
        transport.close()


def tags(wire: Wire, asked: Asked) -> None:
    wire.reply(200, BODY)


async def test_trusted(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    with secure(certificate, tags) as server, client(server) as remote:
        assert await remote.tags("acme/x") == ["v1"]


@pytest.mark.parametrize("store", ["environment", "system"])
async def test_untrusted(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    if store == "system":
        monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    with secure(certificate, tags) as server, client(server) as remote:
        with pytest.raises(RegistryError, match="not trusted") as caught:
            await remote.tags("acme/x")
        assert not isinstance(caught.value, RegistryUnavailable)
        assert server.asked == []


async def test_tls_to_a_plain_server_fails() -> None:
    with serving(tags) as server, client(server) as remote:
        with pytest.raises(RegistryUnavailable):
            await remote.tags("acme/x")
        assert server.asked == []


async def test_a_redirect_out_of_tls_is_refused(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    blob = Descriptor.of(media_types.LAYER_TAR, b"x")
    with serving(lambda wire, asked: wire.reply(200, b"x")) as plain:
        to_plain = f"http://{plain.host}/x"
        with (
            secure(certificate, lambda wire, asked: wire.reply(307, Location=to_plain)) as server,
            client(server) as remote,
        ):
            with pytest.raises(RegistryError, match="out of TLS"):
                async with remote.blob("acme/x", blob):
                    pass
            assert plain.asked == []


def test_a_program_that_is_interrupted_ends_though_the_server_stalls(tmp_path: Path) -> None:
    """The worker thread, which the interpreter waits for, is woken by its socket's end."""

    def stall(wire: Wire, asked: Asked) -> None:
        time.sleep(6)
        wire.close_connection = True

    program = tmp_path / "program.py"
    program.write_text(
        "import sys, anyio\n"
        "from shipgraph.remote import RemoteStore\n"
        "async def main():\n"
        "    async with RemoteStore(sys.argv[1], credentials=None) as remote:\n"
        "        with anyio.move_on_after(0.5):\n"
        "            await remote.tags('acme/x')\n"
        "anyio.run(main)\n"
    )
    with serving(stall) as server:
        started = time.monotonic()
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "src")}
        subprocess.run([sys.executable, program, server.host], check=True, timeout=20, env=environment)
        assert time.monotonic() - started < 4.5
