"""The project as the rest of the program speaks it: checked once, derived, frozen."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final, Literal

from shipgraph.project.retention import RetentionSpec
from shipgraph.project.workflow import WorkflowSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date
    from pathlib import Path

    from shipgraph.evidence.trust import Identity, TrustedKey
    from shipgraph.oci.platform import Platform
    from shipgraph.project.channels import ChannelSpec
    from shipgraph.project.graph import Graph

WILDCARDS: Final = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class FileRule:
    """Files of the payload: a glob pattern relative to the project's folder, and where its matches go.

    ``strip`` is the pattern's leading folder without wildcards (empty for none); ``to`` the folder in the payload.
    """

    pattern: str
    strip: str
    to: str = ""

    @classmethod
    def of(cls, pattern: str, to: str = "") -> FileRule:
        """The rule of a pattern; a pattern without wildcards is one file, and its folder is stripped."""
        parts = PurePosixPath(pattern).parts
        static = 0
        while static < len(parts) - 1 and not WILDCARDS.intersection(parts[static]):
            static += 1
        return cls("/".join(parts), "/".join(parts[:static]), "" if to in ("", ".") else str(PurePosixPath(to)))

    def target(self, path: str) -> str:
        """Where a matching file (POSIX, relative to the project's folder) stands in the payload."""
        inside = path.removeprefix(f"{self.strip}/") if self.strip else path
        return f"{self.to}/{inside}" if self.to else inside


@dataclass(frozen=True, slots=True)
class PayloadSpec:
    """The payload: its repository below the namespace, its types, its files."""

    repository: str
    artifact_type: str
    layer_type: str
    files: tuple[FileRule, ...]


@dataclass(frozen=True, slots=True)
class MetadataSpec:
    """Channel metadata: its repository below the namespace, its type, and its life in seconds."""

    repository: str
    artifact_type: str
    expires_after: int


@dataclass(frozen=True, slots=True)
class BuildSpec:
    """How images are built: the builder's name or ``auto``, builds at a time (None: by the machine), cache kind."""

    builder: Literal["auto", "buildx", "buildah"] = "auto"
    jobs: int | None = None
    cache: str = "auto"


@dataclass(frozen=True, slots=True)
class ExceptionSpec:
    """A finding of the gate that was accepted: which (all three must match), why, and until when."""

    rule: str
    path: str
    fingerprint: str
    reason: str
    expires: date


@dataclass(frozen=True, slots=True)
class GateSpec:
    """The secret gate: the scanner's name, and what was accepted."""

    scanner: Literal["kingfisher", "trivy"] = "kingfisher"
    exceptions: tuple[ExceptionSpec, ...] = ()


@dataclass(frozen=True, slots=True)
class TransactionSpec:
    """Overrides of what the transaction assumes of the registry, in seconds; None leaves the registry's default."""

    lag: float | None = None
    gap: float | None = None
    settle: float | None = None
    margin: float | None = None
    concurrency: int | None = None


@dataclass(frozen=True, slots=True)
class SigningSpec:
    """What a release is signed with, and whose signatures count.

    ``identities`` is None for the release workflow of the source repository, on protected refs; ``trust_config`` is a
    file's path, for Sigstore authorities other than the public ones.
    """

    by: Literal["auto", "key", "keyless"] = "auto"
    keys: tuple[TrustedKey, ...] = ()
    identities: tuple[Identity, ...] | None = None
    trust_config: str | None = None


@dataclass(frozen=True, slots=True)
class VisibilitySpec:
    """Whether a release must be public; None leaves it to the registry's kind."""

    require: Literal["public", "any"] | None = None


@dataclass(frozen=True, slots=True)
class Project:
    """A project: ``folder`` is absolute and holds ``file``; paths in specs are POSIX and relative to it."""

    folder: Path
    file: Path
    name: str
    platforms: tuple[Platform, ...]
    graph: Graph
    metadata: MetadataSpec
    channels: Mapping[str, ChannelSpec] = field(hash=False)
    payload: PayloadSpec | None = None
    evidence: tuple[str, ...] = ("gate", "test", "provenance")
    signing: SigningSpec = SigningSpec()
    gate: GateSpec = GateSpec()
    build: BuildSpec = BuildSpec()
    transaction: TransactionSpec = TransactionSpec()
    visibility: VisibilitySpec = VisibilitySpec()
    retention: RetentionSpec = field(default_factory=RetentionSpec)
    workflow: WorkflowSpec = field(default_factory=WorkflowSpec)
    description: str | None = None
    licenses: str | None = None
    source: str | None = None
    registry: str = "ghcr.io"
    namespace: str | None = None
    default_branch: str = "main"

    def locate(self, path: str) -> Path:
        """The absolute place of a path of a spec."""
        return self.folder / path
