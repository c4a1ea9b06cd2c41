"""Keyless signing: a certificate of Sigstore for the job's own identity, through the optional package ``sigstore``.

One ceremony is one token, one key in memory, and one certificate; each statement gets its entry in the log and its
timestamp. The package speaks to the authorities with an HTTP client of its own.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from shipgraph.errors import RegistryUnavailable, ToolMissing
from shipgraph.evidence.bundle import Bundle, parse_bundle
from shipgraph.evidence.refusals import SigningFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from shipgraph.evidence.statement import Statement

TOKEN_VARIABLE = "SIGSTORE_ID_TOKEN"  # noqa: S105 (a variable's name)
_GRANT = "give the job `permissions: id-token: write`, or sign with a key"
GITHUB_VARIABLE = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"


def has_token(environment: Mapping[str, str] | None = None) -> bool:
    """Whether this job can prove who it is."""
    found = os.environ if environment is None else environment
    return bool(found.get(TOKEN_VARIABLE) or found.get(GITHUB_VARIABLE))


def job_token() -> str:
    """The job's identity token, asked for anew.

    Raises:
        SigningFailed: this job has none.
    """
    if token := os.environ.get(TOKEN_VARIABLE):
        return token
    from sigstore.oidc import IdentityError, detect_credential

    try:
        token = detect_credential()
    except IdentityError as error:
        raise SigningFailed(f"the job's identity token can't be had: {error}", hint=_GRANT) from error
    if not token:
        raise SigningFailed("this job has no identity token to sign with", hint=_GRANT)
    return token


class KeylessSigner:
    """Signs with a certificate that lives for ten minutes.

    Args:
        token: gives the identity token; asked once in each ceremony.
        trust_config: a Sigstore client trust configuration (JSON); the public authorities' where None.

    Raises:
        ToolMissing: the package ``sigstore`` is not installed.
    """

    description = "the job's identity (keyless)"

    def __init__(self, token: Callable[[], str] = job_token, *, trust_config: str | None = None) -> None:
        try:
            import sigstore  # noqa: F401
        except ImportError as error:
            raise ToolMissing(
                "keyless signing needs the package sigstore", hint="install shipgraph[keyless]"
            ) from error
        self._token, self._trust_config = token, trust_config

    async def sign(self, statements: Sequence[Statement]) -> tuple[Bundle, ...]:
        """See ``Signer``."""
        return await anyio.to_thread.run_sync(self._sign, tuple(statements))

    def _sign(self, statements: tuple[Statement, ...]) -> tuple[Bundle, ...]:
        from sigstore.dsse import Statement as SigstoreStatement
        from sigstore.errors import Error
        from sigstore.oidc import IdentityError, IdentityToken
        from sigstore.sign import SigningContext

        try:
            context = SigningContext.from_trust_config(self._config())
            token = IdentityToken(self._token())
            with context.signer(token) as signer:
                made = [signer.sign_dsse(SigstoreStatement(statement.raw)) for statement in statements]
        except OSError as error:  # the package's HTTP client raises its own kinds of it
            raise RegistryUnavailable(f"a Sigstore authority does not answer: {_reason(error)}") from error
        except (Error, IdentityError, ValueError) as error:
            raise SigningFailed(f"Sigstore did not sign: {_reason(error)}") from error
        return tuple(parse_bundle(bundle.to_json().encode(), where="bundle of Sigstore") for bundle in made)

    def _config(self) -> Any:
        from sigstore.models import ClientTrustConfig

        if self._trust_config is not None:
            return ClientTrustConfig.from_json(self._trust_config)
        return ClientTrustConfig.production()


def _reason(error: Exception) -> str:
    """An error's first line; a token is in none of them, but long answers may be."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]
