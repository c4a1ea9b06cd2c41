"""From a registry's answer to an error by cause (distribution specification 1.1, § Error Codes).

The rule that everything else rests on: *unknown is never absent*. ``NotFound`` is raised only where a 404 is certain.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from shipgraph.errors import Denied, NotFound, RegistryError, RegistryUnavailable, Rejected
from shipgraph.oci.distribution import ErrorCode
from shipgraph.remote.retry import is_transient
from shipgraph.remote.url import redact

if TYPE_CHECKING:
    from shipgraph.remote.session import Call, Reply

ERROR_BODY: Final = 64 << 10
"""Bytes; more of an error's body is never read."""
_DETAIL: Final = 300
_MAX_CODES: Final = 8
_ABSENT: Final = frozenset({ErrorCode.MANIFEST_UNKNOWN, ErrorCode.NAME_UNKNOWN, ErrorCode.BLOB_UNKNOWN})
_CODE: Final = re.compile(r"[A-Za-z0-9_]{1,64}", re.ASCII)
_URL: Final = re.compile(r"https?://[^\s\"'<>]+")


@dataclass(frozen=True, slots=True)
class Explanation:
    """What an error's body says: codes, a text fit to be shown, and whether it is an HTML page of something between."""

    codes: tuple[str, ...] = ()
    text: str = ""
    html: bool = False


def explain(reply: Reply) -> Explanation:
    """Read an error's body; whatever it is, this doesn't fail."""
    html = "html" in reply.headers.get("Content-Type", "").lower() or reply.body.lstrip()[:1] == b"<"
    if html:
        return Explanation(text="an HTML page, not a registry's answer", html=True)
    try:
        document = msgspec.json.decode(reply.body) if reply.body.strip() else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Explanation(text=_clean(reply.body.decode("utf-8", "replace")))
    errors = document.get("errors") if isinstance(document, dict) else None
    found = [item for item in errors if isinstance(item, dict)] if isinstance(errors, list) else []
    named = dict.fromkeys(str(item.get("code", "")).upper() for item in found[:_MAX_CODES])
    codes = tuple(code for code in named if _CODE.fullmatch(code))
    texts = [_text(item) for item in found[:3]]
    if not found and isinstance(document, dict):  # token servers: {"details": …}, GitHub: {"message": …}
        texts = [value for key in ("message", "details", "error_description", "error") if (value := document.get(key))]
    return Explanation(codes, _clean("; ".join(str(text) for text in texts if text)))


def failure(call: Call, reply: Reply) -> RegistryError:
    """The error that an unwanted answer means for a call."""
    told = explain(reply)
    kind, hint = _kind(call, reply, told)
    return kind(
        f"{call.what}: {_REASON.get(kind, 'the answer makes no sense')}",
        method=call.method,
        url=redact(reply.url),
        status=reply.status,
        codes=told.codes,
        detail=told.text,
        hint=hint,
    )


def is_absent(reply: Reply) -> bool:
    """Whether a 404 says for certain that the thing is not there: by its code, or by having no body at all."""
    if reply.status != 404:
        return False
    told = explain(reply)
    if told.html or "accept header" in told.text.lower():
        return False
    return bool(_ABSENT & set(told.codes)) or not reply.body.strip()


_REASON: Final[dict[type[RegistryError], str]] = {
    Denied: "not allowed",
    NotFound: "not there",
    Rejected: "refused",
    RegistryUnavailable: "no usable answer",
}


def _kind(call: Call, reply: Reply, told: Explanation) -> tuple[type[RegistryError], str]:
    status = reply.status
    if status == 507:
        return RegistryUnavailable, "the registry's disk is full: free some room there, then run the same command again"
    if is_transient(status, reply.body):
        return RegistryUnavailable, ""
    if status in {401, 403}:
        return Denied, ""
    if status == 404:
        if not call.writes and is_absent(reply):
            return NotFound, ""
        if told.html:  # something between us and the registry
            return RegistryUnavailable, "check the registry's name and any proxy, then run the same command again"
        return (Rejected if told.codes else RegistryError), ""
    if status == 412:
        return Rejected, ""
    if 300 <= status < 400:
        return Rejected, "the registry redirects where the specification knows no redirect"
    if 400 <= status < 500:
        return Rejected, ""
    return RegistryError, ""


def _text(item: dict[str, Any]) -> str:
    message, detail = item.get("message"), item.get("detail")
    text = str(message) if message else ""
    if isinstance(detail, str) and detail and detail not in text:
        text = f"{text} ({detail})" if text else detail
    return text


def _clean(text: str) -> str:
    """One printable line of bounded length, its URLs redacted."""
    line = "".join(char if char.isprintable() else " " for char in text[: 4 * _DETAIL])
    line = _URL.sub(lambda match: redact(match[0]), " ".join(line.split()))
    return line if len(line) <= _DETAIL else line[: _DETAIL - 1] + "…"
