"""What started a release, whoever the messenger was: a GitHub event, or a person at a terminal."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class TriggerKind(StrEnum):
    """The ways a release starts."""

    PUSH = "push"
    PULL_REQUEST = "pull_request"
    SCHEDULE = "schedule"
    TAG = "tag"
    DISPATCH = "dispatch"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Trigger:
    """What started a release.

    ``ref`` is a full git ref (``refs/heads/main``); ``sha`` the commit it is about, empty where the work tree decides;
    ``number`` a pull request's; ``schedule`` the cron expression that fired; ``channel`` and ``version`` what a person
    asked for; ``source`` the https address of the running repository, where the messenger knows it.
    """

    kind: TriggerKind
    ref: str = ""
    sha: str = ""
    number: int | None = None
    schedule: str = ""
    channel: str | None = None
    version: str | None = None
    source: str = ""

    @classmethod
    def local(cls, channel: str | None = None, version: str | None = None) -> Trigger:
        """A command at a terminal: ``--channel`` and ``--version``."""
        return cls(TriggerKind.LOCAL, channel=channel, version=version)

    @property
    def branch(self) -> str | None:
        """The branch's name, if the ref is one."""
        return self.ref.removeprefix("refs/heads/") if self.ref.startswith("refs/heads/") else None

    @property
    def tag(self) -> str | None:
        """The git tag's name, if the ref is one."""
        return self.ref.removeprefix("refs/tags/") if self.ref.startswith("refs/tags/") else None

    def __str__(self) -> str:
        if self.kind is TriggerKind.PULL_REQUEST:
            return f"pull request {self.number}"
        if self.kind is TriggerKind.SCHEDULE:
            return f"schedule {self.schedule}".rstrip()
        if self.kind in (TriggerKind.PUSH, TriggerKind.TAG):
            return f"push of {self.ref}"
        return "dispatch" if self.kind is TriggerKind.DISPATCH else "local command"
