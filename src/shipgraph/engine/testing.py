"""Image tests of a release: every platform that can run here, by digest; what passed is signed, what failed refuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from shipgraph.build.emulation import can_run, native_platform
from shipgraph.engine.attesting import intent_for, sign
from shipgraph.engine.validity import Telling, Validity
from shipgraph.errors import EvidenceMissing, Refused
from shipgraph.events import Note
from shipgraph.evidence.requirements import Kind, Subject, platform_subject
from shipgraph.imagetest.engine import Command, EngineBroken, TestImage
from shipgraph.imagetest.select import find_engines
from shipgraph.imagetest.snapshots import open_snapshots
from shipgraph.imagetest.stage import ImageResult, Outcome, Wanted, run_tests
from shipgraph.oci.manifest import ImageManifest
from shipgraph.promote.collect import collect_images

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shipgraph.engine.signing import Signing
    from shipgraph.engine.workspace import Workspace
    from shipgraph.events import Emit
    from shipgraph.oci.digest import Digest
    from shipgraph.oci.platform import Platform
    from shipgraph.project.graph import ImageTest
    from shipgraph.project.release import Release
    from shipgraph.project.spec import Project
    from shipgraph.promote.collect import ReleaseSet
    from shipgraph.store.protocols import Store


@dataclass(frozen=True, slots=True)
class Tested:
    """What the stage did: what was run, what had passed before, and what can't be run here or has no test."""

    results: tuple[ImageResult, ...]
    before: tuple[str, ...]
    omitted: tuple[str, ...]

    @property
    def failed(self) -> tuple[ImageResult, ...]:
        """The images that failed a test."""
        return tuple(result for result in self.results if not result.passed)

    def check(self) -> None:
        """Refuse a release with a failing test.

        Raises:
            Refused: the message names every failing test.
        """
        lines = [
            f"{result.image.title}: {test.name}: {test.reason} (output: {test.log})"
            for result in self.failed
            for test in result.results
            if test.outcome is Outcome.FAILED
        ]
        if lines:
            raise Refused("\n".join(["image tests failed:", *lines]), hint="mend the image or the test; nothing moved")


async def run_release_tests(
    release: Release,
    revision: int,
    *,
    host: str,
    target: Store,
    workspace: Workspace,
    signing: Signing | None,
    emit: Emit,
    keys: Sequence[str] = (),
    platforms: Sequence[Platform] = (),
    engine: str = "auto",
    again: bool = False,
) -> Tested:
    """Run the tests that have no trusted verdict yet, all of them, and sign the verdicts of what passed.

    A verdict of other tests than the project's file asks for now is none.

    Args:
        host: the address by which programs pull from ``target``.
        signing: None where nothing is signed; then no verdict is there before, and none is left.
        keys, platforms: only these of the release's.
        again: also what has a verdict already.

    Raises:
        Refused: an image of the set is missing.
        EngineBroken: nothing here can run an image.
        SigningFailed, RegistryError
    """
    graph = release.project.graph
    for key in keys:
        graph[key]  # an unknown key is an error before anything starts
    found = await collect_images(target, release, release.immutable_tag(revision))
    asked = tests_of(release, found)
    verifier = None if signing is None else signing.verifier(target, Validity(release.project.gate, tests=asked))
    wanted: list[tuple[TestImage, list[Wanted], Subject]] = []
    before: list[str] = []
    omitted: list[str] = []
    for image in found.images:
        if keys and image.key not in keys:
            continue
        for child in image.index.manifests:
            platform = child.platform
            if platform is None or (platforms and platform not in platforms):
                continue
            title = f"{image.key} ({platform})"
            tests = asked[image.repository, child.digest]
            subject = platform_subject(image.key, image.repository, child.digest, platform)
            if not again and verifier is not None and await Telling(verifier, emit)(subject, Kind.TEST):
                before.append(title)
            elif not tests:
                omitted.append(f"{title} has no test")
            elif not can_run(platform):
                omitted.append(f"{title} can't run on this machine")
            else:
                manifest = await target.manifest(image.repository, child.digest)
                assert isinstance(manifest, ImageManifest)  # noqa: S101 (an index within an index was refused)
                reference = f"{host}/{image.repository}@{child.digest}"
                wanted.append((TestImage(image.key, image.repository, manifest, platform, reference), tests, subject))
    for line in omitted:
        emit(Note(line, warning=True))
    results = await _run(wanted, target=target, workspace=workspace, engine=engine, emit=emit) if wanted else []
    intents = [
        intent_for(release, subject, result.image.manifest.descriptor, Kind.TEST, result.verdict)
        for result, (_, _, subject) in zip(results, wanted, strict=True)
        if result.passed
    ]
    if intents and signing is not None:
        await sign(intents, about="tests", target=target, signing=signing, verifier=verifier, emit=emit)
    return Tested(tuple(results), tuple(before), tuple(omitted))


def check_tests(release: Release) -> None:
    """Refuse what has no tests before an hour of building, not after it.

    Raises:
        EvidenceMissing
    """
    if lacking := release.untested_images:
        raise EvidenceMissing(
            f"required evidence is missing: test of {', '.join(lacking)}, for the project has none",
            hint="add [[images.KEY.tests]], or take `test` out of [evidence] require",
        )


def tests_of(release: Release, found: ReleaseSet) -> dict[tuple[str, Digest], list[Wanted]]:
    """What the project's file asks of each platform of a set, by repository and digest."""
    return {
        (image.repository, child.digest): _tests(
            release.project, release.project.graph[image.key].tests, child.platform
        )
        for image in found.images
        for child in image.index.manifests
        if child.platform is not None
    }


async def _run(
    wanted: Sequence[tuple[TestImage, list[Wanted], Subject]],
    *,
    target: Store,
    workspace: Workspace,
    engine: str,
    emit: Emit,
) -> list[ImageResult]:
    workspace.prepare()
    await anyio.Path(workspace.logs).mkdir(parents=True, exist_ok=True)
    native = native_platform()
    results: list[ImageResult] = []
    async with open_snapshots(workspace.root / "tests") as snapshots:
        engines, problems = await find_engines(snapshots, target, choice=engine)
        if not engines:
            raise EngineBroken(
                f"nothing here can run an image: {'; '.join(problems)}", hint="install docker, podman or (as root) runc"
            )
        for image, tests, _ in wanted:
            emulated = image.platform.architecture != native.architecture
            done = await run_tests(image, tests, engines=engines, logs=workspace.logs, emulated=emulated, emit=emit)
            results.append(done)
            # those that were broken are not asked again for the next image: each would pull it first
            names = [one.description for one in engines]
            engines = engines[names.index(done.engine) :]
    return results


def _tests(project: Project, tests: Sequence[ImageTest], platform: Platform) -> list[Wanted]:
    return [
        Wanted(
            test.name,
            Command(
                run=test.run,
                entrypoint=test.entrypoint,
                user=test.user,
                read_only=test.read_only,
                tmpfs=test.tmpfs,
                env=test.env,
                timeout=float(test.timeout),
            ),
            expect_exit=test.expect_exit,
            expect_output=test.expect_output,
            seccomp=None if test.seccomp is None else project.locate(test.seccomp),
            apparmor=None if test.apparmor is None else project.locate(test.apparmor),
        )
        for test in tests
        if not test.platforms or platform in test.platforms
    ]
