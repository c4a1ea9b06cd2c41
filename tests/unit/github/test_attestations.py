"""The client of GitHub's attestation store against the rehearsal's."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.evidence.made import AMD64, ARM64, good, new_signer, policy_of
from tests.unit.ghcr.conftest import ADMIN, BAD, MUTE, ONLOOKER, OTHER, PRIVATE, PUBLIC, STRANGER, WRITER
from tests.unit.github.test_packages import Canned, bench

from shipgraph.errors import ConfigurationError, ContentError, Denied, NotFound, RegistryUnavailable, Rejected
from shipgraph.evidence.bundle import MAX_BUNDLE, Bundle
from shipgraph.evidence.predicates import PROVENANCE
from shipgraph.evidence.requirements import Kind
from shipgraph.evidence.trust import SignerRule
from shipgraph.github.api import GitHubApi
from shipgraph.github.attestations import GitHubAttestations
from shipgraph.oci.digest import Digest
from shipgraph.remote import RetryPolicy, TransportFailure
from shipgraph.remote.transport import PooledTransport

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.github.test_packages import Bench

    from shipgraph.remote.transport import Request

pytestmark = pytest.mark.anyio
SIGNER = new_signer()


async def store(at: Bench, token: str | None = PUBLIC, repository: str = "acme/app", **more: Any) -> GitHubAttestations:
    return GitHubAttestations(await at.api(token, **more), repository)


async def signed(kind: Kind = Kind.PROVENANCE, *digests: Digest) -> Bundle:
    (bundle,) = await SIGNER.sign([good(kind, *digests)])
    return bundle


async def test_what_was_published_is_found_by_each_subject_and_kind_and_verified(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        client = await store(at)
        await client.publish(await signed(Kind.PROVENANCE, AMD64, ARM64))
        await client.publish(await signed(Kind.GATE, AMD64))
        for digest in (AMD64, ARM64):
            found = await client.find(digest, Kind.PROVENANCE, policy_of(SIGNER))
            assert found.verified is not None
            assert found.verified.signer.name == "key release"
        assert (await client.find(AMD64, Kind.GATE, policy_of(SIGNER))).verified is not None
        assert (await client.find(ARM64, Kind.GATE, policy_of(SIGNER))).verified is None
        assert len(await client.bundles(AMD64)) == 2
        assert len(await client.bundles(AMD64, PROVENANCE)) == 1
        assert await client.bundles(Digest.of(b"something else")) == []


async def test_what_the_store_says_is_not_believed(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        client = await store(at)
        await client.publish(await signed())
        stranger = await client.find(AMD64, Kind.PROVENANCE, policy_of(new_signer("another")))
        assert stranger.verified is None
        assert "doesn't trust" in stranger.reasons[0]
        ruled = await client.find(AMD64, Kind.PROVENANCE, policy_of(SIGNER), rule=SignerRule(keys=("boss",)))
        assert ruled.verified is None


async def test_a_bundle_that_was_changed_is_no_evidence_and_hides_no_other(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        client = await store(at)
        await client.publish(await signed())
        document = json.loads((await signed()).raw)
        statement = json.loads(base64.b64decode(document["dsseEnvelope"]["payload"]))
        statement["predicate"]["forged"] = True
        document["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
        body = json.dumps({"bundle": document})
        sent = await at.server.send("POST", "/repos/acme/app/attestations", body, token=PUBLIC)
        assert sent.status == 201
        assert len(await client.bundles(AMD64)) == 2
        assert (await client.find(AMD64, Kind.PROVENANCE, policy_of(SIGNER))).verified is not None


@pytest.mark.parametrize("token", [MUTE, ONLOOKER, OTHER, ADMIN])
async def test_who_may_not_write_is_told_the_permission(tmp_path: Path, token: str) -> None:
    async with bench(tmp_path) as at:
        with pytest.raises(Denied, match="not accessible") as denied:
            await (await store(at, token)).publish(await signed())
        assert "attestations: write" in denied.value.hint
        assert await (await store(at)).bundles(AMD64) == []


async def test_who_may_read_is_asked_too(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        await (await store(at)).publish(await signed())
        assert len(await (await store(at, ONLOOKER)).bundles(AMD64)) == 1
        with pytest.raises(Denied) as denied:
            await (await store(at, MUTE)).bundles(AMD64)
        assert "attestations: read" in denied.value.hint


async def test_a_token_that_has_expired_is_named_as_such(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        with pytest.raises(Denied) as denied:
            await (await store(at, BAD)).publish(await signed())
        assert "expired" in denied.value.hint


async def test_nobody_learns_of_a_private_repository(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        await (await store(at, PRIVATE, "acme/secret")).publish(await signed())
        with pytest.raises(NotFound):
            await (await store(at, STRANGER, "acme/secret")).publish(await signed())
        assert await (await store(at, STRANGER, "acme/secret")).bundles(AMD64) == []
        assert await (await store(at, None, "acme/secret")).bundles(AMD64) == []
        assert len(await (await store(at, PRIVATE, "acme/secret")).bundles(AMD64)) == 1


async def test_an_owner_shows_those_of_the_repositories_that_one_may_see(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        await (await store(at, PRIVATE, "acme/secret")).publish(await signed())
        await (await store(at, WRITER)).publish(await signed())
        for form in ("orgs", "users"):
            path = f"/{form}/acme/attestations/{AMD64}"
            for token, wanted in ((WRITER, 2), (STRANGER, 1), ("", 1)):
                status, found = await at.server.api("GET", path, token)
                assert (status, len(found["attestations"])) == (200, wanted)


class Losing:
    """The real transport; the answers of some requests get lost, though the server has done what was asked."""

    def __init__(self, *lost: int) -> None:
        self._inner, self._lost = PooledTransport(), lost
        self.sent: list[str] = []

    def exchange(self, request: Request) -> Any:
        self.sent.append(request.method)
        response = self._inner.exchange(request)
        if len(self.sent) - 1 in self._lost:
            response.close()
            raise TransportFailure("the connection broke")
        return response

    def close(self) -> None:
        self._inner.close()


async def test_a_lost_answer_leaves_one_attestation(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        transport = Losing(0)
        client = await store(at, transport=transport)
        await client.publish(await signed())
        assert transport.sent == ["POST", "GET"]
        assert len(await client.bundles(AMD64)) == 1
        transport.close()


async def test_a_request_that_never_arrived_is_sent_again(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        await (await store(at)).publish(await signed(Kind.GATE))  # another bundle about the same is not taken for it

        class Failing(Losing):
            def exchange(self, request: Request) -> Any:
                if not self.sent:
                    self.sent.append("nothing")
                    raise TransportFailure("no route")
                return super().exchange(request)

        transport = Failing()
        await (await store(at, transport=transport)).publish(await signed())
        assert transport.sent == ["nothing", "GET", "POST"]
        assert len(await (await store(at)).bundles(AMD64)) == 2
        transport.close()


async def test_retries_end() -> None:
    async def sleep(_: float) -> None:
        return None

    broken: tuple[int, dict[str, str], bytes] = (502, {}, b"<html>")
    canned = Canned(broken, (200, {}, b'{"attestations": []}'), broken, (404, {}, b"{}"), broken)
    api = GitHubApi("x", transport=canned, retries=RetryPolicy(attempts=3, sleep=sleep))
    with pytest.raises(RegistryUnavailable):
        await GitHubAttestations(api, "acme/app").publish(await signed())
    assert [request.method for request in canned.requests] == ["POST", "GET", "POST", "GET", "POST"]


async def test_all_pages_are_read_up_to_a_bound(tmp_path: Path) -> None:
    async with bench(tmp_path, api_points=0) as at:
        client = await store(at)
        for number in range(130):
            await client.publish(await signed(Kind.PROVENANCE, AMD64, Digest.of(b"%d" % number)))
        found = await client.bundles(AMD64)
        assert len(found) == 130
        newest = found[0]
        assert isinstance(newest, Bundle)
        assert Digest.of(b"129").hex.encode() in newest.envelope.payload


async def test_pages_lead_back_as_they_led_on(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        for number in range(5):
            await (await store(at)).publish(await signed(Kind.PROVENANCE, AMD64, Digest.of(b"%d" % number)))

        async def page(query: str) -> tuple[list[str], str]:
            answer = await at.server.send(
                "GET", f"/repos/acme/app/attestations/{AMD64}?per_page=2{query}", token=PUBLIC
            )
            found = [one["bundle"]["dsseEnvelope"]["payload"] for one in json.loads(answer.data)["attestations"]]
            return found, answer.headers.get("Link", "")

        first, link = await page("")
        assert 'rel="next"' in link
        assert 'rel="prev"' not in link
        cursor = link.partition("after=")[2].partition(">")[0]
        second, link = await page(f"&after={cursor}")
        assert not set(first) & set(second)
        cursor = link.partition("before=")[2].partition(">")[0]
        assert (await page(f"&before={cursor}"))[0] == first


async def test_a_page_somewhere_else_is_not_followed() -> None:
    link = {"Link": '<https://evil.example/attestations>; rel="next"'}
    canned = Canned((200, link, b'{"attestations": []}'))
    with pytest.raises(Exception, match="lead nowhere"):
        await GitHubAttestations(GitHubApi("x", transport=canned), "acme/app").bundles(AMD64)
    assert len(canned.requests) == 1


async def test_what_is_no_bundle_comes_as_an_error_and_a_bundle_elsewhere_too() -> None:
    canned = Canned((200, {}, b'{"attestations": [{"bundle": {"mediaType": "x"}}, {"bundle": null}, {}]}'))
    found = await GitHubAttestations(GitHubApi("x", transport=canned), "acme/app").bundles(AMD64)
    assert all(isinstance(one, ContentError) for one in found)
    assert ["somewhere else" in str(one) for one in found] == [False, True, True]


async def test_a_bundle_that_is_too_big_is_not_sent() -> None:
    canned = Canned()
    bundle = await signed()
    big = Bundle(bundle.raw + b" " * MAX_BUNDLE, bundle.envelope, bundle.key_hint, None)
    with pytest.raises(Rejected, match="more than"):
        await GitHubAttestations(GitHubApi("x", transport=canned), "acme/app").publish(big)
    assert canned.requests == []


@pytest.mark.parametrize("name", ["", "acme", "/app", "acme/", "acme/app/more"])
def test_a_repository_has_an_owner_and_a_name(name: str) -> None:
    with pytest.raises(ConfigurationError):
        GitHubAttestations(GitHubApi("x", transport=Canned()), name)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 422),
        (b'{"bundle": 1}', 422),
        (b'{"bundle": {}}', 422),
        (b'{"bundle": {"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json"}}', 422),
    ],
)
async def test_the_store_refuses_what_is_no_bundle(tmp_path: Path, body: bytes, status: int) -> None:
    async with bench(tmp_path) as at:
        answer = await at.server.send("POST", "/repos/acme/app/attestations", body, token=PUBLIC)
        assert answer.status == status


@pytest.mark.parametrize("subject", [[], [{}], [{"digest": {"sha1": "x"}}], [{"digest": {"sha256": "short"}}], 5])
async def test_the_store_refuses_a_statement_about_nothing(tmp_path: Path, subject: Any) -> None:
    async with bench(tmp_path) as at:
        document = json.loads((await signed()).raw)
        statement = {"predicateType": PROVENANCE, "subject": subject}
        document["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
        body = json.dumps({"bundle": document})
        answer = await at.server.send("POST", "/repos/acme/app/attestations", body, token=PUBLIC)
        assert answer.status == 422
