"""Signing with a key of one's own: ECDSA on P-256, in a file that nobody else may read."""

from __future__ import annotations

import base64
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread

from shipgraph.errors import ConfigurationError
from shipgraph.evidence.bundle import Bundle, make_key_bundle
from shipgraph.evidence.envelope import Envelope, pre_authentication_encoding
from shipgraph.evidence.statement import PAYLOAD_TYPE, Statement
from shipgraph.evidence.trust import TrustedKey

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

KEY_PLACE = Path("keys") / "signing.key"
"""Where the local key is, below the workspace."""
LOCAL = "local"
"""The name of this machine's own key, where a rehearsal trusts it."""


class KeySigner:
    """Signs with a private key in memory."""

    def __init__(self, key: EllipticCurvePrivateKey, name: str) -> None:
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        self._key = key
        der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.public = TrustedKey(name, der)

    @property
    def description(self) -> str:
        """See ``Signer``."""
        return f"key {self.public.name}"

    def named(self, name: str) -> KeySigner:
        """The same key under another name."""
        return KeySigner(self._key, name)

    @property
    def public_text(self) -> str:
        """The public key as ``shipgraph.toml`` has it: base64 of its DER form, in one line."""
        return base64.b64encode(self.public.der).decode()

    async def sign(self, statements: Sequence[Statement]) -> tuple[Bundle, ...]:
        """See ``Signer``."""
        return await anyio.to_thread.run_sync(lambda: tuple(map(self._sign, statements)))

    def _sign(self, statement: Statement) -> Bundle:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
        from cryptography.hazmat.primitives.hashes import SHA256

        content = pre_authentication_encoding(PAYLOAD_TYPE, statement.raw)
        try:
            # RFC 6979: two runs that say the same make the same bytes, so the registry keeps one
            signature = self._key.sign(content, ECDSA(SHA256(), deterministic_signing=True))
        except UnsupportedAlgorithm:  # an OpenSSL before 3.2
            signature = self._key.sign(content, ECDSA(SHA256()))
        return make_key_bundle(Envelope(PAYLOAD_TYPE, statement.raw, (signature,)), self.public.hint)


def load_key(path: Path, name: str = LOCAL) -> KeySigner:
    """The key of a file (PEM, PKCS#8, not encrypted).

    Raises:
        ConfigurationError: it isn't there, isn't such a key, or others may read it.
    """
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise ConfigurationError(f"others may read the signing key {path}", hint=f"chmod 600 {path}")
        content = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"the signing key {path} can't be read: {error.strerror}") from error
    return parse_key(content, name, where=str(path))


def parse_key(content: bytes, name: str, *, where: str) -> KeySigner:
    """A key out of its PEM (a secret of CI, say, that is never written to disk).

    Raises:
        ConfigurationError: it isn't such a key; nothing of it is shown.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigurationError(f"{where} is not a private key in PEM without a password") from None
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise ConfigurationError(f"{where} is not an ECDSA key on P-256")
    return KeySigner(key, name)


def make_key(path: Path, name: str = LOCAL) -> KeySigner:
    """The key of a file; a new one is made where there is none. Two processes that do so at once end with one key.

    Raises:
        ConfigurationError: see ``load_key``.
    """
    if not path.exists():
        from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        content = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        try:
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):
                os.link(new, path)
        finally:
            new.unlink(missing_ok=True)
    return load_key(path, name)
