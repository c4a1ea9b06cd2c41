"""The build record: that certain inputs have been built, and what came out.

Tag ``build-<inputs hash>`` in the metadata repository, one for each platform build and each assembled index. Reuse,
adoption, assembly and provenance read these alone, and check that the digest exists.
"""

from __future__ import annotations

from typing import Final

import msgspec

from shipgraph.records.document import Document, build_document, decode

BUILD_TYPE: Final = "application/vnd.shipgraph.build.v1+json"
INDEX: Final = "index"
"""The ``platform`` of an assembled index's record."""


class BuildRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """One build. ``inputs`` is 64 hexadecimal digits; ``started`` and ``ended`` are RFC 3339 times in UTC.

    ``parent`` is the digest of the parent's manifest for the same platform (of the parent's index for an index), empty
    where there is none; ``bases`` maps a base's name to the platform digest that was used; ``media_type`` and ``size``
    complete the descriptor of ``digest``; ``run`` names the run that built it. ``components`` are the hashes that
    ``inputs`` is made from, by name: what has changed since, a plan can say.
    """

    inputs: str
    image: str
    repository: str
    platform: str
    digest: str
    media_type: str
    size: int
    builder: str
    bases: dict[str, str] = {}
    arguments: dict[str, str] = {}
    parent: str = ""
    commit: str = ""
    run: str = ""
    started: str = ""
    ended: str = ""
    components: dict[str, str] = {}


def build_tag(inputs: str) -> str:
    """The tag of a build record."""
    return f"build-{inputs}"


def encode_build(record: BuildRecord) -> Document:
    """The record's artifact."""
    return build_document(BUILD_TYPE, record, title="build.json")


def decode_build(content: bytes, *, where: str) -> BuildRecord:
    """Read a record.

    Raises:
        MalformedDocument: it isn't one.
    """
    return decode(content, BuildRecord, where=where)
