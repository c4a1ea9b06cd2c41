"""Verifiers that others wrote, run as their users run them: without an account, and nobody's configuration."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.real.tools import debian, pinned

from .authorities import ISSUER, REF, REPOSITORY, WORKFLOW

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shipgraph.attest.key import KeySigner

SAN = f"https://github.com/{REPOSITORY}/{WORKFLOW}@{REF}"
SCRIPT = Path(__file__).with_name("verify.mjs")


@dataclass(frozen=True)
class Said:
    """How a verifier ended, and what it wrote."""

    accepted: bool
    text: str


def run(
    command: Sequence[str | Path], home: Path, *, offline: bool = False, more: Mapping[str, str] | None = None
) -> Said:
    """Run a verifier; ``offline`` takes all of the network away from it."""
    words = [str(debian("unshare")), "--net", "--", *map(str, command)] if offline else [str(word) for word in command]
    hidden = ("GH_TOKEN", "GITHUB_TOKEN", "DOCKER_CONFIG", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {
        "HOME": str(home),
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        "NO_COLOR": "1",
        **(more or {}),
    }
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, env=environment, cwd=home
    )
    return Said(done.returncode == 0, done.stdout + done.stderr)


def write_key(signer: KeySigner, folder: Path) -> Path:
    """The public key as others want it."""
    place = folder / "release.pub"
    place.write_text(pem(signer))
    return place


def pem(signer: KeySigner) -> str:
    """The public key in PEM."""
    return f"-----BEGIN PUBLIC KEY-----\n{signer.public_text}\n-----END PUBLIC KEY-----\n"


def cosign(*arguments: str | Path, home: Path, offline: bool = False) -> Said:
    """cosign."""
    return run([pinned("cosign"), *arguments], home, offline=offline)


def identity(root: Path) -> list[str | Path]:
    """cosign's arguments for the release workflow and the mock authorities."""
    return ["--trusted-root", root, "--certificate-identity", SAN, "--certificate-oidc-issuer", ISSUER]


def gh(*arguments: str | Path, home: Path, offline: bool = False, more: Mapping[str, str] | None = None) -> Said:
    """``gh attestation verify``."""
    return run([pinned("gh"), "attestation", "verify", *arguments], home, offline=offline, more=more)


def node(modules: Path, bundles: Sequence[bytes], *, signer: KeySigner | None = None, root: str = "") -> list[str]:
    """What ``@sigstore/verify`` says about each bundle's signature: ``ok``, or why not.

    It trusts the key of ``signer``, or the authorities of ``root`` where the release workflow has their certificate.
    """
    question = {
        "publicKeys": {signer.public.hint: pem(signer)} if signer else {},
        "trustedRoot": json.loads(root) if root else None,
        "policy": {"subjectAlternativeName": SAN, "extensions": {"issuer": ISSUER}} if root else None,
        "cases": [json.loads(bundle) for bundle in bundles],
    }
    done = subprocess.run(
        [debian("node"), SCRIPT],
        input=json.dumps(question),
        env={**os.environ, "MODULES": str(modules)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said: list[str] = json.loads(done.stdout)
    return said
