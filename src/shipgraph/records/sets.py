"""The set record: what one release of one commit is made from, decided once and read by every later stage.

Tag ``set-<immutable tag>`` in the metadata repository, claimed like an immutable tag by the first stage that writes.
"""

from __future__ import annotations

from typing import Final

import msgspec

from shipgraph.records.document import Document, build_document, decode

SET_TYPE: Final = "application/vnd.shipgraph.set.v1+json"


class ResolvedBase(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """An external base as it was resolved for this release.

    ``platforms`` maps a platform to the digest of its manifest. ``key`` is what a later release compares: the digest
    that was pulled, or a substitute root's recipe and the hash of its archive's InRelease file. ``recipe`` says how a
    substitute was made; it is empty for a base that was pulled.
    """

    name: str
    key: str
    platforms: dict[str, str]
    digest: str = ""
    recipe: str = ""


class SetRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """One revision of one commit: the work tree's git tree (not the commit's own where it is dirty), its platforms,
    resolved bases by name, and the age epoch of each image that has a maximum age."""

    project: str
    commit: str
    revision: int
    tree: str
    platforms: tuple[str, ...]
    bases: dict[str, ResolvedBase]
    epochs: dict[str, int] = {}
    dirty: bool = False


def set_tag(immutable_tag: str) -> str:
    """The tag of a set record."""
    return f"set-{immutable_tag}"


def immutable_tag(commit: str, revision: int) -> str:
    """``sha-<commit>`` for the first revision of a commit, ``sha-<commit>-rN`` for the N-th."""
    return f"sha-{commit}" if revision == 1 else f"sha-{commit}-r{revision}"


def encode_set(record: SetRecord) -> Document:
    """The record's artifact; the same record makes the same bytes."""
    return build_document(SET_TYPE, record, title="set.json")


def decode_set(content: bytes, *, where: str) -> SetRecord:
    """Read a record.

    Raises:
        MalformedDocument: it isn't one.
    """
    return decode(content, SetRecord, where=where)
