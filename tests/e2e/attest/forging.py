"""What a forger can make of a good bundle, byte by byte, without its key."""

from __future__ import annotations

import base64
import copy
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from shipgraph.oci.digest import Digest


def forgeries(good: bytes, foreign: bytes, subject: Digest, other: Digest) -> dict[str, bytes]:
    """Bundles that must not count as evidence about ``subject``.

    Args:
        good: a trusted signer's bundle about ``subject``.
        foreign: another signer's bundle that says the same.
        other: another subject: the other platform, say.
    """

    def forged(change: Callable[[dict[str, Any]], None]) -> bytes:
        document = copy.deepcopy(json.loads(good))
        change(document)
        return json.dumps(document).encode()

    def payload(change: Callable[[bytes], bytes]) -> bytes:
        def edit(document: dict[str, Any]) -> None:
            envelope = document["dsseEnvelope"]
            old = base64.b64decode(envelope["payload"])
            new = change(old)
            assert new != old
            envelope["payload"] = base64.b64encode(new).decode()

        return forged(edit)

    def signature(document: dict[str, Any]) -> None:
        signed = document["dsseEnvelope"]["signatures"][0]
        content = base64.b64decode(signed["sig"])
        signed["sig"] = base64.b64encode(content[:-1] + bytes([content[-1] ^ 1])).decode()

    def kind(document: dict[str, Any]) -> None:
        document["dsseEnvelope"]["payloadType"] = "application/vnd.in-toto+jsom"

    def signer(document: dict[str, Any]) -> None:
        """The foreign envelope under the trusted signer's name."""
        document["dsseEnvelope"] = json.loads(foreign)["dsseEnvelope"]

    return {
        "another signer": foreign,
        "one byte of the payload": payload(_flip),
        "one byte of the signature": forged(signature),
        "another type": forged(kind),
        "another subject written in": payload(
            lambda content: content.replace(subject.hex.encode(), other.hex.encode())
        ),
        "another signer under this one's name": forged(signer),
    }


def _flip(content: bytes) -> bytes:
    """One bit of a name: still the JSON of a statement."""
    place = content.index(b'"name":"') + len(b'"name":"')
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def keyless_forgeries(good: bytes, foreign: bytes) -> dict[str, bytes]:
    """What can be tried on a certificate and on the log's entry besides."""

    def part(name: str) -> bytes:
        document = json.loads(good)
        document["verificationMaterial"][name] = json.loads(foreign)["verificationMaterial"][name]
        return json.dumps(document).encode()

    def without_log() -> bytes:
        document = json.loads(good)
        document["verificationMaterial"]["tlogEntries"] = []
        return json.dumps(document).encode()

    return {
        "another's certificate": part("certificate"),
        "another's entry in the log": part("tlogEntries"),
        "no entry in the log": without_log(),
    }
