"""A clean-up under way: its plan, what of it is done, and how it goes on with a newer plan."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shipgraph.records.prune import Done
from shipgraph.retain.applying import Progress, key

if TYPE_CHECKING:
    from shipgraph.retain.listing import Listing
    from shipgraph.retain.plan import Deletion, PrunePlan


@dataclass(slots=True)
class Run:
    """One clean-up: what goes in which order, how many deletions are allowed, and what became of each so far."""

    listing: Listing
    plan: PrunePlan
    chosen: list[Deletion]
    limit: int | None
    progress: Progress = field(default_factory=Progress)

    def left(self) -> list[Deletion]:
        """What is still to go, in order."""
        return [one for one in self.chosen if key(one) not in self.progress.done]

    def room(self) -> int:
        """How many deletions the user's limit allows still."""
        return len(self.chosen) if self.limit is None else self.limit - self.progress.deleted

    def renew(self, listing: Listing, plan: PrunePlan) -> None:
        """Go on with a newer plan: what doesn't go by it stays, and nothing that is new in it goes."""
        goes = {key(one): one for one in plan.deletions}
        kept = {key(one): one.fate for one in plan.kept}
        going: list[Deletion] = []
        for old in self.left():
            new = goes.get(key(old))
            if new is not None and new.fate.tags == old.fate.tags:
                going.append(new)
            else:
                why = kept.get(key(old))
                self.progress.note(old, Done.CHANGED, f"it stays by now: {why.reason} {why.because}" if why else "")
        position = {key(one): number for number, one in enumerate(plan.deletions)}
        going.sort(key=lambda one: position[key(one)])
        self.chosen = [one for one in self.chosen if key(one) in self.progress.done] + going
        self.listing, self.plan = listing, plan
