"""A synthetic project of years: what its packages hold, and what its journal tells, in any size.

Seven images of two platforms (shared children: an image that did not change keeps its digest under the next release's
tag), evidence and bills of materials as referrers with their fallback tags and the lists that these replaced, a
payload, channel metadata, set and build records. Every twentieth release is a version too.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from shipgraph.channel.journal import ChannelHead, HeadRelease, JournalEntry, Kind, Move, Owner, State, settle_heads
from shipgraph.channel.metadata import rfc3339
from shipgraph.evidence.predicates import PREDICATE_TYPES
from shipgraph.oci import media_types
from shipgraph.retain.versions import Blob, Name, Node, Version

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGES = (
    "containai-base",
    *(f"containai{name}" for name in ("", "-copilot", "-codex", "-claude", "-proxy")),
    "containai-log-forwarder",
)
PLATFORMS = ("amd64", "arm64")
OWNER = "acme"
METADATA, PAYLOAD = f"{OWNER}/containai-metadata", f"{OWNER}/containai-payload"
START, STEP = 1_600_000_000.0, 6 * 3600.0
VERSION_EVERY = 20
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
SBOM = "application/vnd.cyclonedx+json"
METADATA_TYPE, PAYLOAD_TYPE = "application/vnd.containai.metadata.v1+json", "application/vnd.containai.payload.v1"

Item = tuple[Version, Node]


def sha(*parts: object) -> str:
    """A digest out of names."""
    return f"sha256:{hashlib.sha256(repr(parts).encode()).hexdigest()}"


def immutable_tag(release: int) -> str:
    """The immutable tag of a release, by its number from 0."""
    return f"sha-{release + 1:040x}"


def time_of(release: int) -> float:
    """When a release was made, in seconds since the epoch."""
    return START + release * STEP


@dataclass(slots=True)
class Content:
    """One state of an image: the release that built it, and all that have it."""

    built: int
    releases: list[int] = field(default_factory=list)


class Project:
    """So many releases; ``share`` is the part of images that don't change from one release to the next."""

    def __init__(self, releases: int, *, share: float = 0.5, seed: int = 1) -> None:
        self.releases = releases
        chance = random.Random(seed)
        self.contents: dict[str, list[Content]] = {image: [] for image in IMAGES}
        self.of: dict[str, list[Content]] = {image: [] for image in IMAGES}
        for release in range(releases):
            for image in IMAGES:
                if not self.contents[image] or chance.random() >= share:
                    self.contents[image].append(Content(release))
                self.contents[image][-1].releases.append(release)
                self.of[image].append(self.contents[image][-1])

    @property
    def now(self) -> float:
        """A month after the last release."""
        return time_of(self.releases) + 31 * 86_400

    def version_of(self, release: int) -> str | None:
        """The version of a release, if it is one."""
        return f"v1.{release // VERSION_EVERY}.0" if release % VERSION_EVERY == 0 else None

    def moving(self, release: int) -> list[str]:
        """The tags that are at a release in the end."""
        last_version = (self.releases - 1) // VERSION_EVERY * VERSION_EVERY
        version = self.version_of(release)
        return [
            *(["dev"] if release == self.releases - 1 else []),
            *(["prod"] if release == last_version else []),
            *([version] if version else []),
        ]

    def index(self, image: str, release: int) -> str:
        """The digest of an image in a release."""
        return sha("index", image, self.of[image][release].built)

    def payload(self, release: int) -> str:
        """The digest of a release's payload."""
        return sha("payload", release)

    def metadata(self, release: int) -> str:
        """The digest of a release's metadata."""
        return sha("metadata", release)

    def items(self) -> Iterator[Item]:
        """Every version of every package, the metadata's first, as they are listed in the end."""
        for release in range(self.releases):
            yield from self._metadata_items(release)
        for image, contents in self.contents.items():
            for content in contents:
                yield from self._image_items(image, content)
        for release in range(self.releases):
            at = time_of(release)
            names = tuple(Name(f"*/{image}", self.index(image, release)) for image in IMAGES)
            tags = (immutable_tag(release), f"{immutable_tag(release)}-dev", *self.moving(release))
            yield _item(PAYLOAD, self.payload(release), at, tags, kind=PAYLOAD_TYPE, names=names, own=2)
            yield from _evidence(PAYLOAD, self.payload(release), at, ("gate", "provenance"))

    def _image_items(self, image: str, content: Content) -> Iterator[Item]:
        place = f"{OWNER}/{image}"
        at = time_of(content.built)
        children = tuple(sha("platform", image, content.built, platform) for platform in PLATFORMS)
        tags = [immutable_tag(release) for release in content.releases]
        moving = [tag for release in content.releases for tag in self.moving(release)]
        index = sha("index", image, content.built)
        last = time_of(content.releases[-1])
        yield _item(place, index, at, (*tags, *moving), children=children, updated=last)
        for child in children:
            yield _item(place, child, at, (), own=3, shared=5)
            yield from _evidence(place, child, at, ("gate", "test", "provenance"), sbom=True)
        yield from _evidence(place, index, at, ("provenance",))

    def _metadata_items(self, release: int) -> Iterator[Item]:
        at, tag = time_of(release), immutable_tag(release)
        names = (
            *(Name(f"{OWNER}/{image}", self.index(image, release)) for image in IMAGES),
            Name(PAYLOAD, self.payload(release)),
        )
        moving = self.moving(release)
        tags = (f"dev-{release + 1}", *moving, *(["channels"] if release == self.releases - 1 else []))
        digest = self.metadata(release)
        yield _item(METADATA, digest, at, tags, kind=METADATA_TYPE, names=names, release=tag, own=1)
        yield from _evidence(METADATA, digest, at, ("provenance",))
        yield _item(METADATA, sha("set", release), at, (f"set-{tag}",), own=1)
        for number in (2 * release + 1, 2 * release + 2):
            last = ("journal",) if number == 2 * self.releases else ()
            yield _item(METADATA, sha("journal", number), at, (f"journal-{number}", *last), own=1)
        for image in IMAGES:
            if self.of[image][release].built == release:
                children = (sha("platform", image, release, platform) for platform in PLATFORMS)
                for built in (self.index(image, release), *children):
                    inputs = sha("inputs", built).removeprefix("sha256:")
                    name = (Name(f"{OWNER}/{image}", built),)
                    yield _item(METADATA, sha("build", built), at, (f"build-{inputs}",), names=name, own=1)

    def entries(self) -> Iterator[JournalEntry]:
        """The journal, oldest first."""
        heads: dict[str, ChannelHead] = {}
        for release in range(self.releases):
            version = self.version_of(release)
            channel = "prod" if version else "dev"
            digest = self.metadata(release)
            entry = JournalEntry(
                number=2 * release + 1,
                id=f"{channel}-{release + 1}",
                project="containai",
                owner=Owner(run="1", attempt=1, nonce="n"),
                opened_at=time_of(release),
                lease_s=60,
                state=State.OPEN,
                kind=Kind.RELEASE,
                channel=channel,
                serial=release + 1,
                release=HeadRelease(
                    immutable_tag=immutable_tag(release),
                    version=version or "dev",
                    commit=immutable_tag(release).removeprefix("sha-"),
                    revision=1,
                    serial=release + 1,
                    metadata=digest,
                    settled_at="",
                ),
                moves=(Move(repository=METADATA, tag=channel, before=None, after=digest),),
                heads=heads,
                previous=None,
            )
            yield entry
            heads = settle_heads(entry, settled_at=rfc3339(entry.opened_at), advance=True)
            yield msgspec.structs.replace(entry, number=entry.number + 1, state=State.SETTLED, heads=heads)


def _item(
    place: str,
    digest: str,
    at: float,
    tags: tuple[str, ...],
    *,
    updated: float = 0.0,
    kind: str = "",
    children: tuple[str, ...] = (),
    subject: str = "",
    names: tuple[Name, ...] = (),
    release: str = "",
    predicate: str = "",
    own: int = 0,
    shared: int = 0,
) -> Item:
    blobs = [Blob(sha("blob", digest, number), 1_000_000) for number in range(own)]
    blobs += [Blob(sha("blob", place, int(at) // 10_000_000, number), 80_000_000) for number in range(shared)]
    media_type = media_types.IMAGE_INDEX if children else media_types.IMAGE_MANIFEST
    node = Node(
        media_type=media_type,
        size=700,
        artifact_type=kind,
        children=children,
        subject=subject,
        names=names,
        release=release,
        predicate=predicate,
        blobs=tuple(blobs),
    )
    identifier = int(digest[7:19], 16)
    version = Version(
        repository=place, digest=digest, tags=tags, created_at=at, updated_at=max(at, updated), id=identifier
    )
    return version, node


def _evidence(place: str, subject: str, at: float, kinds: tuple[str, ...], *, sbom: bool = False) -> Iterator[Item]:
    """Referrers, the list under the fallback tag, and the lists that it replaced."""
    made: list[str] = []
    predicates = {str(kind): predicate for kind, predicate in PREDICATE_TYPES.items()}
    for kind in (*kinds, *(["sbom"] if sbom else [])):
        digest = sha("referrer", subject, kind)
        predicate = predicates.get(kind, "")
        kind_of = BUNDLE if predicate else SBOM
        yield _item(place, digest, at, (), kind=kind_of, subject=subject, predicate=predicate, own=1)
        made.append(digest)
        last = (subject.replace(":", "-"),) if len(made) == len(kinds) + sbom else ()
        yield _item(place, sha("list", subject, len(made)), at, last, children=tuple(made))
