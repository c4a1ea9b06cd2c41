"""In-toto statements, version 1: who says what about which digests (in-toto/attestation, spec/v1/statement.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from shipgraph.errors import MalformedDocument

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shipgraph.oci.digest import Digest

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
MOST_SUBJECTS: Final = 1024


@dataclass(frozen=True, slots=True)
class StatementSubject:
    """What a statement is about: a name for people, and hexadecimal digests by algorithm."""

    name: str
    digests: Mapping[str, str]

    def is_(self, digest: Digest) -> bool:
        """Whether this is the content of that digest."""
        return self.digests.get(digest.algorithm) == digest.hex


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement: its exact bytes, and what they say."""

    raw: bytes
    subjects: tuple[StatementSubject, ...]
    predicate_type: str
    predicate: Mapping[str, Any]

    def about(self, digest: Digest) -> bool:
        """Whether one of the subjects is the content of that digest."""
        return any(subject.is_(digest) for subject in self.subjects)


def make_statement(
    subjects: Sequence[tuple[str, Digest]], predicate_type: str, predicate: Mapping[str, Any]
) -> Statement:
    """A statement about some content. The same arguments make the same bytes."""
    document = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {digest.algorithm: digest.hex}} for name, digest in subjects],
        "predicateType": predicate_type,
        "predicate": predicate,
    }
    return parse_statement(msgspec.json.encode(document), where=f"statement of type {predicate_type}")


def parse_statement(raw: bytes, *, where: str) -> Statement:
    """Read a statement.

    Raises:
        MalformedDocument: it isn't one, or is about nothing.
    """
    try:
        document = msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise MalformedDocument(f"{where} is not JSON: {error}") from error
    if document.get("_type") != STATEMENT_TYPE:
        raise MalformedDocument(f"{where} is not an in-toto statement of version 1")
    kind, predicate, listed = document.get("predicateType"), document.get("predicate"), document.get("subject")
    if not isinstance(kind, str) or not kind or not isinstance(predicate, dict):
        raise MalformedDocument(f"{where} has no predicate or none of a type")
    if not isinstance(listed, list) or not 0 < len(listed) <= MOST_SUBJECTS:
        raise MalformedDocument(f"{where} must have between 1 and {MOST_SUBJECTS} subjects")
    return Statement(raw, tuple(_subject(entry, where) for entry in listed), kind, predicate)


def _subject(entry: Any, where: str) -> StatementSubject:
    digests = entry.get("digest") if isinstance(entry, dict) else None
    if not isinstance(digests, dict) or not digests or not all(isinstance(value, str) for value in digests.values()):
        raise MalformedDocument(f"{where} has a subject without a digest")
    name = entry.get("name")
    return StatementSubject(name if isinstance(name, str) else "", digests)
