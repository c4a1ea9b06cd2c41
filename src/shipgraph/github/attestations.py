"""GitHub's attestation store, as a client: bundles by the digest of their subject.

What one has to know about it: it keeps what it is given and proves nothing, so whatever comes out of it is verified as
if a stranger had sent it. The same bundle sent twice is there twice, and does no harm. It is meant for bundles that a
workflow signed with its identity; ``gh attestation verify`` looks here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import anyio.to_thread
import msgspec

from shipgraph.errors import ConfigurationError, ContentError, Denied, NotFound, RegistryError, Rejected
from shipgraph.evidence.bundle import MAX_BUNDLE, Bundle, parse_bundle
from shipgraph.evidence.predicates import PREDICATE_TYPES
from shipgraph.evidence.referrers import MOST_BUNDLES, Finding
from shipgraph.evidence.refusals import EvidenceUntrusted
from shipgraph.evidence.verify import verify_evidence
from shipgraph.oci.distribution import parse_next_link
from shipgraph.remote.url import join, origin, redact

if TYPE_CHECKING:
    from datetime import datetime

    from shipgraph.evidence.requirements import Kind
    from shipgraph.evidence.trust import SignerRule, TrustPolicy
    from shipgraph.evidence.verify import Verified
    from shipgraph.github.api import ApiReply, GitHubApi
    from shipgraph.oci.digest import Digest

_PAGE: Final = 100
_NULL: Final = msgspec.Raw(b"null")


class _Stored(msgspec.Struct, frozen=True):
    id: int = 0


class _Attestation(msgspec.Struct, frozen=True):
    bundle: msgspec.Raw = _NULL


class _Attestations(msgspec.Struct, frozen=True):
    attestations: tuple[_Attestation, ...] = ()


class GitHubAttestations:
    """The attestation store of one repository (``OWNER/NAME``): an ``AttestationStore`` for the stage that attests.

    Raises:
        ConfigurationError: that is no repository's name.
    """

    def __init__(self, api: GitHubApi, repository: str) -> None:
        owner, slash, name = repository.partition("/")
        if not slash or not owner or not name or "/" in name:
            raise ConfigurationError(f"{repository[:100]!r} is not a repository of GitHub", allowed="OWNER/NAME")
        self._api, self.repository = api, repository
        self._path = f"/repos/{quote(owner, safe='')}/{quote(name, safe='')}/attestations"

    async def publish(self, bundle: Bundle) -> None:
        """Store a bundle under its subjects' digests; fine if it is there.

        Where an answer got lost, the store is asked whether the bundle has arrived before it is sent again.

        Raises:
            Denied: the token may not; the hint says which permission it lacks.
            Rejected: the store doesn't take this bundle.
            RegistryUnavailable, RegistryError
        """
        what = f"attestation store of {self.repository}"
        if len(bundle.raw) > MAX_BUNDLE:
            raise Rejected(f"{what}: a bundle of {len(bundle.raw)} bytes is more than the {MAX_BUNDLE} it may have")

        async def arrived() -> ApiReply | None:
            return await self._look_for(bundle)

        try:
            reply = await self._api.send(what, "POST", self._path, {"bundle": msgspec.Raw(bundle.raw)}, unless=arrived)
        except (Denied, NotFound) as error:
            if error.status != 401:
                error.hint = _hint(self.repository, "write")
            raise
        if reply.status == 201:
            reply.decode(_Stored, what)

    async def bundles(self, digest: Digest, predicate_type: str | None = None) -> list[Bundle | ContentError]:
        """The bundles about a digest, newest first and at most 200; one that can't be read comes as its error.

        Raises:
            Denied, Rejected, RegistryUnavailable, RegistryError, MalformedDocument
        """
        return [_parse(one, digest) for one in await self._list(digest, predicate_type)]

    async def find(
        self,
        digest: Digest,
        kind: Kind,
        policy: TrustPolicy,
        *,
        rule: SignerRule | None = None,
        at: datetime | None = None,
    ) -> Finding:
        """Trusted evidence of a kind about a digest, or why there is none.

        Raises:
            RegistryError: GitHub gave no clear answer; that is not the same as no evidence.
        """

        def check(bundle: Bundle | ContentError) -> Verified:
            if isinstance(bundle, ContentError):
                raise bundle
            verified = verify_evidence(bundle, policy, digest, kind, at=at)
            if rule is not None:
                rule.check(verified.signer)
            return verified

        reasons: list[str] = []
        for bundle in await self.bundles(digest, PREDICATE_TYPES[kind]):
            try:
                return Finding(await anyio.to_thread.run_sync(check, bundle))
            except (EvidenceUntrusted, ContentError) as error:
                reasons.append(str(error))
        return Finding(None, tuple(reasons))

    async def _list(self, digest: Digest, predicate_type: str | None) -> list[_Attestation]:
        what = f"attestations of {self.repository} about {digest}"
        query: dict[str, str | int] = {"per_page": _PAGE}
        if predicate_type is not None:
            query["predicate_type"] = predicate_type
        try:
            page = await self._api.get(what, f"{self._path}/{digest}", query)
        except NotFound:  # an answer for no attestations as well as for no repository
            return []
        except Denied as error:
            if error.status != 401:
                error.hint = _hint(self.repository, "read")
            raise
        found = list(page.decode(_Attestations, what).attestations)
        while len(found) < MOST_BUNDLES and (link := parse_next_link(page.headers.get("Link", ""))) is not None:
            target = join(page.url, link)
            if origin(target) != origin(self._api.base):
                raise RegistryError(f"{what}: the list's pages lead nowhere", url=redact(target))
            page = await self._api.send(what, "GET", target)
            more = page.decode(_Attestations, what).attestations
            if not more:
                break
            found += more
        return found[:MOST_BUNDLES]

    async def _look_for(self, bundle: Bundle) -> ApiReply | None:
        """The answer that lists the bundle, if it is there: it is known by its signature over its statement."""
        subjects = msgspec.json.decode(bundle.envelope.payload, type=_Subjects).subject
        digest = next((one.digest["sha256"] for one in subjects if "sha256" in one.digest), None)
        if digest is None:
            return None
        what = f"attestations of {self.repository}"
        try:
            page = await self._api.get(what, f"{self._path}/sha256:{digest}", {"per_page": _PAGE})
        except NotFound:
            return None
        for one in page.decode(_Attestations, what).attestations:
            found = _parse(one, None)
            if isinstance(found, Bundle) and found.envelope == bundle.envelope:
                return page
        return None


class _Subject(msgspec.Struct, frozen=True):
    digest: dict[str, str] = {}


class _Subjects(msgspec.Struct, frozen=True):
    subject: tuple[_Subject, ...] = ()


def _parse(one: _Attestation, digest: Digest | None) -> Bundle | ContentError:
    where = f"attestation of {digest}"
    if one.bundle == _NULL:
        return ContentError(f"{where} has its bundle somewhere else than in GitHub's answer")
    try:
        return parse_bundle(bytes(one.bundle), where=where)
    except ContentError as error:
        return error


def _hint(repository: str, right: str) -> str:
    """What to do where GitHub refuses; a repository that the token may not see is not there for it."""
    return (
        f"the job needs `permissions: attestations: {right}`, and the token must belong to {repository};"
        " a classic personal token needs the scope repo"
    )
