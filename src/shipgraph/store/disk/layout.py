"""``index.json`` of an image layout as a value: image specification 1.1, image-layout.md.

Every manifest of the repository is listed: once for each of its tags (``org.opencontainers.image.ref.name``), or once
without a tag. Entries that another tool wrote under names which are no tags are kept as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import msgspec

from shipgraph.errors import InvalidReference, MalformedDocument
from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.digest import Digest
from shipgraph.oci.media_types import ANNOTATION_REF_NAME, IMAGE_INDEX
from shipgraph.oci.reference import check_tag

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shipgraph.oci.manifest import Manifest

OCI_LAYOUT: Final = b'{"imageLayoutVersion":"1.0.0"}'


class Entry(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """One descriptor of ``index.json``, with all members that the specification knows."""

    media_type: str
    digest: str
    size: int
    annotations: dict[str, str] | None = None
    artifact_type: str | None = None
    platform: dict[str, Any] | None = None
    urls: list[str] | None = None
    data: str | None = None


class _Document(msgspec.Struct, omit_defaults=True, rename="camel"):
    schema_version: int = 0  # always written, for omit_defaults leaves out what equals the default
    media_type: str = ""
    manifests: list[Entry] | None = None
    annotations: dict[str, str] | None = None


_DECODER: Final = msgspec.json.Decoder(_Document)
_ENCODER: Final = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class LayoutIndex:
    """The manifests and tags of one repository. Digests are strings here: thousands of them are read at once."""

    manifests: Mapping[str, Entry] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    foreign: tuple[Entry, ...] = ()
    annotations: Mapping[str, str] | None = None

    @classmethod
    def parse(cls, raw: bytes, *, where: str) -> LayoutIndex:
        """Read ``index.json``.

        Raises:
            MalformedDocument: it isn't one.
        """
        try:
            document = _DECODER.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedDocument(f"{where} is not an image layout's index: {error}") from error
        manifests: dict[str, Entry] = {}
        tags: dict[str, str] = {}
        foreign: list[Entry] = []
        for entry in document.manifests or ():
            _check_digest(entry, where)
            name = (entry.annotations or {}).get(ANNOTATION_REF_NAME)
            if name is None:
                manifests.setdefault(entry.digest, entry)
            elif _is_tag(name):
                tags[name] = entry.digest
                manifests.setdefault(entry.digest, _unnamed(entry))
            else:
                foreign.append(entry)
                manifests.setdefault(entry.digest, _unnamed(entry))
        return cls(manifests, tags, tuple(foreign), document.annotations)

    def encode(self) -> bytes:
        """The bytes of ``index.json``: tagged entries by tag, then foreign names, then what has no name."""
        entries = [_named(self.manifests[digest], tag) for tag, digest in sorted(self.tags.items())]
        named = {*self.tags.values(), *(entry.digest for entry in self.foreign)}
        entries += self.foreign
        entries += [entry for digest, entry in self.manifests.items() if digest not in named]
        annotations = dict(self.annotations) if self.annotations else None
        return _ENCODER.encode(_Document(2, IMAGE_INDEX, entries, annotations)) + b"\n"

    def descriptor(self, digest: str) -> Descriptor | None:
        """The descriptor of a manifest that is listed."""
        entry = self.manifests.get(digest)
        return None if entry is None else Descriptor(entry.media_type, Digest.parse(entry.digest), entry.size)

    def with_manifest(self, manifest: Manifest, tag: str | None = None) -> LayoutIndex:
        """List a manifest and, if a tag is given, let the tag point at it; this index itself if that is so already."""
        digest = str(manifest.digest)
        changed = self
        there = self.manifests.get(digest)
        if there is None or there.media_type != manifest.media_type:
            entry = Entry(manifest.media_type, digest, manifest.size)
            changed = replace(changed, manifests={**self.manifests, digest: entry})
        if tag is not None and self.tags.get(tag) != digest:
            changed = replace(changed, tags={**self.tags, tag: digest})
        return changed

    def without_manifest(self, digest: str) -> LayoutIndex:
        """Drop a manifest with all its names."""
        if digest not in self.manifests:
            return self
        return replace(
            self,
            manifests={key: entry for key, entry in self.manifests.items() if key != digest},
            tags={tag: there for tag, there in self.tags.items() if there != digest},
            foreign=tuple(entry for entry in self.foreign if entry.digest != digest),
        )

    def without_tag(self, tag: str) -> LayoutIndex:
        """Drop a tag; its manifest stays listed."""
        if tag not in self.tags:
            return self
        return replace(self, tags={name: digest for name, digest in self.tags.items() if name != tag})


def _check_digest(entry: Entry, where: str) -> None:
    try:
        Digest.parse(entry.digest)
    except InvalidReference as error:
        raise MalformedDocument(f"{where} lists {error}") from error
    if entry.size < 0:
        raise MalformedDocument(f"{where} lists {entry.digest} with a negative size")


def _is_tag(name: str) -> bool:
    try:
        check_tag(name)
    except InvalidReference:
        return False
    return True


def _unnamed(entry: Entry) -> Entry:
    annotations = {key: value for key, value in (entry.annotations or {}).items() if key != ANNOTATION_REF_NAME}
    return msgspec.structs.replace(entry, annotations=annotations or None)


def _named(entry: Entry, tag: str) -> Entry:
    return msgspec.structs.replace(entry, annotations={**(entry.annotations or {}), ANNOTATION_REF_NAME: tag})
