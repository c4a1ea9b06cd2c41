"""Whether everybody can pull a release: what belongs to it, whether that is asked for, and where it is changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

import anyio

from shipgraph.build.claims import newest_set
from shipgraph.check.channel import read_channel, strip_host
from shipgraph.engine.github_api import packages_api
from shipgraph.engine.viewing import names
from shipgraph.errors import ConfigurationError, NotPublic, Refused, ShipgraphError
from shipgraph.events import Finished, Started
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import ImageIndex
from shipgraph.promote.collect import payload_tag
from shipgraph.records.sets import set_tag
from shipgraph.tasks import gather
from shipgraph.visibility.proof import Access, Looked, Subject, look

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shipgraph.events import Emit
    from shipgraph.project.release import Release
    from shipgraph.promote.collect import ReleaseSet
    from shipgraph.remote.store import RemoteStore
    from shipgraph.store.protocols import Fetcher, Reader, Resolver

TASK: Final = "visibility"
INDEX: Final = "index"
PAYLOAD: Final = "payload"
METADATA: Final = "metadata"
SET: Final = "set record"
NO_API: Final = "GitHub has no API that changes a package's visibility"

_READERS: Final = 16


@dataclass(frozen=True, slots=True)
class NotAsked:
    """Nobody was asked to pull anything, and why."""

    reason: str

    def check(self) -> None:
        """Nothing to refuse."""


@dataclass(frozen=True, slots=True)
class Visibility:
    """What nobody got of a release. ``pages``: where a private repository is made public, as far as that is known."""

    host: str
    looked: tuple[Looked, ...]
    pages: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def closed(self) -> tuple[Looked, ...]:
        """What not everybody can pull."""
        return tuple(one for one in self.looked if one.access is not Access.PUBLIC)

    @property
    def private(self) -> tuple[str, ...]:
        """Repositories of which something is private, each once."""
        return tuple(dict.fromkeys(one.subject.repository for one in self.looked if one.access is Access.PRIVATE))

    @property
    def problems(self) -> tuple[str, ...]:
        """One line for each private repository, and for everything else that can't be pulled."""
        lines = [f"{self.host}/{name} is private" for name in self.private]
        lines += [
            f"{self.host}/{one.subject.repository}@{one.subject.digest} ({one.subject.what}) is {one.access}: "
            f"{one.reason}"
            for one in self.closed
            if one.subject.repository not in self.private
        ]
        return tuple(lines)

    def check(self) -> None:
        """Refuse what not everybody can pull.

        Raises:
            NotPublic
        """
        if not self.problems:
            return
        raise NotPublic(
            f"not everybody can pull this release: {'; '.join(self.problems)}",
            hint=how_to_open({name: self.pages[name] for name in self.private if name in self.pages}),
        )


Proof: TypeAlias = Visibility | NotAsked


async def prove_public(
    release: Release, target: Reader, subjects: Sequence[Subject], *, lag: float, emit: Emit
) -> Proof:
    """Have nobody pull all of it, where the project or its registry asks for that; whoever calls refuses by ``check``.

    Args:
        target: the registry; only one over HTTP has a public.
        lag: seconds within which it may not show what was written.

    Raises:
        RegistryUnavailable: it can't be told.
        RegistryError
    """
    from shipgraph.remote.store import RemoteStore

    if not isinstance(target, RemoteStore):
        return NotAsked("only a registry over HTTP has a public")
    manners = await target.manners()
    asked = release.project.visibility.require
    if asked == "any":
        return NotAsked('the project does not ask for it: [visibility] require = "any"')
    if asked is None and not manners.is_ghcr:
        return NotAsked(f'{target.host} is not GHCR, and nothing asks for it ([visibility] require = "public" does)')
    return await look_as_nobody(target, subjects, lag=lag, emit=emit, ghcr=manners.is_ghcr)


async def look_as_nobody(
    target: RemoteStore, subjects: Sequence[Subject], *, lag: float, emit: Emit, ghcr: bool
) -> Visibility:
    """Pull subjects with a client of its own that has no credentials and never had any.

    Raises: see ``prove_public``.
    """
    from shipgraph.remote.store import RemoteStore

    emit(Started(TASK, "visibility"))
    async with RemoteStore(target.host, credentials=None, concurrency=_READERS) as nobody:
        looked = await look(nobody, subjects, lag=lag, sleep=anyio.sleep)
    found = Visibility(target.host, looked)
    if found.private and ghcr:
        found = Visibility(target.host, looked, await settings_pages(target.host, found.private))
    count = len(found.closed)
    emit(Finished(TASK, "visibility", f"{count} of {len(looked)} not public" if count else "everybody can pull it"))
    return found


async def settings_pages(host: str, repositories: Sequence[str]) -> dict[str, str]:
    """The page of each package on which a person makes it public. What kind of owner it has is asked of GitHub; where
    that gives no answer, the page's name says what must be filled in.
    """
    from shipgraph.github.packages import Owner, find_owner
    from shipgraph.remote.retry import RetryPolicy

    owners: dict[str, Owner | None] = dict.fromkeys(name.partition("/")[0] for name in repositories)
    try:
        async with packages_api(host, retries=RetryPolicy(attempts=2, patience=5)) as api:
            for login in owners:
                owners[login] = await find_owner(api, login)
    except ShipgraphError:
        pass  # the pages are help, not proof
    pages = {}
    for name in repositories:
        login, _, package = name.partition("/")
        owner = owners[login]
        if owner is not None:
            pages[name] = owner.settings(package)
        else:
            pages[name] = Owner(login, "Organization", "").settings(package).replace("/orgs/", "/{orgs or users}/")
    return pages


def how_to_open(pages: Mapping[str, str]) -> str:
    """What a person has to do about private packages; each page on a line of its own where there are several."""
    either = '[visibility] require = "any" if the project is not meant to be public'
    if not pages:
        return f"give everybody the right to read, or set {either}"
    begin = " " if len(pages) == 1 else "\n    "
    listed = "".join(f"{begin}{page}" for page in pages.values())
    end = ", and there" if len(pages) == 1 else "\n  on each:"
    return f"{NO_API}: open{listed}{end} Danger Zone, Change visibility, Public; or set {either}"


# --- what belongs to a release ----------------------------------------------------------------------------------------


def set_subjects(found: ReleaseSet) -> list[Subject]:
    """What there is of a release before its metadata is made: every index, each platform, the payload."""
    subjects: list[Subject] = []
    for image in found.images:
        subjects += image_subjects(image.repository, image.index)
    if found.payload is not None and found.payload_repository is not None:
        subjects.append(Subject(found.payload_repository, found.payload.digest, PAYLOAD))
    return subjects


def image_subjects(repository: str, index: ImageIndex) -> list[Subject]:
    """An index and its platforms."""
    parts = [Subject(repository, child.digest, str(child.platform or "manifest")) for child in index.manifests]
    return [Subject(repository, index.digest, INDEX), *parts]


async def record_subject(release: Release, store: Resolver, immutable_tag: str) -> list[Subject]:
    """The set's record: it stands for the metadata's package before there is any metadata of the release.

    Raises:
        RegistryError
    """
    there = await store.resolve(release.metadata_repository, set_tag(immutable_tag))
    return [] if there is None else [Subject(release.metadata_repository, there.digest, SET)]


async def release_subjects(
    release: Release, store: Resolver, found: ReleaseSet, metadata: Digest | None = None
) -> list[Subject]:
    """All of a release: its set, the set's record, and its metadata once that is made.

    Raises:
        RegistryError
    """
    last = [] if metadata is None else [Subject(release.metadata_repository, metadata, METADATA)]
    return [*set_subjects(found), *await record_subject(release, store, found.immutable_tag), *last]


async def tagged_subjects(release: Release, store: Reader, immutable_tag: str | None) -> tuple[str, list[Subject]]:
    """What the registry has of a set: by default the newest of the release's commit.

    Raises:
        Refused: there is no such set, or not all of it.
        RegistryError
    """
    tag = immutable_tag
    if tag is None:
        record = await newest_set(store, release.metadata_repository, release.commit)
        if record is None:
            raise Refused(
                f"the registry has no set of commit {release.commit}",
                hint="`shipgraph build` makes one; `shipgraph visibility CHANNEL` looks at what is published",
            )
        tag = release.immutable_tag(record.revision)
    repositories = [release.repository(image.key) for image in release.project.graph]
    parts = await gather([partial(_tagged_image, store, repository, tag) for repository in repositories])
    subjects = [subject for part in parts for subject in part]
    payload = release.payload_repository
    if payload is not None:
        for name in dict.fromkeys((tag, payload_tag(tag, release.version))):
            there = await store.resolve(payload, name)
            if there is not None:
                subjects.append(Subject(payload, there.digest, PAYLOAD))
    return tag, [*subjects, *await record_subject(release, store, tag)]


async def _tagged_image(store: Reader, repository: str, tag: str) -> list[Subject]:
    there = await store.resolve(repository, tag)
    if there is None:
        raise Refused(f"{repository}:{tag} is not there", hint="`shipgraph build` and `assemble` make it")
    return await _image(store, repository, there.digest)


async def channel_subjects(release: Release, store: Reader, channel: str) -> list[Subject]:
    """What a channel has published.

    Raises:
        ConfigurationError: the project has no such channel.
        Refused: nothing was ever published to it.
        MalformedDocument, RegistryError
    """
    if channel not in release.project.channels:
        raise ConfigurationError(f"there is no channel {channel!r}", allowed=", ".join(release.project.channels))
    of = names(release)
    view = await read_channel(store, of, channel, None)
    metadata = view.metadata
    if metadata is None or view.digest is None:
        raise Refused(f"channel {channel} was never published", hint="`shipgraph status` shows the channels")
    images = [(strip_host(of.host, image.repository), Digest.parse(image.digest)) for image in metadata.images]
    parts = await gather([partial(_image, store, *image) for image in images])
    subjects = [subject for part in parts for subject in part]
    if metadata.payload is not None and of.payload is not None:
        subjects.append(Subject(of.payload, Digest.parse(metadata.payload.digest), PAYLOAD))
    return [
        *subjects,
        Subject(of.metadata, view.digest, METADATA),
        *await record_subject(release, store, metadata.immutable_tag),
    ]


async def _image(store: Fetcher, repository: str, digest: Digest) -> list[Subject]:
    index = await store.manifest(repository, digest)
    return image_subjects(repository, index) if isinstance(index, ImageIndex) else [Subject(repository, digest, INDEX)]
