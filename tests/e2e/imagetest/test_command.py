"""`shipgraph test` as a user runs it: on an image by digest, under profiles, with an OCI runtime."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Box

pytestmark = pytest.mark.real

PROFILES = Path(__file__).parents[3] / "containai" / "docker" / "profiles"
RUNC = ("--engine", "runc")


def sh(name: str, script: str, **more: Any) -> dict[str, Any]:
    """A test that runs a line of shell."""
    return {"name": name, "run": ["sh", "-c", script], **more}


def shipped_profile() -> dict[str, Any]:
    """The seccomp profile that the flagship's proxy runs under."""
    found: dict[str, Any] = json.loads((PROFILES / "seccomp-containai-proxy.json").read_text())
    return found


def without(profile: dict[str, Any], *calls: str) -> dict[str, Any]:
    """The profile with some system calls taken out."""
    rules = [{**rule, "names": [name for name in rule["names"] if name not in calls]} for rule in profile["syscalls"]]
    return {**profile, "syscalls": [rule for rule in rules if rule["names"]]}


def test_good_tests_pass_once_and_their_verdict_counts_the_second_time(box: Box) -> None:
    good = (sh("says hello", "echo hello", **{"expect-output": "^hello$"}), sh("seven", "exit 7", **{"expect-exit": 7}))
    found = box.results(*good, code=0, more=RUNC)
    assert {name: result["outcome"] for name, result in found.items()} == {"says hello": "PASSED", "seven": "PASSED"}
    again = box.test(*good, code=0, more=("--json", *RUNC)).document
    assert (again["images"], again["before"]) == ([], ["box (linux/amd64)"])
    once_more = box.results(*good, code=0, more=(*RUNC, "--again"))
    assert once_more.keys() == found.keys()
    changed = (*good[:1], sh("seven", "exit 8", **{"expect-exit": 7}))
    assert box.results(*changed, code=3, more=RUNC)["seven"]["outcome"] == "FAILED", "that is another test"


def test_all_tests_run_and_every_failure_is_told_with_its_output(box: Box) -> None:
    tests = (
        sh("wrong status", "echo the reason is here; exit 3"),
        sh("good", "true"),
        sh("wrong output", "echo something", **{"expect-output": "else"}),
        sh("too slow", "echo began; sleep 60", timeout="1s"),
    )
    done = box.test(*tests, code=3, more=RUNC)
    assert "wrong status" in done.out
    found = box.results(*tests, code=3, more=RUNC)
    assert {name: result["outcome"] for name, result in found.items()} == {
        "wrong status": "FAILED", "good": "PASSED", "wrong output": "FAILED", "too slow": "FAILED",
    }  # fmt: skip
    assert "it ended with 3, not 0: the reason is here" in found["wrong status"]["reason"]
    assert "not done after 1 s" in found["too slow"]["reason"]
    kept = {name: Path(result["log"]).read_text() for name, result in found.items()}
    assert kept["wrong status"] == "the reason is here\n"
    assert kept["too slow"] == "began\n"
    assert box.test(*tests, code=3, more=("--json", *RUNC)).document["before"] == [], "what failed is no verdict"


def test_the_shipped_profile_lets_a_program_run_and_each_broken_one_refuses(box: Box) -> None:
    shipped = shipped_profile()
    misspelt = without(shipped, "arch_prctl")
    misspelt["syscalls"] = [*misspelt["syscalls"], {"names": ["arch_prtcl"], "action": "SCMP_ACT_ALLOW"}]
    denied = {**shipped, "syscalls": [*shipped["syscalls"], {"names": ["mkdri"], "action": "SCMP_ACT_ERRNO"}]}
    profiles = {
        "shipped": shipped,
        "no arch_prctl": without(shipped, "arch_prctl"),
        "a permission misspelt": misspelt,
        "no exec": without(shipped, "execve", "execveat"),
        "a denial misspelt": denied,
        "denies nothing": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []},
    }
    tests: list[dict[str, Any]] = []
    for number, (name, profile) in enumerate(profiles.items()):
        box.demo.write(f"profiles/{number}.json", json.dumps(profile))
        tests.append({"name": name, "run": ["true"], "seccomp": f"profiles/{number}.json"})
    found = box.results(*tests, code=3, more=RUNC)
    outcomes = {name: result["outcome"] for name, result in found.items()}
    assert outcomes == {name: "PASSED" if name == "shipped" else "FAILED" for name in profiles}
    assert found["shipped"]["seccomp"] == "enforced"
    assert "denies mkdri, which is no system call here" in found["a denial misspelt"]["reason"]
    assert "denies nothing" in found["denies nothing"]["reason"]


def test_a_denial_is_really_enforced(box: Box) -> None:
    bars = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]}
    box.demo.write("bars.json", json.dumps(bars))
    tests = ({"name": "barred", "run": ["mkdir", "/x"], "seccomp": "bars.json", "expect-exit": 1},)
    assert box.results(*tests, code=0, more=RUNC)["barred"]["seccomp"] == "enforced"
    free = ({"name": "free", "run": ["mkdir", "/x"], "expect-exit": 1},)
    assert box.results(*free, code=3, more=(*RUNC, "--again"))["free"]["outcome"] == "FAILED"


def test_apparmor_profiles_that_parse_pass_and_others_refuse(box: Box) -> None:
    box.demo.write("good", (PROFILES / "apparmor-containai-proxy").read_text())
    box.demo.write("bad", "profile shipgraph-bad { /** rq, \n")
    box.demo.write("empty", "\n")
    good = {"name": "good", "run": ["true"], "apparmor": "good"}
    found = box.results(good, code=0, more=RUNC)["good"]
    assert (found["outcome"], found["apparmor"]) in (("WARNED", "syntax-only"), ("PASSED", "enforced"))
    tests: list[dict[str, Any]] = [
        good,
        *({"name": name, "run": ["true"], "apparmor": name} for name in ("bad", "empty")),
    ]
    broken = box.results(*tests, code=3, more=(*RUNC, "--again"))
    assert {name: result["outcome"] == "FAILED" for name, result in broken.items()} == {
        "good": False, "bad": True, "empty": True,
    }  # fmt: skip
    assert "the AppArmor profile bad does not parse" in broken["bad"]["reason"]


def test_bad_questions_have_clear_answers(box: Box) -> None:
    true = sh("true", "true")
    assert "no image 'nobody'" in box.test(true, code=2, more=("nobody",)).err
    assert "profiles/absent.json" in box.test({**true, "seccomp": "profiles/absent.json"}, code=2).err
    assert "allowed: a whole number and a unit" in box.test({**true, "timeout": "soon"}, code=2).err
    box.demo.git("commit", "--quiet", "--allow-empty", "-m", "nothing was built from this")
    assert "the registry has no release of commit" in box.test(true, code=3).err


def test_no_engine_is_an_error_and_no_pass(box: Box, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "git").symlink_to("/usr/bin/git")
    demo = box.demo
    box.test(sh("true", "true"), code=0, more=RUNC)
    done = demo.run("test", "--root", demo.root, "--again", code=1, environment={"PATH": str(tools)})
    assert "nothing here can run an image" in done.err
    assert "  next: install docker, podman or (as root) runc" in done.err
