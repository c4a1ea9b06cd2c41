"""The stage over an engine that does as it is told: what passes, what is refused, and what says that it isn't sure."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.cli.test_documents import documented, members

from shipgraph.cli.commands.test import _document
from shipgraph.engine import testing
from shipgraph.errors import ConfigurationError
from shipgraph.evidence.predicates import passes
from shipgraph.evidence.requirements import Kind
from shipgraph.imagetest.engine import Command, Container, EngineBroken, Ran, TestImage
from shipgraph.imagetest.runtime import find_user, runtime_config
from shipgraph.imagetest.stage import PROBE, ImageResult, Outcome, Wanted, covers, run_tests
from shipgraph.oci.manifest import build_artifact
from shipgraph.oci.platform import Platform

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from shipgraph.events import Event

pytestmark = pytest.mark.anyio

IMAGE = TestImage(
    "proxy", "acme/demo-proxy", build_artifact("application/vnd.x", []), Platform("linux", "amd64"), "registry/x"
)
PROFILE = '{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read", "execve"], "action": "SCMP_ACT_ALLOW"}]}'


@dataclass
class FakeEngine:
    """Answers commands by a table; enforces profiles unless told otherwise."""

    answers: dict[str, Ran] = field(default_factory=dict)
    works: bool = True
    enforces: bool = True
    description: str = "fake 1"
    commands: list[Command] = field(default_factory=list)

    @asynccontextmanager
    async def open(self, image: TestImage) -> AsyncIterator[Container]:
        yield self

    async def run(self, command: Command) -> Ran:
        if command.entrypoint == (PROBE,):
            text = f"exec {PROBE}: no such file or directory" if self.works else "daemon: rlimit: not permitted"
            return Ran(127, text)
        self.commands.append(command)
        if command.seccomp is not None and command.seccomp.name.startswith("control") and self.enforces:
            return Ran(1, "exec: operation canceled")
        return self.answers.get(" ".join(command.run), Ran(0, ""))


async def run(tmp_path: Path, engine: FakeEngine, *tests: Wanted, emulated: bool = False) -> ImageResult:
    events: list[Event] = []
    return await run_tests(IMAGE, tests, engines=[engine], logs=tmp_path, emulated=emulated, emit=events.append)


async def test_exit_code_and_output_decide(tmp_path: Path) -> None:
    engine = FakeEngine({"a": Ran(0, "Squid Cache: Version 5.7"), "b": Ran(3, "boom"), "c": Ran(0, "", timed_out=True)})
    found = await run(
        tmp_path, engine,
        Wanted("good", Command(("a",)), expect_output=r"Version \d"),
        Wanted("silent", Command(("a",)), expect_output="Apache"),
        Wanted("wanted", Command(("b",)), expect_exit=3),
        Wanted("fails", Command(("b",))),
        Wanted("hangs", Command(("c",))),
    )  # fmt: skip
    assert [result.outcome for result in found.results] == ["PASSED", "FAILED", "PASSED", "FAILED", "FAILED"]
    assert "boom" in found.results[3].reason
    assert found.results[3].log.read_text() == "boom\n"
    assert not found.passed
    assert not passes(Kind.TEST, found.verdict())


async def test_a_seccomp_profile_counts_once_its_control_has_held(tmp_path: Path) -> None:
    place = tmp_path / "seccomp.json"
    place.write_text(PROFILE)
    engine = FakeEngine()
    tests = [Wanted(name, Command((name,)), seccomp=place) for name in ("a", "b")]
    found = await run(tmp_path, engine, *tests)
    assert [(result.outcome, result.seccomp) for result in found.results] == [(Outcome.PASSED, "enforced")] * 2
    assert [command.run for command in engine.commands] == [("a",), ("a",), ("b",)]  # one control for both
    assert passes(Kind.TEST, found.verdict())
    profiles = [entry for entry in found.verdict()["configuration"] if entry["name"] == "seccomp.json"]
    assert [entry["annotations"]["enforcement"] for entry in profiles] == ["enforced"]


async def test_an_engine_that_ignores_profiles_fails_the_test(tmp_path: Path) -> None:
    place = tmp_path / "seccomp.json"
    place.write_text(PROFILE)
    found = await run(tmp_path, FakeEngine(enforces=False), Wanted("a", Command(("a",)), seccomp=place))
    assert found.results[0].outcome is Outcome.FAILED
    assert "does not enforce" in found.results[0].reason


async def test_a_broken_profile_fails_the_test(tmp_path: Path) -> None:
    place = tmp_path / "seccomp.json"
    place.write_text("{")
    found = await run(tmp_path, FakeEngine(), Wanted("a", Command(("a",)), seccomp=place))
    assert found.results[0].outcome is Outcome.FAILED


async def test_an_emulated_platform_says_that_its_profile_is_not_enforced(tmp_path: Path) -> None:
    place = tmp_path / "seccomp.json"
    place.write_text(PROFILE)
    engine = FakeEngine()
    found = await run(tmp_path, engine, Wanted("a", Command(("a",)), seccomp=place), emulated=True)
    assert [(result.outcome, result.seccomp) for result in found.results] == [("WARNED", "not enforced: emulated")]
    assert engine.commands[0].seccomp is None
    assert found.verdict()["result"] == "WARNED"
    assert passes(Kind.TEST, found.verdict())


async def test_the_next_engine_is_taken_where_one_is_broken(tmp_path: Path) -> None:
    events: list[Event] = []
    tests = [Wanted("a", Command(("a",)))]
    engines = [FakeEngine(works=False), FakeEngine(description="fake 2")]
    found = await run_tests(IMAGE, tests, engines=engines, logs=tmp_path, emulated=False, emit=events.append)
    assert found.engine == "fake 2"
    with pytest.raises(EngineBroken, match="rlimit"):
        await run_tests(IMAGE, tests, engines=engines[:1], logs=tmp_path, emulated=False, emit=events.append)
    with pytest.raises(EngineBroken):
        await run_tests(IMAGE, tests, engines=[], logs=tmp_path, emulated=False, emit=events.append)


async def test_a_verdict_covers_the_tests_that_it_is_about_and_no_others(tmp_path: Path) -> None:
    place = tmp_path / "seccomp.json"
    place.write_text(PROFILE)
    test = Wanted("a", Command(("a",), env={"MODE": "x"}), seccomp=place)
    verdict = (await run(tmp_path, FakeEngine(), test)).verdict()
    assert covers(verdict, [test])
    others: list[list[Wanted]] = [
        [],
        [test, test],
        [replace(test, name="b")],
        [replace(test, expect_output="more")],
        [replace(test, command=replace(test.command, env={"MODE": "y"}))],
        [replace(test, command=replace(test.command, entrypoint=("b",)))],
        [replace(test, seccomp=None)],
    ]
    for other in others:
        assert not covers(verdict, other)
    place.write_text(PROFILE + " ")
    assert not covers(verdict, [test])
    nothing: list[dict[str, Any]] = [{}, {"configuration": "tests"}, {"configuration": [None, {"name": "tests"}]}]
    for broken in nothing:
        assert not covers(broken, [test])


async def test_no_test_is_no_verdict(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no test"):
        await run(tmp_path, FakeEngine())


def test_users_are_those_of_the_image(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nproxy:x:13:13:p:/bin:/sbin/nologin\nbroken\n")
    (tmp_path / "etc/group").write_text("proxy:x:13:\nlog:x:40:proxy,other\n")
    assert find_user(tmp_path, "", "it") == ({"uid": 0, "gid": 0}, "/root")
    assert find_user(tmp_path, "proxy", "it") == ({"uid": 13, "gid": 13, "additionalGids": [40]}, "/bin")
    assert find_user(tmp_path, "13:log", "it") == ({"uid": 13, "gid": 40}, "/bin")
    assert find_user(tmp_path, "1000:1000", "it") == ({"uid": 1000, "gid": 1000}, "/")
    for wrong in ("nobody", "proxy:nogroup"):
        with pytest.raises(Exception, match="has no"):
            find_user(tmp_path, wrong, "it")


def test_a_link_in_the_image_shows_no_file_of_this_machine(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (tmp_path / "passwd").write_text("evil:x:0:0::/:\n")
    (root / "etc/passwd").symlink_to("../../passwd")
    with pytest.raises(Exception, match="has no user"):
        find_user(root, "evil", "it")


def test_the_runtimes_configuration(tmp_path: Path) -> None:
    config = {"Entrypoint": ["/entry"], "Cmd": ["x"], "Env": ["A=1", "PATH=/bin"], "WorkingDir": "/w", "User": "5"}
    command = Command(("squid", "-v"), read_only=True, tmpfs=("/run/squid",), env={"A": "2"})
    out = runtime_config(config, command, tmp_path, tmp_path / "hosts", IMAGE)
    assert out["process"]["args"] == ["/entry", "squid", "-v"]
    assert {"A=2", "PATH=/bin"} <= set(out["process"]["env"])
    assert out["process"]["user"] == {"uid": 5, "gid": 0}
    assert out["process"]["capabilities"]["effective"] == []
    assert out["root"]["readonly"]
    assert out["mounts"][-1]["destination"] == "/run/squid"
    assert {"type": "network"} in out["linux"]["namespaces"]


async def test_the_commands_document_is_as_described(tmp_path: Path) -> None:
    found = await run(tmp_path, FakeEngine(), Wanted("a", Command(("a",))))
    assert members(_document(testing.Tested((found,), (), ()))) == documented()["test"]
