"""Which kinds of evidence a release has, and the refusal where one that the project requires is not there.

Evidence is an OCI referrer that holds a signed in-toto statement; its subject is each platform's manifest (gate, test),
the index and the platforms (provenance), the payload (gate, provenance). An unsigned or untrusted statement does not
count, so without a verifier nothing does.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Protocol

from shipgraph.errors import EvidenceMissing
from shipgraph.tasks import gather

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from shipgraph.oci.digest import Digest
    from shipgraph.oci.manifest import ImageIndex
    from shipgraph.oci.platform import Platform


class Kind(StrEnum):
    """A kind of evidence, by the name that ``[evidence] require`` uses."""

    GATE = "gate"
    TEST = "test"
    PROVENANCE = "provenance"


@dataclass(frozen=True, slots=True)
class Subject:
    """Something that evidence is about, and the kinds that it needs; ``name`` is for people."""

    name: str
    repository: str
    digest: Digest
    kinds: frozenset[Kind]


def image_subject(key: str, repository: str, index: ImageIndex) -> Subject:
    """What an image as a whole needs."""
    return Subject(key, repository, index.digest, frozenset({Kind.PROVENANCE}))


def platform_subject(key: str, repository: str, digest: Digest, platform: Platform | None) -> Subject:
    """What one platform of an image needs."""
    return Subject(f"{key} ({platform or '?'})", repository, digest, frozenset(Kind))


def payload_subject(repository: str, digest: Digest) -> Subject:
    """What the payload needs."""
    return Subject("payload", repository, digest, frozenset({Kind.GATE, Kind.PROVENANCE}))


def release_subjects(
    images: Iterable[tuple[str, str, ImageIndex]], payload: tuple[str, Digest] | None
) -> tuple[Subject, ...]:
    """Everything of a release that evidence is about.

    Args:
        images: key, repository and index of each.
        payload: its repository and digest.
    """
    found: list[Subject] = []
    for key, repository, index in images:
        found.append(image_subject(key, repository, index))
        found.extend(platform_subject(key, repository, child.digest, child.platform) for child in index.manifests)
    if payload is not None:
        found.append(payload_subject(*payload))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Survey:
    """What a release has: for each kind the subjects that lack it. ``required`` are the project's kinds."""

    required: frozenset[Kind]
    missing: dict[Kind, tuple[Subject, ...]]

    def state(self, kind: Kind) -> str:
        """``ok``, or ``MISSING`` with what lacks it."""
        lacking = self.missing.get(kind, ())
        return f"MISSING ({len(lacking)})" if lacking else "ok"

    @property
    def refuses(self) -> bool:
        """Whether something that the project requires is missing."""
        return any(subjects and kind in self.required for kind, subjects in self.missing.items())

    def check(self) -> None:
        """Refuse a release without the evidence that its project requires.

        Raises:
            EvidenceMissing: the message names every kind and up to three subjects that lack it.
        """
        lacking = {kind: subjects for kind, subjects in self.missing.items() if kind in self.required and subjects}
        if lacking:
            parts = [
                f"{kind} of {', '.join(s.name for s in subjects[:3])}{' and more' if len(subjects) > 3 else ''}"
                for kind, subjects in sorted(lacking.items())
            ]
            tests = " (a test that an image doesn't have: [[images.KEY.tests]])" if Kind.TEST in lacking else ""
            raise EvidenceMissing(
                f"required evidence is missing: {'; '.join(parts)}",
                hint=f"run the stages that make it{tests}, or take the kind out of [evidence] require",
            )


class Verifier(Protocol):
    """Decides whether a subject has trusted evidence of a kind."""

    async def __call__(self, subject: Subject, kind: Kind) -> bool:
        """Whether a signed statement of that kind about the subject is there and trusted."""
        ...


async def survey(subjects: Sequence[Subject], required: Iterable[str], verifier: Verifier | None) -> Survey:
    """Look for every kind on every subject that needs it.

    Raises:
        EvidenceMissing: there is no subject: a release without images lacks everything.
        RegistryError
    """
    if not subjects:
        raise EvidenceMissing("a release without images has no evidence")
    wanted = [(subject, kind) for subject in subjects for kind in sorted(subject.kinds)]
    there = [False] * len(wanted)
    if verifier is not None:
        there = await gather([partial(verifier, subject, kind) for subject, kind in wanted])
    missing: dict[Kind, list[Subject]] = {kind: [] for kind in Kind}
    for (subject, kind), found in zip(wanted, there, strict=True):
        if not found:
            missing[kind].append(subject)
    return Survey(frozenset(map(Kind, required)), {kind: tuple(found) for kind, found in missing.items()})
