"""Jobs and their steps as values, and these as what a workflow file says."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from shipgraph.workflow.yaml import Noted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shipgraph.workflow.yaml import Value


class Right(StrEnum):
    """What a job may do with its token; a job has those that it names and no others."""

    CONTENTS = "contents: read"
    ACTIONS = "actions: read"
    PACKAGES_READ = "packages: read"
    PACKAGES = "packages: write"
    IDENTITY = "id-token: write"
    ATTESTATIONS = "attestations: write"


@dataclass(frozen=True, slots=True)
class Step:
    """One step: an action with its inputs, or a script, which is the same text whatever starts the workflow."""

    name: str = ""
    id: str = ""
    uses: str = ""
    version: str = ""
    run: str = ""
    inputs: Mapping[str, str | int | bool] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Value]:
        """The step as YAML."""
        document: dict[str, Value] = {}
        if self.name:
            document["name"] = self.name
        if self.id:
            document["id"] = self.id
        if self.uses:
            document["uses"] = Noted(self.uses, after=self.version) if self.version else self.uses
        if self.inputs:
            document["with"] = dict(self.inputs)
        if self.env:
            document["env"] = dict(self.env)
        if self.run:
            document["run"] = self.run
        return document


@dataclass(frozen=True, slots=True)
class Job:
    """One job. ``condition`` is an expression without ``${{ }}``; ``group`` of jobs of which one runs at a time."""

    id: str
    name: str
    runs_on: str
    minutes: int
    rights: tuple[Right, ...]
    steps: tuple[Step, ...]
    needs: tuple[str, ...] = ()
    outputs: Mapping[str, str] = field(default_factory=dict)
    condition: str = ""
    group: str = ""
    environment: str = ""
    note: str = ""

    def document(self) -> Value:
        """The job as YAML."""
        document: dict[str, Value] = {"name": self.name}
        if self.needs:
            document["needs"] = list(self.needs)
        if self.condition:
            document["if"] = f"${{{{ {self.condition} }}}}"
        document["runs-on"] = self.runs_on
        document["timeout-minutes"] = self.minutes
        if self.environment:
            document["environment"] = self.environment
        if self.group:
            # whoever moves tags waits for others that do; nobody is dropped from the queue, and nobody stopped
            document["concurrency"] = {"group": self.group, "cancel-in-progress": False, "queue": "max"}
        if self.outputs:
            document["outputs"] = dict(self.outputs)
        document["permissions"] = {
            name: access for name, _, access in (right.partition(": ") for right in Right if right in self.rights)
        }
        document["steps"] = [step.document() for step in self.steps]
        return Noted(document, above=self.note) if self.note else document
