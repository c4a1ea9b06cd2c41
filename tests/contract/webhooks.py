"""GitHub's own examples of webhook payloads, which are the event files of Actions; fetched once, into the cache.

They are the npm package ``@octokit/webhooks-examples``; nothing of it is kept in this repository.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import tarfile
import urllib.request
from typing import Any

from tests.real.tools import cache

VERSION = "7.6.1"
INTEGRITY = "sha512-De6U3XB6O3DtCa7bKgCMzTHdeopqqZ6SNivMYJnK65ierKL1AnNIA0tkRYCRS7lwGT792d+Ps1WbfHlso6MynQ=="
URL = f"https://registry.npmjs.org/@octokit/webhooks-examples/-/webhooks-examples-{VERSION}.tgz"
MEMBER = "package/api.github.com/index.json"
KINDS = ("push", "pull_request", "workflow_dispatch")
"""There is no webhook of a schedule: Actions makes up that event by itself."""


def examples(kind: str) -> list[dict[str, Any]]:
    """All examples of one kind of event."""
    kept = cache() / f"github-webhooks-{VERSION}.json"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        aside = kept.with_suffix(f".{os.getpid()}")
        aside.write_text(json.dumps(_fetch()))
        aside.rename(kept)
    found: list[dict[str, Any]] = json.loads(kept.read_text())[kind]
    return found


def _fetch() -> dict[str, Any]:
    with urllib.request.urlopen(URL, timeout=120) as answer:
        archive: bytes = answer.read()
    got = "sha512-" + base64.b64encode(hashlib.sha512(archive).digest()).decode()
    if got != INTEGRITY:
        raise RuntimeError(f"{URL} has the digest {got}, not {INTEGRITY}")
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        member = files.extractfile(MEMBER)
        assert member is not None
        return {entry["name"]: entry["examples"] for entry in json.load(member) if entry["name"] in KINDS}
