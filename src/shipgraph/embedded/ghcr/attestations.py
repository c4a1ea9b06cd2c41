"""GitHub's attestation store: bundles by the digests that their statements are about.

It reads bundles by itself and shares no code with the client, so that the two can't agree on a mistake. As GitHub's, it
proves nothing: whoever fetches a bundle verifies it. A bundle that comes twice is there twice.
"""

from __future__ import annotations

import base64
import binascii
import re
import sqlite3
import zlib
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlencode

import anyio.to_thread
import msgspec
from starlette.responses import Response

from shipgraph.embedded.ghcr.accounts import Pat, Workflow
from shipgraph.embedded.ghcr.api import NO_INTEGRATION, ApiRefusal, authenticated, base, document
from shipgraph.oci.manifest import encode_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.routing import Route

    from shipgraph.embedded.ghcr.accounts import Identity
    from shipgraph.embedded.ghcr.api import Api
    from shipgraph.embedded.ghcr.state import State

T = TypeVar("T")

FILE: Final = "attestations.sqlite"
MAX_BODY: Final = 16 << 20
"""Bytes of one request."""
MAX_PER_PAGE: Final = 100
REPOSITORY: Final = "repo"
"""The scope that a classic token needs to write."""
_PER_PAGE: Final = 30
_SHORT: Final = {"provenance": "https://slsa.dev/provenance/", "sbom": "https://spdx.dev/Document"}
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_NO_PAT: Final = "Resource not accessible by personal access token"
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS attestations (
  id INTEGER PRIMARY KEY AUTOINCREMENT, repository TEXT NOT NULL, predicate_type TEXT NOT NULL,
  initiator TEXT NOT NULL, bundle BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS subjects (
  digest TEXT NOT NULL, attestation INTEGER NOT NULL, PRIMARY KEY (digest, attestation)) WITHOUT ROWID;
"""
_FIND: Final = (
    "SELECT id, repository, initiator, bundle FROM subjects JOIN attestations ON id = attestation "
    "WHERE digest = ? AND id < ? AND id > ? AND substr(predicate_type, 1, length(?)) = ? "
)


class Attestations:
    """The handlers over one state; what they keep is one file in its folder, for any number of processes."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._path = state.ghcr.folder / FILE

    def routes(self, api: Api) -> list[Route]:
        """The routes to the handlers."""
        return [
            *api.route("/repos/{owner}/{repo}/attestations", self.create, "POST"),
            *api.route("/repos/{owner}/{repo}/attestations/{digest}", self.of_repository),
            *api.route("/orgs/{owner}/attestations/{digest}", self.of_owner),
            *api.route("/users/{owner}/attestations/{digest}", self.of_owner),
        ]

    async def create(self, request: Request) -> Response:
        """``POST /repos/{owner}/{repo}/attestations``: store a bundle."""
        identity = authenticated(request)
        repository = self._repository(request, identity)
        _check_write(identity, repository)
        body = await _read(request)
        try:
            sent = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ApiRefusal(400, "Problems parsing JSON") from None
        bundle = sent.get("bundle") if isinstance(sent, dict) else None
        if not isinstance(bundle, dict):
            raise ApiRefusal(422, 'Invalid request.\n\n"bundle" wasn\'t supplied.')
        predicate_type, digests = _read_bundle(bundle)

        def store(db: sqlite3.Connection) -> int | None:
            made = db.execute(
                "INSERT INTO attestations (repository, predicate_type, initiator, bundle) VALUES (?, ?, ?, ?)",
                (repository, predicate_type, identity.login, encode_json(bundle)),
            ).lastrowid
            db.executemany("INSERT INTO subjects VALUES (?, ?)", [(digest, made) for digest in sorted(digests)])
            return made

        identifier = await self._run(store)
        return Response(encode_json({"id": identifier}), 201, media_type="application/json; charset=utf-8")

    async def of_repository(self, request: Request) -> Response:
        """``GET /repos/{owner}/{repo}/attestations/{digest}``: a repository's bundles about a digest, newest first."""
        identity: Identity | None = request.state.identity
        repository = self._repository(request, identity)
        if isinstance(identity, Workflow) and identity.attestations == "none":
            raise ApiRefusal(403, NO_INTEGRATION)
        return await self._list(request, lambda name: name == repository)

    async def of_owner(self, request: Request) -> Response:
        """``GET /orgs/{org}/…`` and ``/users/{user}/…``: those of all repositories that the asker may read."""
        identity: Identity | None = request.state.identity
        owner: str = request.path_params["owner"].lower()
        if self._state.accounts().owner_type(owner) is None:
            raise ApiRefusal(404, "Not Found")
        return await self._list(
            request, lambda name: name.partition("/")[0] == owner and self._may_read(identity, name)
        )

    async def _list(self, request: Request, shown: Callable[[str], bool]) -> Response:
        digest: str = request.path_params["digest"]
        query = request.query_params
        if not _DIGEST.fullmatch(digest):
            raise ApiRefusal(422, "Invalid request.\n\nInvalid subject digest.")
        size = min(MAX_PER_PAGE, _number(query.get("per_page", "")) or _PER_PAGE)
        after = _number(query.get("after", "")) or 1 << 62
        before = _number(query.get("before", "")) or 0
        wanted = query.get("predicate_type", "")
        wanted = _SHORT.get(wanted, wanted)
        # of those before a cursor the page next to it is wanted, and shown newest first all the same
        order = "ORDER BY id ASC" if before else "ORDER BY id DESC"

        def find(db: sqlite3.Connection) -> list[tuple[int, str, str, bytes]]:
            rows = db.execute(_FIND + order, (digest, after, before, wanted, wanted))
            found: list[tuple[int, str, str, bytes]] = []
            for row in rows:
                if shown(row[1]):
                    found.append(row)
                    if len(found) > size:
                        break
            return found

        found = await self._run(find)
        more, page = len(found) > size, found[:size]
        if before:
            page.reverse()
        listed = [
            {
                "bundle": msgspec.Raw(bundle),
                "bundle_url": "",
                "initiator": initiator,
                "repository_id": zlib.crc32(name.encode()) + 1,
            }
            for _, name, initiator, bundle in page
        ]
        here = f"{base(request)}{request.url.path.removeprefix('/api/v3')}"
        said = {key: value for key, value in query.items() if key not in ("before", "after")}
        links = {}
        if page and (before or more):
            links["next"] = f"{here}?{urlencode({**said, 'after': page[-1][0]})}"
        if page and (more if before else "after" in query):
            links["prev"] = f"{here}?{urlencode({**said, 'before': page[0][0]})}"
        headers = {"Link": ", ".join(f'<{url}>; rel="{name}"' for name, url in links.items())} if links else None
        return document({"attestations": listed}, headers)

    def _repository(self, request: Request, identity: Identity | None) -> str:
        """The repository of the path, in lower case; GitHub tells nobody of one that they may not see."""
        name = f"{request.path_params['owner']}/{request.path_params['repo']}".lower()
        if not self._may_read(identity, name):
            raise ApiRefusal(404, "Not Found")
        return name

    def _may_read(self, identity: Identity | None, repository: str) -> bool:
        accounts = self._state.accounts()
        if not accounts.knows(repository):
            return False
        if accounts.is_public(repository):
            return True
        if isinstance(identity, Workflow):
            return identity.repository.lower() == repository
        return identity is not None and identity.rules(repository.partition("/")[0])

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def blocking() -> T:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._path, timeout=60)) as db:
                db.executescript(_SCHEMA)
                with db:
                    return work(db)

        return await anyio.to_thread.run_sync(blocking)


def _check_write(identity: Identity, repository: str) -> None:
    if isinstance(identity, Workflow):
        if identity.attestations != "write" or identity.repository.lower() != repository:
            raise ApiRefusal(403, NO_INTEGRATION)
    elif isinstance(identity, Pat) and not (
        REPOSITORY in identity.scopes and identity.rules(repository.partition("/")[0])
    ):
        raise ApiRefusal(403, _NO_PAT)


async def _read(request: Request) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > MAX_BODY:
            raise ApiRefusal(413, "Request body is too large")
        parts.append(piece)
    return b"".join(parts)


def _read_bundle(bundle: dict[str, Any]) -> tuple[str, set[str]]:
    """The predicate's type and the subjects' digests.

    Raises:
        ApiRefusal: it isn't a Sigstore bundle with an in-toto statement about something.
    """

    def wrong(why: str) -> ApiRefusal:
        return ApiRefusal(422, f"Invalid attestation bundle: {why}")

    kind = bundle.get("mediaType")
    if not isinstance(kind, str) or not kind.startswith("application/vnd.dev.sigstore.bundle"):
        raise wrong("the media type is not one of a Sigstore bundle")
    if not isinstance(bundle.get("verificationMaterial"), dict):
        raise wrong("there is no verification material")
    envelope = bundle.get("dsseEnvelope")
    if not isinstance(envelope, dict) or envelope.get("payloadType") != "application/vnd.in-toto+json":
        raise wrong("there is no envelope with an in-toto statement")
    try:
        statement = msgspec.json.decode(base64.b64decode(str(envelope.get("payload")), validate=True))
    except (binascii.Error, ValueError, msgspec.DecodeError, RecursionError):
        raise wrong("the statement can't be read") from None
    if not isinstance(statement, dict) or not isinstance(statement.get("predicateType"), str):
        raise wrong("the statement has no predicate type")
    subjects = statement.get("subject")
    named = [one.get("digest") for one in subjects if isinstance(one, dict)] if isinstance(subjects, list) else []
    digests = {f"sha256:{one.get('sha256')}" for one in named if isinstance(one, dict)}
    if not digests or not all(_DIGEST.fullmatch(digest) for digest in digests):
        raise wrong("the statement has no subjects with SHA-256 digests")
    return statement["predicateType"], digests


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else None
