"""uvicorn's connection, with a way for the application to cut it."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from shipgraph.embedded.fault import CONNECTION


class Connection(HttpToolsProtocol):
    """Offers ``close`` (after what was sent) and ``abort`` (at once) in the request's ASGI extensions."""

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self.scope["extensions"] = {CONNECTION: {"close": self.transport.close, "abort": self.transport.abort}}
