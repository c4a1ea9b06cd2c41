"""The plan of a release or a promotion: whether it is ahead of its channel, and which tags it moves then."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from shipgraph.channel.journal import ChannelHead, HeadRelease, Kind, Mark
from shipgraph.channel.metadata import LATEST
from shipgraph.errors import ChannelAhead, ChannelHeld
from shipgraph.oci.digest import Digest
from shipgraph.promote.actions import Compare
from shipgraph.promote.order import Standing
from shipgraph.promote.protocol import Draft, Unchanged, transact
from shipgraph.promote.steps import fresh_tags

if TYPE_CHECKING:
    from shipgraph.promote.actions import JournalSeen
    from shipgraph.promote.protocol import Settled, Target
    from shipgraph.promote.steps import Steps
    from shipgraph.promote.terms import Terms


@dataclass(frozen=True, slots=True)
class Request:
    """A release and where it is to go.

    ``contents`` is every digest of the set; ``version_tag`` the release tag, on a channel whose order is SemVer.
    """

    kind: Kind
    channel: str
    release: HeadRelease
    targets: tuple[Target, ...]
    contents: tuple[tuple[str, Digest], ...]
    version_tag: str | None = None
    diverged: bool = False
    move_release_tag: bool = False

    @property
    def mark(self) -> Mark:
        """Where the release stands in its channel's order."""
        return mark_of(self.release)


def mark_of(release: HeadRelease) -> Mark:
    """Where a release stands in its channel's order."""
    return Mark(commit=release.commit, revision=release.revision, version=release.version)


def release(terms: Terms, request: Request) -> Steps[Settled | Unchanged]:
    """Move a channel to a release; see ``transact``.

    Raises:
        ChannelAhead, ChannelHeld: nothing moved.
    """
    return transact(terms, partial(plan_release, terms, request))


def plan_release(terms: Terms, request: Request, seen: JournalSeen) -> Steps[Draft | Unchanged]:
    """Step 2, second half: what is to move.

    Raises:
        ChannelAhead, ChannelHeld
    """
    head = seen.entry.head(request.channel) if seen.entry else ChannelHead(serial=0)
    if head.releases and request.mark == mark_of(head.releases[0]):
        return Unchanged(head.releases[0].serial, Digest.parse(head.releases[0].metadata))
    if head.hold:
        raise ChannelHeld(
            f"channel {request.channel} is held: {head.hold}",
            hint=f"`shipgraph release --unhold {request.channel}` ends the hold",
        )
    advance = not terms.parts.order or (yield from _is_ahead(request, head))
    targets = request.targets
    names = tuple(tag for tag in (request.version_tag, request.channel, LATEST) if tag)
    if not advance:
        targets = tuple(target for target in targets if target.own)
        names = (request.version_tag or "",)
        tags = (*((t.repository, t.tag) for t in targets), (terms.repository, names[0]))
        *there, metadata = yield from fresh_tags(terms, tags, seen)
        if metadata is not None and there == [target.digest for target in targets]:
            return Unchanged(head.serial, metadata)
    return Draft(
        kind=request.kind,
        channel=request.channel,
        serial=head.serial + 1,
        targets=targets,
        names=names,
        release=request.release,
        contents=request.contents,
        move_release_tag=request.move_release_tag,
    )


def _is_ahead(request: Request, head: ChannelHead) -> Steps[bool]:
    """Whether the channel moves; False for a lower version, which moves only its own tags.

    Raises:
        ChannelAhead
    """
    if head.high_water is None:
        return True
    standing: Standing = yield Compare(head.high_water)
    there = f"{request.channel} has had {_name(head.high_water)}"
    ours = _name(request.mark)
    match standing:
        case Standing.AHEAD:
            return True
        case Standing.BEHIND if request.version_tag is not None:
            return False
        case Standing.DIVERGED:
            if request.diverged:
                return True
            raise ChannelAhead(
                f"{there}; {ours} is on another line of history", hint="--diverged publishes it nevertheless"
            )
        case Standing.UNKNOWN:
            raise ChannelAhead(
                f"{there}; how {ours} stands to it can't be told from this clone",
                hint="fetch the whole history (git fetch --unshallow)",
            )
        case _ if undone := next((one for one in head.undone if mark_of(one) == request.mark), None):
            raise ChannelAhead(
                f"{undone.immutable_tag} was rolled back from {request.channel}",
                hint=f"`shipgraph rollback {request.channel} --to {undone.immutable_tag}` takes it back; or release a"
                " newer commit",
            )
        case _:
            raise ChannelAhead(
                f"{there}; {ours} is older, or was rolled back",
                hint="to go back on purpose, use `shipgraph rollback`",
            )


def _name(mark: Mark) -> str:
    revision = f" (revision {mark.revision})" if mark.revision > 1 else ""
    return f"{mark.version} at {mark.commit[:12]}{revision}"
