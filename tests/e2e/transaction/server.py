"""The embedded registry as a process of its own, with a hand on every request: ``python server.py PORT``.

``POST /control`` takes JSON:

- ``root``: serve this folder from now on
- ``hold``: hold the n-th request from now on (from 1) back, ``when`` "before" it is carried out or "after"
- ``release``: let the held request go, or ``drop`` it
- ``clock``: seconds added to the ``Date`` header; ``delay``: seconds added to each request
- ``lag``: seconds for which a tag may still be read as before; there is no If-Match then
- ``ghcr``: behave as GHCR does from now on, for the workflow whose token is ``TOKEN``; the lag is that mode's own then

``GET /control`` tells the requests since the last ``hold``, their spans, the one that is held, and the most at once.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import socket
import sys
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import uvicorn

from shipgraph.embedded.app import create_app
from shipgraph.embedded.ghcr.accounts import Accounts, Workflow
from shipgraph.embedded.ghcr.habits import Habits
from shipgraph.embedded.ghcr.state import Ghcr
from shipgraph.store.disk import DiskStore
from shipgraph.store.disk.repository import STATE

TOKEN = "ghs_of_a_workflow_in_a_test"
TAG = re.compile(r"/v2/(?P<name>.+)/manifests/(?P<tag>[^:]+)")


class Hand:
    """The registry behind a hand that counts, holds back, delays and misleads."""

    def __init__(self) -> None:
        self.app: Any = None
        self.store: Any = None
        self.root: Path | None = None
        self.storage = ("", 0)
        self.ghcr: Ghcr | None = None
        self.as_ghcr = False
        self.requests: list[str] = []
        self.hold, self.when, self.clock, self.lag, self.delay = 0, "before", 0.0, 0.0, 0.0
        self.held, self.drop = "", False
        self.go = asyncio.Event()
        self.before: dict[tuple[str, str], tuple[str | None, float]] = {}
        self.random = random.Random(1)
        self.open = self.most = 0
        self.spans: list[tuple[float, float, str]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] == "/control":
            await self.control(scope, receive, send)
            return
        self.requests.append(f"{scope['method']} {scope['path']}")
        held = self.hold == len(self.requests)
        self.open += 1
        self.most = max(self.most, self.open)
        began = time.monotonic()
        try:
            await asyncio.sleep(self.delay)
            if held and self.when == "before":
                await self.keep()
                if self.drop:
                    return
            await self.carry_out(scope, receive, send, held=held)
        finally:
            self.open -= 1
            self.spans.append((began, time.monotonic(), f"{scope['method']} {scope['path']}"))

    async def keep(self) -> None:
        self.held = self.requests[self.hold - 1]
        self.go.clear()
        await self.go.wait()

    async def carry_out(self, scope: Any, receive: Any, send: Any, *, held: bool) -> None:
        if self.lag and self.ghcr is None:
            scope = self.mislead(scope)
        answer: list[Any] = []
        was = await self.there(scope)

        async def keep(message: Any) -> None:
            answer.append(message)

        await self.app(scope, receive, keep)
        if held and self.when == "after":
            await self.keep()
        if (match := TAG.fullmatch(scope["path"])) and scope["method"] == "PUT" and answer[0]["status"] == 201:
            self.before[match["name"], match["tag"]] = (was, time.monotonic())
        headers = [(key, value) for key, value in answer[0]["headers"] if not self.lag or b"conditional" not in key]
        headers.append((b"date", formatdate(time.time() + self.clock, usegmt=True).encode()))
        answer[0]["headers"] = headers
        for message in answer:
            await send(message)

    async def there(self, scope: Any) -> str | None:
        """What a tag that is about to be written is before."""
        match = TAG.fullmatch(scope["path"])
        if match is None or scope["method"] != "PUT":
            return None
        found = await self.store.resolve(match["name"], match["tag"])
        return None if found is None else str(found.digest)

    def mislead(self, scope: Any) -> Any:
        headers = [(key, value) for key, value in scope["headers"] if key not in (b"if-match", b"if-none-match")]
        scope = {**scope, "headers": headers}
        match = TAG.fullmatch(scope["path"])
        if match is None or scope["method"] == "PUT":
            return scope
        was, at = self.before.get((match["name"], match["tag"]), (None, 0.0))
        if time.monotonic() - at < self.lag and self.random.random() < 0.7:
            path = f"/v2/{match['name']}/manifests/{was or 'absent'}"
            return {**scope, "path": path, "raw_path": path.encode()}
        return scope

    async def control(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if scope["method"] == "POST":
            await self.obey(json.loads(body))
        state = {"requests": self.requests, "held": self.held, "most": self.most, "spans": self.spans}
        text = json.dumps(state).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": text})

    async def obey(self, wish: dict[str, Any]) -> None:
        self.as_ghcr = wish.get("ghcr", self.as_ghcr)
        if "hold" in wish:
            self.hold, self.held, self.requests, self.most, self.spans = wish["hold"], "", [], 0, []
            self.go.set()
        for name in ("when", "clock", "lag", "delay"):
            if name in wish:
                setattr(self, name, wish[name])
        if "root" in wish:
            self.root = Path(wish["root"])
            self.before = {}
        if self.root is not None and ("root" in wish or ("lag" in wish and self.as_ghcr)):
            self.serve(self.root)
        if wish.get("release"):
            self.drop = wish.get("drop", False)
            self.held = ""
            self.hold = 0
            self.go.set()

    def serve(self, root: Path) -> None:
        """Serve a folder, as it is asked for now."""
        if self.ghcr is not None:
            self.ghcr.ledger.close()
        self.store = DiskStore(root)
        self.ghcr = None
        if self.as_ghcr:
            accounts = Accounts({TOKEN: Workflow("acme/demo")}, {"acme/demo": "public"}, {"acme": "organization"})
            habits = Habits(lag=self.lag, flapping=0.3 if self.lag else 0.0, seed=1)
            self.ghcr = Ghcr(root / STATE, accounts, habits=habits)
        self.app = create_app(self.store, ghcr=self.ghcr, storage=self.storage)


async def main(port: int) -> None:
    hand = Hand()
    # the second address is where GHCR keeps its blobs
    listeners = [socket.create_server(("127.0.0.1", number)) for number in (port, 0)]
    hand.storage = listeners[1].getsockname()[:2]
    config = uvicorn.Config(hand, lifespan="off", log_level="error", date_header=False, timeout_graceful_shutdown=1)
    await uvicorn.Server(config).serve(sockets=listeners)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
