"""Sigstore's authorities, played by npm's ``@sigstore/mock``: who gives certificates, and who is to be trusted."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jwt
from tests.real.tools import debian

from shipgraph.attest.keyless import KeylessSigner
from shipgraph.evidence.trust import Identity, TrustPolicy

from .node import node_modules

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY, WORKFLOW, REF = "acme/demo", ".github/workflows/release.yml", "refs/tags/v1.0.0"
IDENTITY = Identity(f"https://github.com/{REPOSITORY}", WORKFLOW, ("refs/tags/*",))
ISSUER = "https://token.actions.githubusercontent.com"


@dataclass(frozen=True)
class Authorities:
    """Where the mock authorities are, and the configuration that trusts them."""

    address: str
    trust: str

    @property
    def certificates(self) -> int:
        """How many certificates were given out: ceremonies."""
        with urllib.request.urlopen(f"{self.address}/certificates") as answer:
            return int(answer.read())

    @property
    def trusted_root(self) -> str:
        """What other verifiers take as their root of trust: one line of JSON."""
        return json.dumps(json.loads(self.trust)["trustedRoot"]) + "\n"

    def policy(self, *identities: Identity) -> TrustPolicy:
        """Trust in these authorities and identities."""
        return TrustPolicy(identities=identities, trust_config=self.trust)

    def signer(self, repository: str = REPOSITORY, *, workflow: str = WORKFLOW, ref: str = REF) -> KeylessSigner:
        """A job of a workflow of a repository."""
        return KeylessSigner(lambda: token(repository, workflow, ref), trust_config=self.trust)


@contextmanager
def running_authorities() -> Iterator[Authorities]:
    """New authorities with keys of their own."""
    script = Path(__file__).with_name("mock.mjs")
    environment = {**os.environ, "MODULES": str(node_modules())}
    with subprocess.Popen([debian("node"), script], stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout is not None
        try:
            found = json.loads(process.stdout.readline())
            yield Authorities(found["address"], json.dumps(found["trust"]))
        finally:
            process.terminate()


def token(repository: str = REPOSITORY, workflow: str = WORKFLOW, ref: str = REF) -> str:
    """What GitHub gives a job, signed by nobody that the mock would ask."""
    now = int(time.time())
    place = f"{repository}/{workflow}@{ref}"
    claims = {
        "iss": ISSUER,
        "sub": f"https://github.com/{place}",
        "aud": "sigstore",
        "iat": now,
        "nbf": now,
        "exp": now + 300,
        "repository": repository,
        "repository_owner": repository.partition("/")[0],
        "ref": ref,
        "sha": "5" * 40,
        "event_name": "push",
        "workflow_ref": place,
        "job_workflow_ref": place,
        "runner_environment": "github-hosted",
    }
    return jwt.encode(claims, "a secret that nobody checks, of some length", algorithm="HS256")
