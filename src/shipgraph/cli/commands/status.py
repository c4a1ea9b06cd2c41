"""`shipgraph status`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from shipgraph.cli import options
from shipgraph.cli.output import Output, table
from shipgraph.cli.running import Interrupt, run

if TYPE_CHECKING:
    from pathlib import Path

    from shipgraph.channel.journal import JournalEntry
    from shipgraph.check.channel import ChannelView


@click.command("status")
@options.target
@options.common
def command(folder: Path, as_json: bool, debug: bool, registry: str | None, root: Path | None) -> None:
    """Show the channels: digests, history, drift, unfinished transactions."""
    output = Output(as_json=as_json, debug=debug)

    async def status(interrupt: Interrupt) -> None:  # noqa: ARG001 (nothing here has to be protected)
        from shipgraph.check.channel import open_transaction, read_channels
        from shipgraph.engine.opening import open_target, open_view
        from shipgraph.engine.viewing import names

        view = await open_view(folder, registry, root)
        async with open_target(view.registry, view.project, root) as (store, timing, _):
            journal, channels = await read_channels(store, names(view), tuple(view.project.channels))
            now = await store.now()
        opened = open_transaction(journal)
        dead_after, metadata = timing.margin, f"{view.registry}/{view.metadata_repository}"
        document = {
            "project": view.project.name,
            "registry": view.registry,
            "channels": [_channel_json(channel) for channel in channels],
            "transaction": None if opened is None else _transaction_json(opened, now, dead_after),
        }
        output.result(document, _text(channels, metadata, opened, now, dead_after))

    run(output, status)


def _channel_json(channel: ChannelView) -> dict[str, Any]:
    import msgspec

    return {
        "channel": channel.name,
        "published": channel.metadata is not None,
        "digest": None if channel.digest is None else str(channel.digest),
        "metadata": None if channel.metadata is None else msgspec.to_builtins(channel.metadata),
        "drift": [
            {"repository": drift.repository, "tag": drift.tag, "wanted": drift.wanted, "there": drift.there}
            for drift in channel.drift
        ],
        "history": [] if channel.head is None else [msgspec.to_builtins(release) for release in channel.head.releases],
        "rolledBack": [] if channel.head is None else [msgspec.to_builtins(release) for release in channel.head.undone],
        "hold": channel.head.hold if channel.head and channel.head.hold else None,
    }


def _transaction_json(entry: JournalEntry, now: float, margin: float) -> dict[str, Any]:
    return {
        "id": entry.id,
        "owner": entry.owner.run,
        "attempt": entry.owner.attempt,
        "kind": str(entry.kind),
        "channel": entry.channel,
        "serial": entry.serial,
        "ageSeconds": max(0, round(now - entry.opened_at)),
        "ownerMayLiveSeconds": max(0, round(entry.opened_at + entry.lease_s + margin - now)),
    }


def _text(channels: list[ChannelView], repository: str, opened: JournalEntry | None, now: float, margin: float) -> str:
    parts: list[str] = []
    for channel in channels:
        if channel.metadata is None:
            parts.append(f"channel {channel.name}: never published")
            continue
        metadata = channel.metadata
        rows = [[image.repository, image.digest, ""] for image in metadata.images]
        if metadata.payload is not None:
            rows.append([metadata.payload.ref.partition("@")[0], metadata.payload.digest, "payload"])
        rows.append([f"{repository}:{channel.name}", str(channel.digest), "metadata"])
        lines = [
            f"channel {channel.name}: version {metadata.version}, serial {metadata.serial}, {metadata.immutable_tag}",
            f"  since {metadata.generated_at}, expires {metadata.expires_at}",
            table(rows, head=["repository", "digest", ""]),
            *(f"  drift: {drift}" for drift in channel.drift),
        ]
        if channel.head is not None:
            lines.extend(
                f"  {'now   ' if position == 0 else 'before'} serial {release.serial}: {release.version} "
                f"{release.immutable_tag} ({release.settled_at})"
                for position, release in enumerate(channel.head.releases[:5])
            )
            lines.extend(
                f"  rolled back: {release.version} {release.immutable_tag} (serial {release.serial})"
                for release in channel.head.undone[:5]
            )
            if channel.head.hold:
                lines.append(f"  held: {channel.head.hold}")
        parts.append("\n".join(lines))
    if opened is not None:
        open_json = _transaction_json(opened, now, margin)
        parts.append(
            f"open transaction {opened.id}: {opened.kind} to {opened.channel} by {opened.owner.run}"
            f" (attempt {opened.owner.attempt}), "
            f"{open_json['ageSeconds']} s old; its owner may live for another {open_json['ownerMayLiveSeconds']} s.\n"
            "  `shipgraph resume` ends it once its owner is dead"
        )
    return "\n\n".join(parts)
