"""Sigstore bundles, version 0.3: an envelope together with what it takes to verify it.

Sigstore's protobuf-specs, ``sigstore_bundle.proto``, in its JSON form. The signer is named by a hint at a public key
that the verifier has anyway, or by the certificate that an authority gave it. A bundle is its bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec

from shipgraph.errors import MalformedDocument
from shipgraph.evidence.envelope import Envelope, decode_base64, parse_envelope

BUNDLE_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
MAX_BUNDLE: Final = 4 << 20
"""Bytes; a bundle with a provenance and a certificate has some tens of kilobytes."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle: its exact bytes, its envelope, and either a key's hint or a certificate in DER.

    ``log_entries`` and ``timestamps`` are how many there are; only their verifier looks into them.
    """

    raw: bytes
    envelope: Envelope
    key_hint: str | None
    certificate: bytes | None
    log_entries: int = 0
    timestamps: int = 0


def make_key_bundle(envelope: Envelope, hint: str) -> Bundle:
    """The bundle of an envelope that a key signed."""
    document = {
        "mediaType": BUNDLE_TYPE,
        "verificationMaterial": {
            "publicKey": {"hint": hint},
            "tlogEntries": [],
            "timestampVerificationData": {"rfc3161Timestamps": []},
        },
        "dsseEnvelope": envelope.to_json(),
    }
    return parse_bundle(msgspec.json.encode(document), where="bundle")


def parse_bundle(raw: bytes, *, where: str) -> Bundle:
    """Read a bundle; nothing in it is believed yet.

    Raises:
        MalformedDocument: it isn't a bundle of version 0.3 with an envelope.
    """
    if len(raw) > MAX_BUNDLE:
        raise MalformedDocument(f"{where} has {len(raw)} bytes, more than the {MAX_BUNDLE} a bundle may have")
    try:
        document = msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise MalformedDocument(f"{where} is not JSON: {error}") from error
    if document.get("mediaType") != BUNDLE_TYPE:
        raise MalformedDocument(f"{where} is not a Sigstore bundle of version 0.3")
    material = document.get("verificationMaterial")
    if not isinstance(material, dict):
        raise MalformedDocument(f"{where} doesn't say who signed it")
    hint, certificate = _signer(material, where)
    stamps = material.get("timestampVerificationData") or {}
    return Bundle(
        raw,
        parse_envelope(document.get("dsseEnvelope"), where=where),
        hint,
        certificate,
        _count(material.get("tlogEntries")),
        _count(stamps.get("rfc3161Timestamps") if isinstance(stamps, dict) else None),
    )


def _signer(material: dict[str, Any], where: str) -> tuple[str | None, bytes | None]:
    """Exactly one of the two must be there, or two verifiers could see two signers."""
    key, certificate = material.get("publicKey"), material.get("certificate")
    if (key is None) == (certificate is None) or "x509CertificateChain" in material:
        raise MalformedDocument(f"{where} must name its signer by one public key or one certificate")
    if key is not None:
        hint = key.get("hint") if isinstance(key, dict) else None
        if not isinstance(hint, str) or not hint:
            raise MalformedDocument(f"{where} has no hint at its public key")
        return hint, None
    content = certificate.get("rawBytes") if isinstance(certificate, dict) else None
    return None, decode_base64(content, where=f"certificate of {where}")


def _count(value: Any) -> int:
    return len(value) if isinstance(value, list) else 0
