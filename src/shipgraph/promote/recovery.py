"""Plans of the commands that mend and undo: rollback, the end of a hold, refresh, repair, the journal's rebuilding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from shipgraph.channel.journal import ChannelHead, HeadRelease, Kind, same_release
from shipgraph.channel.metadata import LATEST, ChannelMetadata, repository_path
from shipgraph.errors import Conflict, TagMoved
from shipgraph.oci.digest import Digest
from shipgraph.promote.actions import JournalSeen, ReadMetadata, ReadSet, Renewed, Unreadable
from shipgraph.promote.protocol import Draft, Target, Unchanged
from shipgraph.promote.steps import fresh_tags

if TYPE_CHECKING:
    from shipgraph.promote.steps import Steps
    from shipgraph.promote.terms import Terms

SHORTEST_COMMIT = 7


@dataclass(frozen=True, slots=True)
class Rollback:
    """``to`` is a version, an immutable tag or a commit; None: the predecessor. ``hold``: why releases are refused."""

    channel: str
    to: str | None = None
    hold: str | None = None


def plan_rollback(wish: Rollback, seen: JournalSeen) -> Steps[Draft | Unchanged]:
    """Back to an earlier release of a channel: its digests under the channel's tags, its metadata with a new serial.

    The high-water mark stays, and so does every release tag.

    Raises:
        Conflict: there is no such release.
    """
    head = _head(seen, wish.channel)
    target = _find(head, wish)
    hold = wish.hold
    if same_release(target, head.releases[0]):
        if hold is None or hold == head.hold:
            return Unchanged(head.serial, Digest.parse(target.metadata))
        return Draft(Kind.ROLLBACK, wish.channel, head.serial, hold=hold)
    metadata = yield from _read_metadata(target)
    return Draft(
        kind=Kind.ROLLBACK,
        channel=wish.channel,
        serial=head.serial + 1,
        targets=_channel_targets(metadata),
        names=(wish.channel, LATEST),
        release=target,
        contents=(yield from _contents(metadata)),
        renews=Renewed(Digest.parse(target.metadata), metadata),
        hold=hold,
    )


def plan_unhold(channel: str, seen: JournalSeen) -> Steps[Draft | Unchanged]:
    """End a channel's hold; no tag moves."""
    yield from ()
    head = _head(seen, channel)
    if not head.hold:
        return Unchanged(head.serial, Digest.parse(head.releases[0].metadata))
    return Draft(Kind.RELEASE, channel, head.serial, hold="")


def plan_refresh(terms: Terms, channel: str, seen: JournalSeen) -> Steps[Draft | Unchanged]:
    """The channel's metadata once more, with the next serial and a new expiry. Only metadata tags move.

    Raises:
        TagMoved: the channel's tag is not what the journal says.
    """
    head = _head(seen, channel)
    current = head.releases[0]
    tags = ((terms.repository, channel), (terms.repository, LATEST))
    there, latest = yield from fresh_tags(terms, tags, seen)
    if str(there) != current.metadata:
        raise TagMoved(
            f"{terms.repository}:{channel} is {there or 'absent'}, and the journal says {current.metadata}",
            hint="`shipgraph repair` first",
        )
    metadata = yield from _read_metadata(current)
    return Draft(
        kind=Kind.REFRESH,
        channel=channel,
        serial=head.serial + 1,
        names=(channel, LATEST) if latest == there else (channel,),
        release=current,
        contents=(yield from _contents(metadata)),
        renews=Renewed(Digest.parse(current.metadata), metadata),
    )


def plan_repair(terms: Terms, channel: str, seen: JournalSeen) -> Steps[Draft | Unchanged]:
    """Every tag of a channel back to what its metadata says, and the metadata's own to what the journal says.

    Raises:
        TagMoved: the channel's metadata is newer than the journal.
    """
    if seen.entry is None or not seen.entry.head(channel).releases:
        return Unchanged(0, None)
    head = seen.entry.head(channel)
    current = head.releases[0]
    metadata = yield from _read_metadata(current)
    targets = [*_channel_targets(metadata), *_version_targets(metadata)]
    targets.append(Target(terms.repository, channel, Digest.parse(current.metadata)))
    tags = (*((t.repository, t.tag) for t in targets), (terms.repository, LATEST))
    there = yield from fresh_tags(terms, tags, seen)
    *found, latest = there
    wrong = [target for target, digest in zip(targets, found, strict=True) if digest != target.digest]
    if found[-1] not in (None, targets[-1].digest):
        yield from _check_not_newer(terms, channel, found[-1], current)
    if _last_committed(seen) == channel and str(latest) not in _current(seen):
        wrong.append(Target(terms.repository, LATEST, Digest.parse(current.metadata)))
    if not wrong:
        return Unchanged(head.serial, Digest.parse(current.metadata))
    contents = tuple((target.repository, target.digest) for target in wrong)
    return Draft(Kind.REPAIR, channel, head.serial, targets=tuple(wrong), contents=contents)


def plan_rebuild(
    terms: Terms, base: JournalSeen, heads: dict[str, ChannelHead], seen: JournalSeen
) -> Steps[Draft | Unchanged]:
    """A lost journal anew: after its last entry that has a tag of its own (``base``), else from the metadata's tags."""
    yield from ()
    if seen.entry is not None:
        return Unchanged(seen.entry.serial, None)
    known = base.entry.heads if base.entry is not None else heads
    channel = base.entry.channel if base.entry is not None else next(iter(known), terms.channels[0])
    serial = known[channel].serial if channel in known else 0
    return Draft(Kind.REPAIR, channel, serial, heads=known, base=base)


def plan_untag(tags: tuple[tuple[str, str], ...], channel: str, seen: JournalSeen) -> Steps[Draft | Unchanged]:
    """Remove left-over tags; they are looked at again inside the transaction."""
    yield from ()
    serial = seen.entry.head(channel).serial if seen.entry else 0
    if not tags:
        return Unchanged(serial, None)
    return Draft(Kind.REPAIR, channel, serial, untag=tags)


def _head(seen: JournalSeen, channel: str) -> ChannelHead:
    head = seen.entry.head(channel) if seen.entry else ChannelHead(serial=0)
    if not head.releases:
        raise Conflict(f"channel {channel} was never published", hint="`shipgraph status` shows the channels")
    return head


def _find(head: ChannelHead, wish: Rollback) -> HeadRelease:
    current, older = head.releases[0], head.releases[1:]
    if wish.to is None:
        if not older:
            raise Conflict(
                f"channel {wish.channel} has no release before {current.version} ({current.immutable_tag})",
                hint="`shipgraph status` shows its history; --to names a release that was rolled back",
            )
        return older[0]
    for known in (current, *older, *head.undone):
        is_commit = len(wish.to) >= SHORTEST_COMMIT and known.commit.startswith(wish.to)
        if is_commit or wish.to in (known.immutable_tag, known.version):
            return known
    raise Conflict(
        f"channel {wish.channel} has had no release {wish.to!r} that the journal remembers",
        hint="`shipgraph status` shows its history",
    )


def _read_metadata(release: HeadRelease) -> Steps[ChannelMetadata]:
    found: ChannelMetadata | Unreadable = yield ReadMetadata(Digest.parse(release.metadata))
    if isinstance(found, Unreadable):
        raise found.error
    return found


def _contents(metadata: ChannelMetadata) -> Steps[tuple[tuple[str, Digest], ...]]:
    """Every digest of a release: what its metadata names, and the platforms of its indexes."""
    found: tuple[tuple[str, Digest], ...] | Unreadable = yield ReadSet(named_digests(metadata))
    if isinstance(found, Unreadable):
        raise found.error
    return found


def named_digests(metadata: ChannelMetadata) -> tuple[tuple[str, Digest], ...]:
    """The images and the payload that channel metadata names."""
    named = [(repository_path(image.repository), Digest.parse(image.digest)) for image in metadata.images]
    if metadata.payload is not None:
        named.append((_payload_repository(metadata.payload.ref), Digest.parse(metadata.payload.digest)))
    return tuple(named)


def _payload_repository(ref: str) -> str:
    return repository_path(ref.partition("@")[0].rpartition(":")[0])


def _channel_targets(metadata: ChannelMetadata) -> tuple[Target, ...]:
    """The channel's tags; a payload has one only where the channel ships no versions, and it is the channel's name."""
    named = named_digests(metadata)
    if metadata.payload is not None and metadata.version != metadata.channel:
        named = named[:-1]
    return tuple(Target(repository, metadata.channel, digest) for repository, digest in named)


def _version_targets(metadata: ChannelMetadata) -> tuple[Target, ...]:
    """The release tags of a version."""
    if metadata.version == metadata.channel:
        return ()
    return tuple(Target(repository, metadata.version, digest) for repository, digest in named_digests(metadata))


def _check_not_newer(terms: Terms, channel: str, digest: Digest | None, current: HeadRelease) -> Steps[None]:
    if digest is None:
        return
    found: ChannelMetadata | Unreadable = yield ReadMetadata(digest)
    if isinstance(found, ChannelMetadata) and found.channel == channel and found.serial > current.serial:
        raise TagMoved(
            f"{terms.repository}:{channel} has serial {found.serial}, and the journal knows only {current.serial}",
            hint="somebody moved the journal's tag back; put it to its newest entry, journal-<n>",
        )


def _current(seen: JournalSeen) -> set[str]:
    assert seen.entry is not None  # noqa: S101 (a channel was found in it)
    return {head.releases[0].metadata for head in seen.entry.heads.values() if head.releases}


def _last_committed(seen: JournalSeen) -> str:
    assert seen.entry is not None  # noqa: S101 (a channel was found in it)
    heads = {name: head.releases[0] for name, head in seen.entry.heads.items() if head.releases}
    return max(heads, key=lambda name: (heads[name].settled_at, name))
