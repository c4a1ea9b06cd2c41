"""How a clean-up is shown: as JSON, and for people."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import msgspec

from shipgraph.cli.output import size, table
from shipgraph.events import counted
from shipgraph.records.prune import Done

if TYPE_CHECKING:
    from shipgraph.engine.pruning import Pruned
    from shipgraph.engine.unpruning import Undone

SHOWN: Final = 5
"""Of each kind of outcome; JSON has all."""


def pruned_json(done: Pruned) -> dict[str, Any]:
    """The result as JSON."""
    plan, outcomes = done.plan, done.progress.done.values()
    return {
        "policy": plan.policy,
        "plan": msgspec.to_builtins(plan),
        "planDigest": plan.digest,
        "onlyShown": done.shown,
        "versions": sum(len(package.versions) for package in plan.packages),
        "going": len(plan.deletions),
        "freed": plan.freed,
        "outcomes": {str(kind): sum(one.done is kind for one in outcomes) for kind in Done},
        "done": [msgspec.to_builtins(one) for one in outcomes],
        "left": done.left,
        "whyLeft": done.why_left,
        "run": done.record.run if done.record is not None else "",
    }


def pruned_lines(done: Pruned, *, dry_run: bool) -> list[str]:
    """The result for people."""
    plan = done.plan
    rows = []
    for package in plan.packages:
        going = sum(fate.goes for fate in package.versions)
        kept = Counter(str(fate.reason) for fate in package.versions if not fate.goes)
        why = ", ".join(f"{count} {reason}" for reason, count in kept.most_common(4))
        rows.append((package.repository, str(len(package.versions) - going), str(going), size(package.freed), why))
    lines = [table(rows, head=("package", "stay", "go", "frees", "why they stay"))] if rows else []
    lines += [f"note: {note}" for note in plan.notes]
    outcomes = list(done.progress.done.values())
    going = len(plan.deletions)
    if dry_run:
        lines.append(f"{counted(going, 'version')} would go; nothing was changed")
    elif done.shown:
        lines.append(
            f"this is the first plan of this policy ({plan.policy[:19]}…): {counted(going, 'version')} would go,"
            " nothing was deleted; run the same command again to carry it out"
        )
    else:
        deleted = sum(one.done in (Done.DELETED, Done.GONE) for one in outcomes)
        lines.append(counted(deleted, "version is", "versions are") + " deleted" if outcomes else "nothing to delete")
    for kind in (Done.REFUSED, Done.CHANGED, Done.HELD):
        some = [one for one in outcomes if one.done is kind]
        lines += [f"{kind}: {one.repository}@{one.digest[:19]}… {one.detail}" for one in some[:SHOWN]]
        if len(some) > SHOWN:
            lines.append(f"{kind}: and {len(some) - SHOWN} more")
    if done.left and done.why_left:
        lines.append(f"{counted(done.left, 'version is', 'versions are')} left for the next clean-up: {done.why_left}")
    return lines


def undone_result(undone: Undone | None) -> tuple[dict[str, Any], str]:
    """What was brought back, as JSON and for people."""
    if undone is None:
        return {"undoes": None, "versions": [], "left": 0, "earlier": 0}, "nothing that a clean-up deleted is missing"
    versions = undone.record.versions
    back = sum(one.done is Done.RESTORED for one in versions)
    lines = [f"{counted(back, 'version')} of clean-up {undone.of.run} {'is' if back == 1 else 'are'} back"]
    lines += [f"lost: {one.repository}@{one.digest}: {one.detail}" for one in versions if one.done is Done.LOST]
    lines += [
        f"{one.repository}@{one.digest}: {one.detail}" for one in versions if one.done is Done.RESTORED and one.detail
    ]
    if undone.left:
        lines.append(f"{counted(undone.left, 'version is', 'versions are')} still to come: run the same command again")
    if undone.earlier:
        lines.append(
            f"{counted(undone.earlier, 'earlier clean-up')} deleted something too: run the same command again"
            " for the last"
        )
    lines.append("the next `shipgraph prune` only shows its plan")
    document = {
        "undoes": undone.of.run,
        "versions": [msgspec.to_builtins(one) for one in versions],
        "left": undone.left,
        "earlier": undone.earlier,
    }
    return document, "\n".join(lines)
