"""The secret gate between building and publishing: what the job's registry holds is scanned before it is copied on.

``Gate`` is made once for a release, so layers that images and platforms share are scanned once; the engine calls
``check`` with each platform's manifest as soon as it is built, and nothing is copied whose verdict refuses.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from shipgraph.engine.workspace import user_cache
from shipgraph.errors import Refused
from shipgraph.oci.reference import Reference
from shipgraph.scan.exceptions import Accepted
from shipgraph.scan.stage import Subject, check_verdicts, gate_images

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from shipgraph.engine.workspace import Workspace
    from shipgraph.events import Emit
    from shipgraph.oci.digest import Digest
    from shipgraph.oci.platform import Platform
    from shipgraph.project.release import Release
    from shipgraph.project.spec import GateSpec
    from shipgraph.scan.kingfisher import Kingfisher
    from shipgraph.scan.scanner import Scanner
    from shipgraph.scan.verdict import Verdict
    from shipgraph.store.protocols import Fetcher, Resolver

FOLDER: Final = "gate"
PAYLOAD: Final = "payload"


class Gate:
    """One release's secret gate: a scanner, the accepted findings, and every verdict so far, by digest."""

    def __init__(self, scanner: Scanner, exceptions: Sequence[Accepted], *, emit: Emit) -> None:
        self._scanner, self._exceptions, self._emit = scanner, tuple(exceptions), emit
        self.verdicts: dict[tuple[str, Digest], Verdict] = {}

    async def rules(self) -> str:
        """The version of the rules that it goes by.

        Raises:
            Refused: there is no scanner.
        """
        await self._scanner.prepare()
        return self._scanner.version

    async def look(
        self, fetcher: Fetcher, subjects: Sequence[Subject], *, platforms: Collection[Platform] = ()
    ) -> tuple[Verdict, ...]:
        """The verdicts on some images or artifacts; each digest is looked at once.

        Raises:
            Refused: there is nothing to look at, or no scanner.
            RegistryError: they can't be read.
        """
        missing = [one for one in subjects if (one.repository, one.digest) not in self.verdicts]
        if missing or not subjects:
            verdicts = await gate_images(
                fetcher,
                missing,
                scanner=self._scanner,
                exceptions=self._exceptions,
                platforms=platforms,
                emit=self._emit,
            )
            self.verdicts.update({(one.repository, one.digest): one for one in verdicts})
        return tuple(self.verdicts[one.repository, one.digest] for one in subjects)

    async def look_at(self, fetcher: Fetcher, name: str, repository: str, digest: Digest) -> Verdict:
        """The verdict on one image or artifact."""
        (verdict,) = await self.look(fetcher, [Subject(name, repository, digest)])
        return verdict

    def check(self) -> None:
        """Refuse the release if any verdict so far does; the message names all of them.

        Raises:
            Refused
        """
        check_verdicts(tuple(self.verdicts.values()))


class Gates:
    """The gates of one run: one for each registry that is read, over the same verdicts; opened when they are used."""

    def __init__(self, spec: GateSpec, workspace: Workspace, *, emit: Emit) -> None:
        self._spec, self._workspace, self._emit = spec, workspace, emit
        self._open: dict[str, Gate] = {}

    def at(self, host: str) -> Gate:
        """The gate that reads a registry.

        Args:
            host: the registry as this machine reaches it.
        """
        if host not in self._open:
            self._open[host] = open_gate(self._spec, host=host, workspace=self._workspace, emit=self._emit)
        return self._open[host]

    def verdict(self, repository: str, digest: Digest) -> Verdict | None:
        """What was found out about a digest, wherever it was read."""
        found = (gate.verdicts.get((repository, digest)) for gate in self._open.values())
        return next((verdict for verdict in found if verdict is not None), None)

    def check(self) -> None:
        """Refuse the release if any verdict so far does; the message names all of them.

        Raises:
            Refused
        """
        verdicts = [verdict for gate in self._open.values() for verdict in gate.verdicts.values()]
        if verdicts:
            check_verdicts(verdicts)


def open_gate(spec: GateSpec, *, host: str, workspace: Workspace, emit: Emit) -> Gate:
    """The gate of a project.

    Args:
        host: the registry that is read, as this machine reaches it; only trivy, which reads by itself, needs it.
        workspace: where reports and compiled rules are kept.
    """
    return Gate(make_scanner(spec.scanner, host=host, workspace=workspace), accepted_findings(spec), emit=emit)


def accepted_findings(spec: GateSpec) -> tuple[Accepted, ...]:
    """What the project's file accepts."""
    return tuple(Accepted(one.rule, one.path, one.fingerprint, one.reason, one.expires) for one in spec.exceptions)


def make_scanner(name: str, *, host: str, workspace: Workspace) -> Scanner:
    """The scanner of a name that ``[gate] scanner`` allows."""
    # Imported here: a release that has nothing to scan starts faster.
    from shipgraph.scan.cache import ReportCache

    workspace.prepare()
    folder = workspace.root / FOLDER
    if name == "trivy":
        from shipgraph.scan.trivy import Trivy

        return Trivy(host, folder=folder / "trivy", cache=lambda version: ReportCache(folder / "reports", version))
    from shipgraph.scan.layers import LayeredScanner

    content = _kingfisher(user_cache() or workspace.root)
    return LayeredScanner(content, cache=ReportCache(folder / "reports", content.version))


@lru_cache
def _kingfisher(cache: Path) -> Kingfisher:
    """One for the whole process, which loads its rules once; they are compiled once for all projects."""
    from shipgraph.scan.kingfisher import Kingfisher

    return Kingfisher(cache / FOLDER / "rules")


@dataclass(frozen=True, slots=True)
class Named:
    """What a user named: a repository, by tag or digest; ``host`` is another registry's, or empty."""

    name: str
    host: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None


def find_named(release: Release, names: Sequence[str], tag: str) -> list[Named]:
    """Keys of images, ``payload``, and references by tag or digest; all that the project ships if nothing is named.

    Args:
        tag: the tag of images and payload that are named by their key.

    Raises:
        ConfigurationError: a malformed reference, or an unknown key.
    """
    keys = list(names) or [*release.project.graph.order, *([PAYLOAD] if release.payload_repository else [])]
    return [_find(release, name, tag) for name in keys]


def _find(release: Release, name: str, tag: str) -> Named:
    if name == PAYLOAD and release.payload_repository:
        return Named(name, "", release.payload_repository, tag)
    if not set(name) & set("/:@"):
        return Named(name, "", release.repository(name), tag)
    reference = Reference.parse(name, default_host=release.registry)
    host = "" if reference.host == release.registry else reference.host
    return Named(name, host, reference.repository, reference.tag or tag, reference.digest)


async def resolve_named(store: Resolver, named: Sequence[Named]) -> list[Subject]:
    """What was named, by digest.

    Raises:
        Refused: a tag isn't there.
        RegistryError
    """
    out: list[Subject] = []
    for one in named:
        digest = one.digest
        if digest is None:
            found = await store.resolve(one.repository, one.tag or "latest")
            if found is None:
                raise Refused(
                    f"{one.repository}:{one.tag} is not there, and a gate over nothing proves nothing",
                    hint="name a digest (REPOSITORY@sha256:…), or another tag with --tag",
                )
            digest = found.digest
        out.append(Subject(one.name, one.repository, digest))
    return out
