"""Referrers: distribution specification 1.1, § Listing Referrers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

from starlette.responses import Response
from starlette.routing import Route

from shipgraph.embedded.headers import digest_of
from shipgraph.oci.distribution import HEADER_FILTERS
from shipgraph.oci.manifest import build_index, encode_json
from shipgraph.oci.reference import check_repository

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

    from shipgraph.embedded.backend import Backend
    from shipgraph.oci.descriptor import Descriptor

PAGE: Final = 1000
"""Descriptors on one page."""
PAGE_BYTES: Final = 2 << 20
"""Bytes of them: an answer must not be larger than an index may be (4 MiB)."""


class Referrers:
    """The handler over one backend."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def routes(self) -> list[Route]:
        """The route to the handler."""
        return [Route("/v2/{name:path}/referrers/{digest}", self.list, methods=["GET"])]

    async def list(self, request: Request) -> Response:
        """An index of what refers to a digest; empty where nothing does, or where the digest is not there.

        What is too much for one answer comes in pages, in the order of the digests; ``Link`` leads to the next.
        """
        name, digest = check_repository(request.path_params["name"]), digest_of(request.path_params["digest"])
        wanted = request.query_params.get("artifactType")
        found = await self._backend.referrers(name, digest, wanted)
        page, last = _page(sorted(found, key=lambda one: str(one.digest)), request.query_params.get("last", ""))
        headers = {} if wanted is None else {HEADER_FILTERS: "artifactType"}
        if last:
            query = urlencode(({} if wanted is None else {"artifactType": wanted}) | {"last": last})
            headers["Link"] = f'<{quote(request.url.path)}?{query}>; rel="next"'
        index = build_index(page)
        return Response(index.raw, headers=headers, media_type=index.media_type)


def _page(found: Sequence[Descriptor], after: str) -> tuple[list[Descriptor], str]:
    """The page that follows a digest, and the last digest on it where more follow."""
    page: list[Descriptor] = []
    size = 0
    for one in found:
        if str(one.digest) <= after:
            continue
        size += len(encode_json(one.to_json())) + 1
        if page and (size > PAGE_BYTES or len(page) == PAGE):
            return page, str(page[-1].digest)
        page.append(one)
    return page, ""
