"""Sigstore's authorities, as mocks: certificates for identity tokens, and a log."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.e2e.attest import node
from tests.real.tools import debian

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Authorities:
    """Where they are, and the client trust configuration (JSON) that trusts them."""

    address: str
    trust: str

    @property
    def ceremonies(self) -> int:
        """How many certificates were given out."""
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            f"{self.address}/certificates"
        ) as answer:
            return int(answer.read())


@contextmanager
def authorities() -> Iterator[Authorities]:
    """Serve them while the block runs."""
    script = node.__file__.replace("node.py", "mock.mjs")
    environment = {**os.environ, "MODULES": str(node.node_modules())}
    with subprocess.Popen([debian("node"), script], stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout is not None
        try:
            found = json.loads(process.stdout.readline())
            yield Authorities(found["address"], json.dumps(found["trust"]))
        finally:
            process.terminate()
