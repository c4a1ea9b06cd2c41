"""What the client asks and understands is what GitHub's OpenAPI description says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

import jsonschema
import pytest
import requests
import urllib3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.evidence.made import AMD64, good, new_signer
from tests.unit.ghcr.conftest import ADMIN, PUBLIC, STARTER

from shipgraph.evidence.predicates import PROVENANCE
from shipgraph.evidence.requirements import Kind
from shipgraph.github.api import GitHubApi
from shipgraph.github.attestations import GitHubAttestations
from shipgraph.github.packages import Packages, find_owner
from shipgraph.github.runs import dispatch, find_attempt
from shipgraph.remote.transport import Headers, PooledTransport

from .conftest import DOCUMENT, RUN, SCHEMA
from .description import PATHS

if TYPE_CHECKING:
    from tests.unit.ghcr.conftest import Rehearsal

    from shipgraph.remote.transport import Request

pytestmark = pytest.mark.real  # the description is fetched

TEMPLATES = sorted(PATHS, key=lambda path: -path.count("/"))


class Recording:
    """The real transport, with every exchange kept."""

    def __init__(self) -> None:
        self._inner = PooledTransport()
        self.kept: list[tuple[Request, int, Headers, bytes]] = []

    def exchange(self, request: Request) -> Any:
        response = self._inner.exchange(request)
        body = b""
        while piece := response.read(1 << 20):
            body += piece
        response.close()
        self.kept.append((request, response.status, response.headers, body))
        return _Read(response.status, response.headers, body)

    def close(self) -> None:
        self._inner.close()


class _Read:
    def __init__(self, status: int, headers: Headers, body: bytes) -> None:
        self.status, self.headers, self._body = status, headers, body

    def read(self, limit: int) -> bytes:
        piece, self._body = self._body[:limit], self._body[limit:]
        return piece

    def close(self) -> None:
        """It was read to its end."""


async def test_all_that_the_client_sends_and_gets_is_described(filled: Rehearsal) -> None:
    recording = Recording()
    for token in (ADMIN, PUBLIC):
        api = GitHubApi(token, base=f"http://{filled.address}/api/v3", transport=recording, clock=filled.clock)
        packages = Packages(api, await find_owner(api, "acme"))
        people = Packages(api, await find_owner(api, "alice"))
        if token == ADMIN:
            assert [package.name for package in await packages.all()] == ["app", "deep/name"]
            assert [package.name for package in await people.all()] == ["own", "shown"]
            assert await packages.get("deep/name") is not None
        assert await packages.get("absent") is None
        assert await people.get("shown") is not None
        version = (await packages.versions("app"))[0]
        assert await packages.versions("app", state="deleted")
        assert await packages.delete_version("app", version.id)
        await packages.restore_version("app", version.id)
        assert not await packages.delete_version("app", 10**6)
        await packages.delete_package("app")
        await packages.restore_package("app")
    api = GitHubApi(PUBLIC, base=f"http://{filled.address}/api/v3", transport=recording, clock=filled.clock)
    attestations = GitHubAttestations(api, "acme/app")
    (bundle,) = await new_signer().sign([good(Kind.PROVENANCE)])
    await attestations.publish(bundle)
    assert len(await attestations.bundles(AMD64, PROVENANCE)) == 1
    assert await find_attempt(api, "acme/app", RUN, 1) is not None
    starter = GitHubApi(STARTER, base=f"http://{filled.address}/api/v3", transport=recording, clock=filled.clock)
    await dispatch(starter, "acme/app", "release.yml", "main", {"operation": "auto"}, web="https://github.com")
    recording.close()
    asked = {_check(exchange) for exchange in recording.kept}
    assert len(asked) >= 14


def _check(exchange: tuple[Request, int, Headers, bytes]) -> str:
    """Whether an exchange is described: path, method, query, and the answer's document. Returns its operation."""
    request, status, headers, body = exchange
    parts = urlsplit(request.url)
    path = parts.path.removeprefix("/api/v3")
    if path == "/user":  # described elsewhere, in a length that the client does not need
        return "GET /user"
    template = next(found for found in TEMPLATES if _fits(found, path))
    operation = SCHEMA[template][request.method]
    described = {parameter.name: parameter for parameter in operation.query}
    for name, values in parse_qs(parts.query).items():
        # GET /users/{username}/packages/…/versions is described without paging, and pages all the same
        assert name in described or (template.startswith("/users/") and name in {"page", "per_page", "state"}), name
        assert len(values) == 1
    answer = requests.Response()
    answer.status_code, answer._content = status, body
    answer.headers.update(headers)
    answer.raw = urllib3.HTTPResponse(headers=dict(headers), status=status)
    if request.body is not None:
        assert isinstance(request.body, bytes)
        described_body = DOCUMENT["paths"][template][request.method.lower()]["requestBody"]
        schema = described_body["content"]["application/json"]["schema"]
        jsonschema.validate(json.loads(request.body), schema)
    answer.request = requests.Request(request.method, request.url).prepare()
    operation.validate_response(answer)
    return f"{request.method} {template}"


def _fits(template: str, path: str) -> bool:
    wanted, given = template.split("/"), path.split("/")
    return len(wanted) == len(given) and all(
        one.startswith("{") or one == unquote(other) for one, other in zip(wanted, given, strict=True)
    )


@settings(max_examples=200, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
@pytest.mark.parametrize("kind", ["package", "package-version"])
def test_what_is_optional_may_be_missing(kind: str, data: st.DataObject) -> None:
    import msgspec

    from shipgraph.github.packages import ContainerPackage, PackageVersion

    document = _document(DOCUMENT["components"]["schemas"][kind], data)
    known = ContainerPackage if kind == "package" else PackageVersion
    parsed: Any = msgspec.json.decode(msgspec.json.encode(document), type=known)
    assert parsed.id == document["id"]


def _document(schema: dict[str, Any], data: st.DataObject) -> Any:
    """Some document that a schema describes."""
    while "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if schema.get("nullable") and data.draw(st.booleans()):
        return None
    if "enum" in schema:
        return data.draw(st.sampled_from(schema["enum"]))
    kind = schema.get("type", "object")
    if kind == "object":
        required = schema.get("required", ())
        return {
            name: _document(inner, data)
            for name, inner in schema.get("properties", {}).items()
            if name in required or data.draw(st.booleans())
        }
    if kind == "array":
        return [_document(schema["items"], data) for _ in range(data.draw(st.integers(0, 2)))]
    if schema.get("format") == "date-time":
        return data.draw(st.sampled_from(["2011-04-10T20:09:31Z", "2014-03-03T18:58:10+01:00"]))
    made = {"string": st.text(max_size=8), "integer": st.integers(0, 1 << 40), "boolean": st.booleans()}
    return data.draw(made.get(kind, st.none()))
