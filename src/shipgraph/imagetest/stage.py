"""Test: commands run in an image, under the profiles that it will run under; all of them, whatever the first says.

Before a seccomp profile counts as enforced, the same profile without exec must keep the container from starting, with
an errno that nothing else gives. Where something that was asked for can't be enforced here, the test says so (WARNED).
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import anyio

from shipgraph.errors import ConfigurationError
from shipgraph.events import Failed, Finished, Note, Started
from shipgraph.evidence.predicates import verdict_of_tests
from shipgraph.imagetest.apparmor import ENFORCED, LABEL, SYNTAX_ONLY, check_profile
from shipgraph.imagetest.engine import Command, EngineBroken
from shipgraph.imagetest.seccomp import CONTROL_TEXT, control_of, parse_profile
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import encode_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from shipgraph.events import Emit
    from shipgraph.imagetest.apparmor import AppArmor
    from shipgraph.imagetest.engine import Container, Engine, Ran, TestImage
    from shipgraph.imagetest.seccomp import Profile

PROBE: Final = "/shipgraph-probe-that-is-not-there"
PROBE_SECONDS: Final = 60.0
TESTS: Final = "tests"
"""How a verdict's configuration calls the table of tests."""
EMULATED: Final = "not enforced: emulated"


class Outcome(StrEnum):
    """How a test ended."""

    PASSED = "PASSED"
    WARNED = "WARNED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One test: its name, what is run, and what must come out."""

    name: str
    command: Command
    expect_exit: int = 0
    expect_output: str | None = None
    seccomp: Path | None = None
    apparmor: Path | None = None


@dataclass(frozen=True, slots=True)
class TestResult:
    """One test that was run; ``log`` holds its output."""

    __test__ = False

    name: str
    outcome: Outcome
    reason: str
    seccomp: str
    apparmor: str
    log: Path


@dataclass(frozen=True, slots=True)
class ImageResult:
    """All tests of one platform's image, and what ran them."""

    image: TestImage
    engine: str
    results: tuple[TestResult, ...]
    configuration: tuple[dict[str, Any], ...]

    @property
    def passed(self) -> bool:
        """Whether there were tests and none failed."""
        return bool(self.results) and all(result.outcome is not Outcome.FAILED for result in self.results)

    def verdict(self) -> dict[str, Any]:
        """The predicate that says so."""

        def names(outcome: Outcome) -> list[str]:
            return [result.name for result in self.results if result.outcome is outcome]

        return verdict_of_tests(
            passed=names(Outcome.PASSED),
            warned=names(Outcome.WARNED),
            failed=names(Outcome.FAILED),
            configuration=self.configuration,
        )


async def run_tests(
    image: TestImage, tests: Sequence[Wanted], *, engines: Sequence[Engine], logs: Path, emulated: bool, emit: Emit
) -> ImageResult:
    """Run all tests of an image by the first engine that works here.

    Raises:
        EngineBroken: none does.
        ConfigurationError: there are no tests.
        RegistryError, ContentError: the image can't be read.
    """
    if not tests:
        raise ConfigurationError(f"there is no test of {image.title}", hint=f"add [[images.{image.key}.tests]]")
    task, began = f"test:{image.key}:{image.platform.slug}", time.monotonic()
    title = f"test {image.title}"
    emit(Started(task, title))
    problems: list[str] = []
    for engine in engines:
        try:
            async with engine.open(image) as container:
                await _probe(container)
                runner = _Runner(image, container, logs, emulated, emit)
                results = tuple([await runner.run(test) for test in tests])
        except EngineBroken as error:
            problems.append(str(error))
            continue
        if problems:
            emit(Note(f"{title}: by {engine.description}, since {'; '.join(problems)}"))
        found = ImageResult(image, engine.description, results, tuple(_configuration(engine, tests, results)))
        _report(found, task, title, time.monotonic() - began, emit)
        return found
    raise EngineBroken(
        f"{image.title} can't be run here: {'; '.join(problems) or 'there is no engine'}",
        hint="install docker, podman or (as root) runc",
    )


async def _probe(container: Container) -> None:
    """A program that is not there: an engine that works says exactly that, whatever the image is."""
    ran = await container.run(Command((), entrypoint=(PROBE,), timeout=PROBE_SECONDS))
    if ran.status == 0 or "no such file or directory" not in ran.output.lower():
        raise EngineBroken(f"the engine can't start a container: {_last_line(ran)}")


class _Runner:
    """Runs the tests of one image."""

    def __init__(self, image: TestImage, container: Container, logs: Path, emulated: bool, emit: Emit) -> None:
        self._image, self._container, self._emulated, self._emit = image, container, emulated, emit
        self._logs = logs
        self._controlled: dict[bytes, str] = {}

    async def run(self, test: Wanted) -> TestResult:
        log = self._logs / f"test-{self._image.key}-{self._image.platform.slug}-{_slug(test.name)}.log"
        try:
            return await self._run(test, log)
        except ConfigurationError as error:  # a profile that can't be used refuses the release, like a failing test
            await anyio.Path(log).write_text(f"{error}\n")
            return TestResult(test.name, Outcome.FAILED, str(error), "", "", log)

    async def _run(self, test: Wanted, log: Path) -> TestResult:
        seccomp = apparmor = ""
        profile = None
        if test.seccomp is not None:
            profile = parse_profile(await anyio.Path(test.seccomp).read_bytes(), test.seccomp.name)
            for note in profile.notes:
                self._emit(Note(note))
            seccomp = EMULATED if self._emulated else await self._control(test, profile)
            if self._emulated:
                profile = None  # it would filter the emulator's calls, not the program's
        label = None
        if test.apparmor is not None:
            armor = await check_profile(test.apparmor, test.apparmor.name)
            apparmor = await self._label(armor)
            label = armor.name if apparmor == ENFORCED else None
        if seccomp and seccomp not in (ENFORCED, EMULATED):
            await anyio.Path(log).write_text(f"{seccomp}\n")
            return TestResult(test.name, Outcome.FAILED, seccomp, "not enforced", apparmor, log)
        ran = await self._container.run(_with(test.command, seccomp=profile, apparmor=label))
        await anyio.Path(log).write_text(f"{ran.output}\n")
        if reason := _complaint(test, ran):
            return TestResult(test.name, Outcome.FAILED, reason, seccomp, apparmor, log)
        lacking = [word for word in (seccomp, apparmor) if word and word != ENFORCED]
        outcome = Outcome.WARNED if lacking else Outcome.PASSED
        return TestResult(test.name, outcome, ", ".join(lacking), seccomp, apparmor, log)

    async def _control(self, test: Wanted, profile: Profile) -> str:
        """``enforced``, or why it isn't."""
        if profile.raw not in self._controlled:
            ran = await self._container.run(_with(test.command, seccomp=control_of(profile), apparmor=None))
            held = ran.status != 0 and CONTROL_TEXT in ran.output.lower()
            self._controlled[profile.raw] = (
                ENFORCED if held else f"the engine does not enforce {profile.name}: {_last_line(ran)}"
            )
        return self._controlled[profile.raw]

    async def _label(self, armor: AppArmor) -> str:
        if not armor.loaded:
            return SYNTAX_ONLY
        ran = await self._container.run(
            Command((LABEL,), entrypoint=("cat",), apparmor=armor.name, timeout=PROBE_SECONDS)
        )
        words = ran.output.split()
        return ENFORCED if ran.status == 0 and words and words[0] == armor.name else SYNTAX_ONLY


def _with(command: Command, *, seccomp: Profile | None, apparmor: str | None) -> Command:
    return replace(command, seccomp=seccomp, apparmor=apparmor)


def _complaint(test: Wanted, ran: Ran) -> str:
    """What is wrong with how it ended; empty if nothing is."""
    if ran.timed_out:
        return f"it was not done after {test.command.timeout:.0f} s"
    if ran.status != test.expect_exit:
        return f"it ended with {ran.status}, not {test.expect_exit}: {_last_line(ran)}"
    if test.expect_output is not None and not re.search(test.expect_output, ran.output):
        return f"its output does not have {test.expect_output!r}"
    return ""


def _last_line(ran: Ran) -> str:
    lines = [line for line in ran.output.splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else f"no output, status {ran.status}"


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:60] or Digest.of(name.encode()).short


def covers(predicate: Mapping[str, Any], tests: Sequence[Wanted]) -> bool:
    """Whether a verdict is one of exactly these tests and profiles, so that it needn't be given again."""
    wanted = {"sha256": _digest(tests)}
    entries = predicate.get("configuration")
    return isinstance(entries, list) and any(
        isinstance(entry, dict) and entry.get("name") == TESTS and entry.get("digest") == wanted for entry in entries
    )


def _digest(tests: Sequence[Wanted]) -> str:
    """One number for all that is asked, the profiles' contents included."""

    def content(path: Path | None) -> str | None:
        return None if path is None else Digest.of(path.read_bytes()).hex

    asked = [
        {
            "name": test.name,
            "run": list(test.command.run),
            "entrypoint": None if test.command.entrypoint is None else list(test.command.entrypoint),
            "expectExit": test.expect_exit,
            "expectOutput": test.expect_output,
            "user": test.command.user,
            "readOnly": test.command.read_only,
            "tmpfs": list(test.command.tmpfs),
            "env": dict(sorted(test.command.env.items())),
            "timeout": test.command.timeout,
            "seccomp": content(test.seccomp),
            "apparmor": content(test.apparmor),
        }
        for test in tests
    ]
    return Digest.of(encode_json(asked)).hex


def _configuration(engine: Engine, tests: Sequence[Wanted], results: Sequence[TestResult]) -> list[dict[str, Any]]:
    """What the verdict was made from: the tests, the engine, and each profile with how it was enforced."""
    found: list[dict[str, Any]] = [
        {
            "name": TESTS,
            "digest": {"sha256": _digest(tests)},
            "annotations": {"engine": engine.description},
        }
    ]
    for test, result in zip(tests, results, strict=True):
        for path, enforcement in ((test.seccomp, result.seccomp), (test.apparmor, result.apparmor)):
            if path is not None:
                content = {"sha256": Digest.of(path.read_bytes()).hex}
                entry = {"name": path.name, "digest": content, "annotations": {"enforcement": enforcement}}
                if entry not in found:
                    found.append(entry)
    return found


def _report(found: ImageResult, task: str, title: str, seconds: float, emit: Emit) -> None:
    failed = [result for result in found.results if result.outcome is Outcome.FAILED]
    for result in failed:
        emit(Failed(task, f"{title}: {result.name}", result.reason, str(result.log)))
    for result in found.results:
        if result.outcome is Outcome.WARNED:
            emit(Note(f"{title}: {result.name}: {result.reason}"))
    if not failed:
        emit(Finished(task, title, f"{len(found.results)} passed", seconds))
