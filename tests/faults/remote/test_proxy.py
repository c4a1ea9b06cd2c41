"""Proxies from the environment, and a store that is made before its event loop."""

from __future__ import annotations

import anyio
import pytest
from tests.faults.remote.server import Asked, Wire, serving

from shipgraph.errors import ConfigurationError
from shipgraph.remote import PooledTransport, RemoteStore


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def tags(wire: Wire, asked: Asked) -> None:
    wire.reply(200, b'{"tags": ["v1"]}')


async def test_a_request_goes_through_the_proxy_with_its_login(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(tags) as proxy:
        monkeypatch.setenv("http_proxy", f"http://user:p%40ss@{proxy.host}")
        async with RemoteStore("registry.example", credentials=None, plain_http=True) as remote:
            assert await remote.tags("acme/x") == ["v1"]
        assert proxy.asked[0].path == "http://registry.example/v2/acme/x/tags/list?n=1000"
        assert proxy.asked[0].headers["proxy-authorization"] == "Basic dXNlcjpwQHNz"


async def test_loopback_goes_through_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:1")
    with serving(tags) as server:
        async with RemoteStore(server.host, credentials=None) as remote:
            assert await remote.tags("acme/x") == ["v1"]
        assert "proxy-authorization" not in server.asked[0].headers


async def test_a_proxy_of_another_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", "socks5://proxy.invalid:1080")
    async with RemoteStore("registry.example", credentials=None) as remote:
        with pytest.raises(ConfigurationError, match="socks5"):
            await remote.tags("acme/x")


def test_a_store_may_be_made_before_its_event_loop() -> None:
    with serving(tags) as server:
        transport = PooledTransport()
        remote = RemoteStore(server.host, credentials=None, transport=transport)
        assert anyio.run(remote.tags, "acme/x") == ["v1"]
        transport.close()
