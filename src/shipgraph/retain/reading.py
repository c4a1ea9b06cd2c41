"""The tags of all versions, read once: to which release a version belongs, what it is about, what forbids deletion."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shipgraph.retain.tags import TagKind, TagReader

if TYPE_CHECKING:
    from shipgraph.retain.history import History
    from shipgraph.retain.inventory import Inventory
    from shipgraph.retain.policy import Policy


@dataclass(slots=True)
class Reading:
    """What tags say, by version number.

    ``kept``, ``journal`` and ``undo`` give the first tag of a version that is of that kind. ``members`` and ``sets``
    are by a release's immutable tag: its images and payload, and its set record. ``attached`` are pairs of a version
    and the digest that it is about. ``metadata`` are the documents about a release, by its immutable tag, as far as
    they were ever announced: with a tag ``<channel>-<serial>`` of a decision that was not taken back, or settled.
    ``untold`` are those of which the journal doesn't tell what became of them.
    """

    kept: dict[int, str] = field(default_factory=dict)
    journal: dict[int, str] = field(default_factory=dict)
    undo: dict[int, str] = field(default_factory=dict)
    members: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    sets: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    records: dict[int, str] = field(default_factory=dict)
    """Set records and build records, with the tag that each has of its own."""
    attached: list[tuple[int, str]] = field(default_factory=list)
    disposable: dict[int, str] = field(default_factory=dict)
    metadata: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    untold: set[int] = field(default_factory=set)
    releases_of: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    """The releases that a version belongs to, by its own tags or, for metadata, by what it is about."""


def read_tags(inventory: Inventory, policy: Policy, history: History) -> Reading:
    """Read the tags of every version."""
    reading = Reading()
    reader = TagReader(policy, history.heads)
    roles = [policy.roles.get(repository) for repository in inventory.repositories]
    for number, tags in enumerate(inventory.tags):
        role = roles[inventory.repository[number]]
        for tag in tags:
            kind, value = reader.read(role, tag)
            if kind is TagKind.MEMBER:
                if reading.members[value][-1:] != [number]:  # a payload may have two tags of one release
                    reading.members[value].append(number)
                    reading.releases_of[number].append(value)
            elif kind is TagKind.ATTACHED:
                reading.attached.append((number, value))
            elif kind is TagKind.BUILD:
                reading.records.setdefault(number, tag)
            elif kind is TagKind.SET:
                reading.sets[value].append(number)
                reading.records.setdefault(number, tag)
            elif kind is TagKind.KEPT:
                reading.kept.setdefault(number, tag)
            elif kind is TagKind.JOURNAL:
                reading.journal.setdefault(number, tag)
            elif kind is TagKind.UNDO:
                reading.undo.setdefault(number, tag)
            elif kind is TagKind.DISPOSABLE:
                reading.disposable.setdefault(number, tag)
    _read_metadata(reading, inventory, reader, history)
    return reading


def _read_metadata(reading: Reading, inventory: Inventory, reader: TagReader, history: History) -> None:
    for number, immutable_tag in inventory.release.items():
        reading.releases_of[number].append(immutable_tag)
        settled = history.releases.get(immutable_tag)
        decisions = [found for tag in inventory.tags[number] if (found := reader.serial(tag)) is not None]
        if settled is not None and inventory.digests[inventory.digest[number]] in settled.metadata:
            reading.metadata[immutable_tag].append(number)
        elif any(decision not in history.taken_back for decision in decisions):
            reading.metadata[immutable_tag].append(number)
            if any(decision not in history.decided for decision in decisions):
                reading.untold.add(number)
