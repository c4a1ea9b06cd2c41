"""Statements, envelopes and bundles: exact bytes in and out, and every malformed one is refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipgraph.errors import MalformedDocument
from shipgraph.evidence.bundle import BUNDLE_TYPE, MAX_BUNDLE, make_key_bundle, parse_bundle
from shipgraph.evidence.envelope import Envelope, pre_authentication_encoding
from shipgraph.evidence.statement import make_statement, parse_statement
from shipgraph.oci.digest import Digest


def test_the_encoding_is_the_specifications_example() -> None:
    encoded = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


@given(st.text(), st.binary(), st.text(), st.binary())
def test_two_envelopes_never_share_an_encoding(kind: str, payload: bytes, other: str, more: bytes) -> None:
    try:
        same = pre_authentication_encoding(kind, payload) == pre_authentication_encoding(other, more)
    except UnicodeEncodeError:
        return
    assert same == ((kind, payload) == (other, more))


def test_a_statement_is_its_bytes() -> None:
    digest = Digest.of(b"x")
    made = make_statement([("app", digest)], "urn:kind", {"a": [1, "ü"]})
    assert parse_statement(made.raw, where="it") == made
    assert made == make_statement([("app", digest)], "urn:kind", {"a": [1, "ü"]})
    assert made.about(digest)
    assert not made.about(Digest.of(b"y"))
    assert json.loads(made.raw)["subject"] == [{"name": "app", "digest": {"sha256": digest.hex}}]


@pytest.mark.parametrize(
    "change",
    [
        {"_type": "https://in-toto.io/Statement/v0.1"},
        {"_type": None},
        {"subject": []},
        {"subject": "all"},
        {"subject": [{"name": "app"}]},
        {"subject": [{"name": "app", "digest": {}}]},
        {"subject": [{"name": "app", "digest": {"sha256": 7}}]},
        {"subject": [{"digest": {"sha256": "00"}}] * 1025},
        {"predicateType": ""},
        {"predicate": None},
        {"predicate": [1]},
    ],
    ids=str,
)
def test_what_is_no_statement_is_refused(change: dict[str, Any]) -> None:
    document = json.loads(make_statement([("app", Digest.of(b"x"))], "urn:kind", {}).raw)
    with pytest.raises(MalformedDocument):
        parse_statement(json.dumps({**document, **change}).encode(), where="it")


BUNDLE = make_key_bundle(Envelope("application/vnd.in-toto+json", b"{}", (b"signature",)), "hint")


def test_a_bundle_is_read_as_it_was_made() -> None:
    again = parse_bundle(BUNDLE.raw, where="it")
    assert again == BUNDLE
    assert (again.key_hint, again.certificate) == ("hint", None)
    assert again.envelope.payload == b"{}"
    assert json.loads(BUNDLE.raw)["mediaType"] == BUNDLE_TYPE


def test_a_certificate_is_read() -> None:
    document = json.loads(BUNDLE.raw)
    document["verificationMaterial"] = {
        "certificate": {"rawBytes": base64.b64encode(b"der").decode()},
        "tlogEntries": [{}],
        "timestampVerificationData": {"rfc3161Timestamps": [{}, {}]},
    }
    bundle = parse_bundle(json.dumps(document).encode(), where="it")
    assert (bundle.key_hint, bundle.certificate) == (None, b"der")
    assert (bundle.log_entries, bundle.timestamps) == (1, 2)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("mediaType",), "application/vnd.dev.sigstore.bundle+json;version=0.2"),
        (("verificationMaterial",), None),
        (("verificationMaterial",), {}),
        (("verificationMaterial", "certificate"), {"rawBytes": "AA=="}),
        (("verificationMaterial", "x509CertificateChain"), {"certificates": []}),
        (("verificationMaterial", "publicKey"), {}),
        (("verificationMaterial", "publicKey"), {"hint": 7}),
        (("dsseEnvelope",), None),
        (("dsseEnvelope", "payload"), "not base64!"),
        (("dsseEnvelope", "payload"), "e30"),
        (("dsseEnvelope", "payload"), " e30="),
        (("dsseEnvelope", "payloadType"), None),
        (("dsseEnvelope", "signatures"), []),
        (("dsseEnvelope", "signatures"), ["x"]),
        (("dsseEnvelope", "signatures"), [{"keyid": "x"}]),
    ],
    ids=str,
)
def test_what_is_no_bundle_is_refused(path: tuple[str, ...], value: Any) -> None:
    document = json.loads(BUNDLE.raw)
    place = document
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    with pytest.raises(MalformedDocument):
        parse_bundle(json.dumps(document).encode(), where="it")


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b"[" * 100_000, b'"\xff"', b" " * (MAX_BUNDLE + 1)])
def test_what_is_no_json_is_refused(raw: bytes) -> None:
    with pytest.raises(MalformedDocument):
        parse_bundle(raw, where="it")
