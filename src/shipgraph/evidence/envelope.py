"""Signed envelopes: DSSE 1.0 (secure-systems-lab/dsse, envelope.md and protocol.md)."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

from shipgraph.errors import MalformedDocument


@dataclass(frozen=True, slots=True)
class Envelope:
    """A payload and the signatures over it; ``payload`` is what was signed, byte for byte."""

    payload_type: str
    payload: bytes
    signatures: tuple[bytes, ...]

    @property
    def signed_bytes(self) -> bytes:
        """What a signature covers."""
        return pre_authentication_encoding(self.payload_type, self.payload)

    def to_json(self) -> dict[str, Any]:
        """The envelope as JSON members."""
        return {
            "payload": base64.b64encode(self.payload).decode(),
            "payloadType": self.payload_type,
            "signatures": [{"sig": base64.b64encode(signature).decode()} for signature in self.signatures],
        }


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """The PAE: type and payload with their lengths, so that one can't be taken for a part of the other."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def parse_envelope(document: Any, *, where: str) -> Envelope:
    """Read an envelope out of a parsed document.

    Raises:
        MalformedDocument: it isn't one.
    """
    if not isinstance(document, dict) or not isinstance(document.get("payloadType"), str):
        raise MalformedDocument(f"{where} has no signed envelope")
    signatures = document.get("signatures")
    if not isinstance(signatures, list) or not signatures:
        raise MalformedDocument(f"{where} has no signature")
    return Envelope(
        document["payloadType"],
        decode_base64(document.get("payload"), where=f"payload of {where}"),
        tuple(
            decode_base64(entry.get("sig") if isinstance(entry, dict) else None, where=f"signature of {where}")
            for entry in signatures
        ),
    )


def decode_base64(text: Any, *, where: str) -> bytes:
    """The bytes of a standard base64 string; other spellings are refused.

    Raises:
        MalformedDocument
    """
    if not isinstance(text, str):
        raise MalformedDocument(f"{where} is not there")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedDocument(f"{where} is not base64") from error
