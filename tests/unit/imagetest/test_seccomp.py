"""Seccomp profiles: read, turned into the runtime's form, and made into a control under which nothing starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shipgraph.errors import ConfigurationError
from shipgraph.imagetest.seccomp import CONTROL_TEXT, ECANCELED, control_of, is_syscall, parse_profile, runtime_form

SHIPPED = Path(__file__).parents[3] / "containai" / "docker" / "profiles" / "seccomp-containai-proxy.json"


def profile(**members: Any) -> bytes:
    return json.dumps({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [], **members}).encode()


def form(raw: bytes, **more: Any) -> dict[str, Any]:
    wanted: dict[str, Any] = {"architecture": "amd64", "capabilities": ["CAP_KILL"], **more}
    return runtime_form(parse_profile(raw, "p.json"), **wanted)


def test_rules_are_selected_as_docker_does() -> None:
    rules = [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["mkdir"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
        {"names": ["write"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_KILL"]}},
        {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_KILL"]}},
        {"names": ["open"], "action": "SCMP_ACT_ALLOW", "excludes": {"arches": ["amd64"]}},
        {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
        {"names": ["kill"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "99.0"}},
        {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 22,
         "args": [{"index": 0, "value": 16, "valueTwo": 0, "op": "SCMP_CMP_EQ"}]},
        {"name": "close", "action": "SCMP_ACT_ALLOW"},
    ]  # fmt: skip
    archs = [
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": []},
    ]
    out = form(profile(syscalls=rules, archMap=archs, defaultErrnoRet=38))
    assert out["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    assert out["defaultErrnoRet"] == 38
    assert [rule["names"] for rule in out["syscalls"]] == [["read"], ["write"], ["ptrace"], ["socket"], ["close"]]
    assert (out["syscalls"][3]["errnoRet"], out["syscalls"][3]["args"][0]["value"]) == (22, 16)
    arm = form(profile(syscalls=rules, archMap=archs), architecture="arm64")
    assert arm["architectures"] == ["SCMP_ARCH_AARCH64"]
    assert ["mkdir"] in [rule["names"] for rule in arm["syscalls"]]


def test_the_control_lets_nothing_start_and_says_so_in_its_own_words() -> None:
    rules = [
        {"names": ["read", "execve"], "action": "SCMP_ACT_ALLOW"},
        {"name": "execveat", "action": "SCMP_ACT_ALLOW"},
    ]
    control = control_of(parse_profile(profile(syscalls=rules), "p.json"))
    out = runtime_form(control, architecture="amd64", capabilities=())
    assert out["syscalls"] == [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["execve", "execveat"], "action": "SCMP_ACT_ERRNO", "errnoRet": ECANCELED},
    ]
    import os

    assert os.strerror(ECANCELED).lower() == CONTROL_TEXT


@pytest.mark.skipif(is_syscall("no_such_call"), reason="there is no libseccomp to ask")
def test_a_misspelt_denial_is_refused_and_a_misspelt_permission_noted() -> None:
    deny = profile(defaultAction="SCMP_ACT_ALLOW", syscalls=[{"names": ["mkdri"], "action": "SCMP_ACT_ERRNO"}])
    with pytest.raises(ConfigurationError, match="mkdri"):
        parse_profile(deny, "p.json")
    allow = profile(syscalls=[{"names": ["mkdri", "read"], "action": "SCMP_ACT_ALLOW"}])
    assert len(parse_profile(allow, "p.json").notes) == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        profile(defaultAction="SCMP_ACT_MAYBE"),
        profile(syscalls="all"),
        profile(syscalls=[{"names": ["read"]}]),
        profile(syscalls=[{"action": "SCMP_ACT_ALLOW"}]),
        profile(syscalls=[{"names": [], "action": "SCMP_ACT_ALLOW"}]),
        profile(defaultAction="SCMP_ACT_ALLOW"),
    ],
)
def test_what_is_no_profile_is_refused(raw: bytes) -> None:
    with pytest.raises(ConfigurationError):
        parse_profile(raw, "p.json")


def test_the_shipped_profile_is_one() -> None:
    found = parse_profile(SHIPPED.read_bytes(), SHIPPED.name)
    assert found.notes == ()
    assert runtime_form(found, architecture="arm64", capabilities=())["architectures"] == ["SCMP_ARCH_AARCH64"]
