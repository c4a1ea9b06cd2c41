"""Errors as answers: distribution specification 1.1, § Error Codes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from shipgraph.embedded.headers import Refusal
from shipgraph.errors import (
    Denied,
    DigestMismatch,
    DiskFull,
    InvalidReference,
    MalformedDocument,
    NotFound,
    RegistryError,
    Rejected,
    ShipgraphError,
    TagMoved,
)
from shipgraph.oci.distribution import ErrorCode
from shipgraph.oci.manifest import encode_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

JSON: Final = "application/json"

_TABLE: Final[tuple[tuple[type[ShipgraphError], int, ErrorCode], ...]] = (
    (NotFound, 404, ErrorCode.NAME_UNKNOWN),
    (TagMoved, 412, ErrorCode.PRECONDITION_FAILED),
    (DigestMismatch, 400, ErrorCode.DIGEST_INVALID),
    (MalformedDocument, 400, ErrorCode.MANIFEST_INVALID),
    (InvalidReference, 400, ErrorCode.NAME_INVALID),
    (Rejected, 400, ErrorCode.MANIFEST_INVALID),
    (Denied, 403, ErrorCode.DENIED),
    (DiskFull, 507, ErrorCode.UNKNOWN),
    (RegistryError, 503, ErrorCode.UNKNOWN),
)
"""The first that fits counts; an error that carries a code of its own keeps it."""


def error(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """An answer with the specification's error body."""
    body = encode_json({"errors": [{"code": code, "message": message, "detail": None}]})
    return Response(body, status, headers, media_type=JSON)


async def answer_refusal(_: Request, refusal: Exception) -> Response:
    """The answer to a ``Refusal``."""
    assert isinstance(refusal, Refusal)  # noqa: S101 (it is registered for that class)
    return error(refusal.status, refusal.code, refusal.message, refusal.headers)


async def answer_error(request: Request, failure: Exception) -> Response:
    """The answer to any error that shipgraph raises on purpose."""
    for kind, status, code in _TABLE:
        if isinstance(failure, kind):
            own = failure.codes[0] if isinstance(failure, RegistryError) and failure.codes else code
            if status >= 500:
                _log(request, failure)
            return error(status, own, str(failure))
    return await answer_bug(request, failure)


async def answer_http(_: Request, failure: Exception) -> Response:
    """The answer to what the router refuses: 404 and 405."""
    assert isinstance(failure, HTTPException)  # noqa: S101 (it is registered for that class)
    code = ErrorCode.UNSUPPORTED if failure.status_code == 405 else ErrorCode.NAME_UNKNOWN
    return error(failure.status_code, code, str(failure.detail), failure.headers)


async def answer_bug(request: Request, failure: Exception) -> Response:
    """The answer to an error that nobody foresaw; what it was goes to the log, not to the client."""
    _log(request, failure)
    return error(500, ErrorCode.UNKNOWN, "internal error of the registry; its log says more")


async def answer_nobody(_: Request, __: Exception) -> Response:
    """The client has gone; whatever is answered is not heard."""
    return Response(status_code=400)


def _log(request: Request, failure: Exception) -> None:
    logging.getLogger("shipgraph.embedded").error(
        "%s %s failed: %s", request.method, request.url.path, failure, exc_info=failure
    )
