"""Who signs the evidence of a release, and whom its project trusts."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from shipgraph.attest.key import KEY_PLACE, LOCAL, load_key, make_key, parse_key
from shipgraph.engine.attestation_store import running_repository
from shipgraph.errors import ConfigurationError
from shipgraph.events import Note
from shipgraph.evidence.referrers import EvidenceReader, ReferrerVerifier
from shipgraph.evidence.trust import Identity, SignerRule, TrustPolicy
from shipgraph.oci.reference import is_loopback

if TYPE_CHECKING:
    from shipgraph.attest.key import KeySigner
    from shipgraph.attest.stage import AttestationStore
    from shipgraph.engine.workspace import Workspace
    from shipgraph.events import Emit
    from shipgraph.evidence.referrers import Standing
    from shipgraph.evidence.signer import Signer
    from shipgraph.project.release import Release

KEY_VARIABLE = "SHIPGRAPH_SIGNING_KEY"
ENVIRONMENT_KEY = "environment"


@dataclass(frozen=True, slots=True)
class Signing:
    """What evidence of a release is made and judged with: ``also`` gets every bundle as well."""

    signer: Signer
    policy: TrustPolicy
    also: AttestationStore | None = None

    def verifier(self, store: EvidenceReader, standing: Standing | None = None) -> ReferrerVerifier:
        """Finds what the project trusts, and of that only what still counts where ``standing`` is asked."""
        return ReferrerVerifier(store, self.policy, standing=standing)


def trust_of(release: Release, workspace: Workspace, host: str) -> TrustPolicy:
    """Whom a project trusts: what its file says and, on this machine alone, this machine's own key.

    Args:
        host: the registry that evidence is read from.

    Raises:
        ConfigurationError: the trust configuration or the machine's key can't be read.
    """
    spec = release.project.signing
    identities = spec.identities
    if identities is None:
        branch = f"refs/heads/{release.project.default_branch}"
        workflow = f".github/workflows/{release.project.workflow.file}"
        identities = (Identity(release.source, workflow, (branch, "refs/tags/*")),) if release.source else ()
    keys = spec.keys
    place = workspace.root / KEY_PLACE
    if is_local(release, host) and place.exists():
        keys = (*keys, load_key(place).public)
    text = None if spec.trust_config is None else release.project.locate(spec.trust_config).read_text()
    return TrustPolicy(keys, identities, text)


def rule_of(release: Release, channel: str, host: str) -> SignerRule:
    """Who may sign a channel's metadata; on this machine alone, this machine's own key as well.

    Raises:
        ConfigurationError: the project has no such channel.
    """
    channels = release.project.channels
    if channel not in channels:
        raise ConfigurationError(f"there is no channel {channel!r}", allowed=", ".join(channels))
    rule = channels[channel].signer
    if rule.keys is not None and is_local(release, host):
        return replace(rule, keys=(*rule.keys, LOCAL))
    return rule


def is_local(release: Release, host: str) -> bool:
    """Whether nothing of it leaves this machine."""
    return release.rehearsal or is_loopback(host)


def open_signing(release: Release, workspace: Workspace, host: str, *, also: AttestationStore | None = None) -> Signing:
    """Who signs here, and whom the project trusts; a key is made where a rehearsal has none yet.

    A rehearsal signs with a key, whatever the project says: nobody has an identity on a laptop or in a pull request.
    What a workflow signs with its identity goes to its repository's attestation store as well, by default.

    Raises:
        ConfigurationError: there is nothing to sign with.
    """
    from shipgraph.attest.keyless import KeylessSigner, has_token

    spec = release.project.signing
    keyless = spec.by == "keyless" or (spec.by == "auto" and has_token() and not is_local(release, host))
    if keyless and not release.rehearsal:
        policy = trust_of(release, workspace, host)
        return Signing(KeylessSigner(trust_config=policy.trust_config), policy, also or running_repository())
    signer = local_signer(release, workspace, host)
    return Signing(signer, trust_of(release, workspace, host), also)


def find_signing(release: Release, workspace: Workspace, host: str, *, emit: Emit) -> Signing | None:
    """``open_signing``; None where there is nothing to sign with and the project requires no evidence.

    Raises:
        ConfigurationError: evidence is required, and there is nothing to sign it with.
    """
    try:
        return open_signing(release, workspace, host)
    except ConfigurationError as error:
        if release.project.evidence:
            raise
        emit(Note(f"{error}; nothing of this release is signed, and [evidence] requires nothing", warning=True))
        return None


def local_signer(release: Release, workspace: Workspace, host: str) -> KeySigner:
    """The key that signs on this machine: the one in the environment, else the workspace's, named as the file does.

    Raises:
        ConfigurationError: there is none, and this is no rehearsal that could make one.
    """
    place = workspace.root / KEY_PLACE
    if text := os.environ.get(KEY_VARIABLE):
        signer = parse_key(text.encode(), ENVIRONMENT_KEY, where=f"${KEY_VARIABLE}")
    elif place.exists():
        signer = load_key(place)
    elif is_local(release, host):
        workspace.prepare()
        signer = make_key(place)
    else:
        raise ConfigurationError(
            f"there is nothing to sign with: neither ${KEY_VARIABLE} nor {place}",
            hint="`shipgraph attest --print-key` makes a key; sign keyless in a job with `id-token: write`",
        )
    for key in release.project.signing.keys:
        if key.hint == signer.public.hint:
            return signer.named(key.name)
    return signer
