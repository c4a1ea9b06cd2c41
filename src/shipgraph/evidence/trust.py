"""Whom a project trusts: public keys and identities, each for a time; and who may sign a channel's metadata.

All of it comes from ``shipgraph.toml`` (or another place that the verifier chose), never from what is being verified.

A signature by a bare key carries no time that anybody else has witnessed: whoever has the key can write any date. So a
key counts between its dates by the verifier's own clock, and evidence that it signed ends with it. A certificate comes
with a time that a log or a timestamp authority has witnessed; an identity's dates are compared with that.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Final

from shipgraph.errors import ConfigurationError
from shipgraph.evidence.refusals import EvidenceUntrusted

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

_P256: Final = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
"""How the DER form of every uncompressed P-256 key begins; knowing it spares the start of a command a library."""
GITHUB_ISSUER: Final = "https://token.actions.githubusercontent.com"


@dataclass(frozen=True)
class TrustedKey:
    """A public key, ECDSA on P-256: its SubjectPublicKeyInfo in DER, a name for people, and when it counts."""

    name: str
    der: bytes
    since: datetime | None = None
    until: datetime | None = None

    @classmethod
    def parse(cls, name: str, text: str, *, since: datetime | None = None, until: datetime | None = None) -> TrustedKey:
        """A key out of its base64 DER, or its PEM.

        Raises:
            ConfigurationError: it isn't a P-256 public key.
        """
        lines = [line.strip() for line in text.strip().splitlines()]
        body = "".join(line for line in lines if not line.startswith("-----"))
        allowed = "the public key (ECDSA P-256) as base64 in one line, or as PEM"
        try:
            der = base64.b64decode(body, validate=True)
        except (binascii.Error, ValueError):
            raise ConfigurationError(f"the public key {name!r} is not base64", allowed=allowed) from None
        if not der.startswith(_P256) or len(der) != len(_P256) + 64:
            raise ConfigurationError(f"the public key {name!r} is not an ECDSA key on P-256", allowed=allowed)
        return cls(name, der, since, until)

    @cached_property
    def hint(self) -> str:
        """How bundles name the key: the SHA-256 of its DER form, in base64."""
        return key_hint(self.der)

    @cached_property
    def public(self) -> EllipticCurvePublicKey:
        """The key itself.

        Raises:
            EvidenceUntrusted: it is no point of the curve.
        """
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
        from cryptography.hazmat.primitives.serialization import load_der_public_key

        try:
            key = load_der_public_key(self.der)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise EvidenceUntrusted(f"the public key {self.name} can't be used: {error}") from error
        if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
            raise EvidenceUntrusted(f"the public key {self.name} is not an ECDSA key on P-256")
        return key

    def check_time(self, at: datetime) -> None:
        """Refuse the key outside of its dates.

        Raises:
            EvidenceUntrusted
        """
        _check_dates(f"key {self.name}", self.since, self.until, at)


def key_hint(der: bytes) -> str:
    """See ``TrustedKey.hint``."""
    return base64.b64encode(hashlib.sha256(der).digest()).decode()


@dataclass(frozen=True, slots=True)
class Identity:
    """Who may have a certificate: an issuer of tokens, a repository, its workflow file, and the git refs it runs at.

    ``repository`` is ``https://github.com/OWNER/NAME``; ``workflow`` the file's path in it, empty for any of them;
    ``refs`` may hold ``*`` for any characters, and are any ref where empty.
    """

    repository: str
    workflow: str = ""
    refs: tuple[str, ...] = ()
    issuer: str = GITHUB_ISSUER
    since: datetime | None = None
    until: datetime | None = None

    def check(self, claims: Claims, at: datetime) -> None:
        """Refuse the bearer of a certificate who is somebody else, or came outside of the dates.

        Raises:
            EvidenceUntrusted
        """
        if claims.issuer != self.issuer:
            raise EvidenceUntrusted(f"its token was issued by {claims.issuer or 'nobody'}, not by {self.issuer}")
        if claims.repository.lower() != self.repository.lower():
            raise EvidenceUntrusted(f"it was signed by {claims.repository or 'no repository'}, not {self.repository}")
        if self.workflow and claims.workflow != self.workflow:
            raise EvidenceUntrusted(f"it was signed by the workflow {claims.workflow or '?'}, not {self.workflow}")
        if self.refs and not any(fnmatchcase(claims.ref, pattern) for pattern in self.refs):
            raise EvidenceUntrusted(f"it was signed at {claims.ref or 'no ref'}, not at {' or '.join(self.refs)}")
        _check_dates(f"identity {self.repository}", self.since, self.until, at)


@dataclass(frozen=True, slots=True)
class Claims:
    """What a certificate says about its bearer; ``workflow`` is a path in the repository, ``ref`` its git ref."""

    issuer: str
    subject: str
    repository: str = ""
    workflow: str = ""
    ref: str = ""


@dataclass(frozen=True, slots=True)
class SignedBy:
    """Who signed a bundle that was found good: a trusted key, or a trusted identity on a git ref, and when."""

    name: str
    key: TrustedKey | None = None
    claims: Claims | None = None
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class TrustPolicy:
    """Whom a project trusts. Empty means nobody.

    ``trust_config`` is the text of a Sigstore client trust configuration (JSON) for authorities other than the public
    ones; ``offline`` keeps the verifier from asking Sigstore's repository for its newest root.
    """

    keys: tuple[TrustedKey, ...] = ()
    identities: tuple[Identity, ...] = ()
    trust_config: str | None = field(default=None, repr=False)
    offline: bool = False

    def find_key(self, hint: str) -> TrustedKey:
        """The key of that hint.

        Raises:
            EvidenceUntrusted: the project doesn't trust it.
        """
        for key in self.keys:
            if key.hint == hint:
                return key
        raise EvidenceUntrusted(f"it is signed by a key that the project doesn't trust ({hint[:60]})")

    def find_identity(self, claims: Claims, at: datetime) -> Identity:
        """The identity that a certificate's bearer has.

        Raises:
            EvidenceUntrusted: the project trusts none such.
        """
        problem: EvidenceUntrusted | None = None
        for identity in self.identities:
            try:
                identity.check(claims, at)
            except EvidenceUntrusted as error:
                problem = problem or error
            else:
                return identity
        raise problem or EvidenceUntrusted("it is signed with a certificate, and the project trusts no identity")


@dataclass(frozen=True, slots=True)
class SignerRule:
    """Who may sign the metadata of a channel, among those whom the project trusts.

    Args:
        refs: git refs of the workflow that signs, ``*`` for any characters; empty for any ref.
        keys: names of keys; None for any trusted key.
    """

    refs: tuple[str, ...] = ()
    keys: tuple[str, ...] | None = None

    def check(self, signer: SignedBy) -> None:
        """Refuse a signer whom the channel doesn't accept.

        Raises:
            EvidenceUntrusted
        """
        if signer.key is not None:
            if self.keys is not None and signer.key.name not in self.keys:
                raise EvidenceUntrusted(
                    f"the channel's metadata may not be signed by key {signer.key.name}"
                    f" (allowed: {', '.join(self.keys) or 'no key'})"
                )
            return
        ref = signer.claims.ref if signer.claims else ""
        if self.refs and not any(fnmatchcase(ref, pattern) for pattern in self.refs):
            raise EvidenceUntrusted(
                f"the channel's metadata may not be signed at {ref or 'no ref'} (allowed: {', '.join(self.refs)})"
            )


def _check_dates(who: str, since: datetime | None, until: datetime | None, at: datetime) -> None:
    if since is not None and at < since:
        raise EvidenceUntrusted(f"{who} counts only from {since:%Y-%m-%d} on")
    if until is not None and at >= until:
        raise EvidenceUntrusted(f"{who} counted only until {until:%Y-%m-%d}")
