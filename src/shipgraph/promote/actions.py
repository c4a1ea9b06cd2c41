"""What the transaction's rules ask of the world, and what the world answers: values, no I/O.

The rules (``protocol``) are generators that yield an action and are sent its answer; the driver carries actions out. A
read that fails is answered with ``Unreadable``, never with an exception, so that the rules decide what it means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from shipgraph.channel.journal import JOURNAL
from shipgraph.store.protocols import ANY, Expect

if TYPE_CHECKING:
    from shipgraph.channel.journal import JournalEntry, Mark, Owner
    from shipgraph.channel.metadata import ChannelMetadata
    from shipgraph.errors import ShipgraphError
    from shipgraph.oci.digest import Digest
    from shipgraph.records.document import Document


# --- questions ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReadJournal:
    """Read the journal's tag, or an entry's own, and the entry → ``JournalSeen`` or ``Unreadable``."""

    tag: str = JOURNAL


@dataclass(frozen=True, slots=True)
class ReadMetadata:
    """Read channel metadata by digest → ``ChannelMetadata`` or ``Unreadable``."""

    digest: Digest


@dataclass(frozen=True, slots=True)
class ReadSet:
    """Read manifests and indexes by digest → them and the indexes' children, or ``Unreadable``."""

    digests: tuple[tuple[str, Digest], ...]


@dataclass(frozen=True, slots=True)
class ReadTags:
    """Read tags, all at once → a tuple of ``Digest | None | Unreadable`` in the same order."""

    tags: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class CheckDigests:
    """Ask for manifests by digest, all at once → a tuple of ``bool | Unreadable`` in the same order."""

    digests: tuple[tuple[str, Digest], ...]


@dataclass(frozen=True, slots=True)
class Compare:
    """How our release stands to a mark in the channel's order → ``Standing``."""

    mark: Mark


@dataclass(frozen=True, slots=True)
class AskAlive:
    """Whether an owner whose lease is over is proven to be alive all the same → ``bool``."""

    owner: Owner


@dataclass(frozen=True, slots=True)
class Now:
    """Both clocks → ``Times``, or ``Unreadable`` where the registry does not answer."""


@dataclass(frozen=True, slots=True)
class LocalTime:
    """This machine's monotonic clock → seconds."""


@dataclass(frozen=True, slots=True)
class StopAsked:
    """Whether the user asked to stop → ``bool``."""


# --- deeds ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Renewed:
    """Metadata that is made anew: its digest, as the journal names it, and what it says."""

    digest: Digest
    metadata: ChannelMetadata


@dataclass(frozen=True, slots=True)
class MakeMetadata:
    """Make, sign and push (by digest) the channel's metadata → its ``Digest``; errors go straight to the caller.

    ``renews``: it says what that metadata says, with the new serial and times; None where the release is a new one.
    """

    serial: int
    at: float
    moving_tags: tuple[str, ...]
    renews: Renewed | None = None


@dataclass(frozen=True, slots=True)
class Push:
    """Store documents of the metadata repository by digest → ``None`` or ``Unreadable``."""

    documents: tuple[Document, ...]


@dataclass(frozen=True, slots=True)
class Put:
    """PUT the bytes of ``digest`` under a tag; ``expect`` is honoured where the registry can."""

    repository: str
    tag: str
    digest: Digest
    expect: Expect = ANY


@dataclass(frozen=True, slots=True)
class PutTags:
    """Send each PUT a single time, as many at a time as the registry bears → a tuple of ``PutAnswer``.

    No PUT is sent once ``deadline`` (by ``LocalTime``) has passed.
    """

    puts: tuple[Put, ...]
    deadline: float


@dataclass(frozen=True, slots=True)
class Untag:
    """Remove tags where they are still what they were → a tuple of the tags that are gone; errors go to the caller."""

    tags: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Work:
    """Do what the entry's batch says until ``deadline`` (by ``LocalTime``) → whether a request may still land.

    What became of it is between the worker and its caller; an error that it raises leaves the journal open.
    """

    deadline: float


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait → ``None``; ``why`` is told to the user."""

    seconds: float
    why: str


@dataclass(frozen=True, slots=True)
class Together:
    """Several actions at once → a tuple of their answers."""

    actions: tuple[ReadTags | CheckDigests, ...]


@dataclass(frozen=True, slots=True)
class Say:
    """Tell the user → ``None``."""

    text: str
    warning: bool = False


Action: TypeAlias = (
    ReadJournal
    | ReadMetadata
    | ReadSet
    | Untag
    | Work
    | AskAlive
    | ReadTags
    | CheckDigests
    | Compare
    | Now
    | LocalTime
    | StopAsked
    | MakeMetadata
    | Push
    | PutTags
    | Sleep
    | Together
    | Say
)


# --- answers --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Unreadable:
    """No certain answer: the thing may be there or not."""

    error: ShipgraphError


@dataclass(frozen=True, slots=True)
class JournalSeen:
    """The journal as it was read; both None where there is none for certain."""

    digest: Digest | None
    entry: JournalEntry | None


@dataclass(frozen=True, slots=True)
class Times:
    """The registry's clock (seconds since the epoch) and this machine's monotonic one before the question was sent."""

    registry: float
    local: float


@dataclass(frozen=True, slots=True)
class Landed:
    """The registry confirmed the PUT with the right digest."""


@dataclass(frozen=True, slots=True)
class Declined:
    """A definite refusal: nothing changed."""

    error: ShipgraphError


@dataclass(frozen=True, slots=True)
class Unknown:
    """The PUT may have landed, or may still land within ``margin``."""

    error: ShipgraphError


@dataclass(frozen=True, slots=True)
class Throttled:
    """The registry has had too many requests: nothing changed, and it is to be sent again later."""

    error: ShipgraphError


@dataclass(frozen=True, slots=True)
class NotSent:
    """The deadline had passed."""


PutAnswer: TypeAlias = Landed | Declined | Unknown | Throttled | NotSent
