"""Verifies bundles signed with a certificate of a Sigstore authority, through the optional package ``sigstore``.

Fulcio's certificate says who asked for it (OIDs: sigstore/fulcio, docs/oid-info.md); the package checks the chain, the
certificate log, the signature log and the timestamps. What the certificate says is judged by the project's own policy.
"""

from __future__ import annotations

from datetime import UTC
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from shipgraph.errors import RegistryUnavailable, ToolMissing
from shipgraph.evidence.refusals import EvidenceUntrusted
from shipgraph.evidence.trust import Claims

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography.x509 import Certificate

    from shipgraph.evidence.bundle import Bundle
    from shipgraph.evidence.trust import TrustPolicy

_ARC: Final = "1.3.6.1.4.1.57264.1."
ISSUER, SOURCE_REPOSITORY, SOURCE_REF = f"{_ARC}8", f"{_ARC}12", f"{_ARC}14"
_MISSING: Final = "install shipgraph[keyless]"


def verify_certificate(bundle: Bundle, policy: TrustPolicy) -> tuple[Claims, datetime]:
    """What the certificate of a bundle says, and when it was signed, once all of the bundle has been found right.

    Raises:
        EvidenceUntrusted: it isn't right.
        ToolMissing: the package ``sigstore`` is not installed.
        RegistryUnavailable: Sigstore's root of trust can't be had.
    """
    if not policy.identities:
        raise EvidenceUntrusted("it is signed with a certificate, and the project trusts no identity")
    try:
        from sigstore.errors import Error
        from sigstore.models import Bundle as SigstoreBundle
    except ImportError as error:
        raise ToolMissing("verifying a keyless signature needs the package sigstore", hint=_MISSING) from error
    verifier = _verifier(policy.trust_config, policy.offline)
    try:
        parsed = SigstoreBundle.from_json(bundle.raw)
        kind, payload = verifier.verify_dsse(parsed, _Anybody())
    except (Error, ValueError) as error:
        raise EvidenceUntrusted(f"Sigstore refuses it: {error}") from error
    if (kind, payload) != (bundle.envelope.payload_type, bundle.envelope.payload):
        raise EvidenceUntrusted("its envelope can be read in two ways")
    certificate = parsed.signing_certificate
    # Certificates live for ten minutes, and the signature was witnessed within them.
    return read_claims(certificate), certificate.not_valid_before_utc.astimezone(UTC)


class _Anybody:
    """A policy of the package's: whoever it is, for the identity is judged by the caller, with the project's rules.

    The package's own policy of that kind logs, for each signature, that nothing was verified.
    """

    def verify(self, _certificate: Certificate) -> None:
        """Take any certificate."""


def read_claims(certificate: Certificate) -> Claims:
    """What a certificate says about its bearer.

    Raises:
        EvidenceUntrusted: it doesn't name exactly one.
    """
    from cryptography.x509 import (
        ExtensionNotFound,
        RFC822Name,
        SubjectAlternativeName,
        UniformResourceIdentifier,
    )

    try:
        names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    except ExtensionNotFound:
        raise EvidenceUntrusted("its certificate names nobody") from None
    subjects = [str(name.value) for name in names if isinstance(name, (UniformResourceIdentifier, RFC822Name))]
    if len(subjects) != 1:
        raise EvidenceUntrusted("its certificate doesn't name exactly one bearer")
    repository = _extension(certificate, SOURCE_REPOSITORY)
    # SAN of a workflow: https://github.com/OWNER/REPO/PATH@REF
    place, _, ref = subjects[0].partition("@")
    inside = place.removeprefix(f"{repository}/") if repository and place.startswith(f"{repository}/") else ""
    return Claims(
        issuer=_extension(certificate, ISSUER),
        subject=subjects[0],
        repository=repository,
        workflow=inside,
        ref=ref if inside else _extension(certificate, SOURCE_REF),
    )


def _extension(certificate: Certificate, oid: str) -> str:
    """The text of one of Fulcio's extensions: a DER UTF8String."""
    from cryptography.x509 import ExtensionNotFound, ObjectIdentifier, UnrecognizedExtension

    try:
        value = certificate.extensions.get_extension_for_oid(ObjectIdentifier(oid)).value
    except ExtensionNotFound:
        return ""
    raw = value.value if isinstance(value, UnrecognizedExtension) else b""
    tag_utf8, short, one_byte = 0x0C, 0x80, 0x81
    if len(raw) >= 2 and raw[0] == tag_utf8:
        if raw[1] < short and len(raw) == 2 + raw[1]:
            return raw[2:].decode("utf-8", "replace")
        if raw[1] == one_byte and len(raw) > 2 and len(raw) == 3 + raw[2]:
            return raw[3:].decode("utf-8", "replace")
    raise EvidenceUntrusted(f"the extension {oid} of its certificate can't be read")


@lru_cache(maxsize=4)
def _verifier(trust_config: str | None, offline: bool) -> Any:
    """A verifier; its root of trust comes from Sigstore's own repository unless a configuration was given."""
    from sigstore.errors import Error
    from sigstore.models import ClientTrustConfig
    from sigstore.verify import Verifier

    if trust_config is not None:
        return Verifier(trusted_root=ClientTrustConfig.from_json(trust_config).trusted_root)
    try:
        return Verifier.production(offline=offline)
    except (Error, OSError) as error:
        raise RegistryUnavailable(f"Sigstore's root of trust can't be had: {error}") from error
