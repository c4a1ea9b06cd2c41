"""The checklist's rows about what went before: the workflow run that published, and the last clean-up."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeAlias

from shipgraph.channel.journal import JOURNAL_TYPE, JournalEntry, Owner, decode_entry
from shipgraph.channel.journal import State as JournalState
from shipgraph.check.row import Row, State
from shipgraph.oci.digest import Digest
from shipgraph.records.document import read_document
from shipgraph.records.prune import PRUNE_TYPE, RETENTION, Done, Outcome, PruneRecord, decode_prune

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shipgraph.check.channel import ChannelView, CheckStore, Names
    from shipgraph.github.runs import RunAttempt

RUN: Final = "workflow run"
CLEAN_UP: Final = "retention"
LOOK_BACK: Final = 50
"""Journal entries that are searched for the one that published a channel; other channels' stand between."""
_RUN: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
AskRun: TypeAlias = "Callable[[Owner], Awaitable[RunAttempt | None]]"


async def run_row(
    store: CheckStore, names: Names, view: ChannelView, journal: JournalEntry | None, ask: AskRun | None
) -> Row:
    """Whether the workflow run that published the channel succeeded.

    Args:
        ask: what the forge says of a run; None where nobody can be asked.

    Raises:
        MalformedDocument, RegistryError
    """
    owner = await _publisher(store, names, view, journal)
    if owner is None:
        return Row(RUN, State.NOT_APPLICABLE, "no run is known")
    if ask is None or not _RUN.fullmatch(owner.run):
        return Row(RUN, State.NOT_APPLICABLE, f"published by {owner.run}, which is no workflow's run")
    found = await ask(owner)
    if found is None:
        return Row(RUN, State.NOT_APPLICABLE, f"run {owner.run} is not there, or may not be seen")
    if found.conclusion is None:
        return Row(RUN, State.NOT_APPLICABLE, f"{found.html_url} has not ended")
    state = State.OK if found.conclusion == "success" else State.BROKEN
    return Row(RUN, state, f"{found.html_url}: {found.conclusion}")


async def _publisher(store: CheckStore, names: Names, view: ChannelView, journal: JournalEntry | None) -> Owner | None:
    entry = journal
    for _ in range(LOOK_BACK):
        if entry is None or view.metadata is None:
            return None
        settled = entry.state is JournalState.SETTLED and entry.channel == view.name
        if settled and entry.serial == view.metadata.serial:
            return entry.owner
        if entry.previous is None:
            return None
        document = await read_document(store, names.metadata, Digest.parse(entry.previous), JOURNAL_TYPE)
        entry = decode_entry(document.content, where=f"{names.metadata}@{entry.previous}")
    return None


async def clean_up_row(store: CheckStore, names: Names) -> Row:
    """How the last clean-up ended.

    Raises:
        MalformedDocument, RegistryError
    """
    there = await store.resolve(names.metadata, RETENTION)
    if there is None:
        return Row(CLEAN_UP, State.NOT_APPLICABLE, "nothing was ever cleaned up")
    document = await read_document(store, names.metadata, there.digest, PRUNE_TYPE)
    return _clean_up(decode_prune(document.content, where=f"{names.metadata}:{RETENTION}"))


def _clean_up(record: PruneRecord) -> Row:
    deleted = f"{record.count(Done.DELETED)} versions deleted, {record.ended_at}"
    match record.outcome:
        case Outcome.COMPLETE:
            return Row(CLEAN_UP, State.OK, deleted)
        case Outcome.PARTIAL:
            return Row(CLEAN_UP, State.MISSING, f"{deleted}; {record.left} are left: run `shipgraph prune` again")
        case Outcome.PLANNED:
            return Row(CLEAN_UP, State.NOT_APPLICABLE, f"planned at {record.ended_at}, and never carried out")
        case Outcome.UNDONE:
            return Row(CLEAN_UP, State.NOT_APPLICABLE, f"undone at {record.ended_at}")
        case Outcome.FAILED:
            return Row(CLEAN_UP, State.BROKEN, f"{record.problem or 'it failed'}, {record.ended_at}")
