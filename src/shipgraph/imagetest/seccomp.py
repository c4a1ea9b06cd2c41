"""Seccomp profiles in Docker's format: read, checked, turned into the OCI runtime's form, and made into a control.

Docker's format (moby, profiles/seccomp) selects rules by architecture, capability and kernel when a container starts;
the runtime specification (config-linux.md § Seccomp) has only what was selected. Runtimes ignore names of system calls
that they don't know, so a misspelt denial would silently allow: it is refused here.
"""

from __future__ import annotations

import ctypes
import functools
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from shipgraph.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

ALLOW: Final = "SCMP_ACT_ALLOW"
ERRNO: Final = "SCMP_ACT_ERRNO"
ACTIONS: Final = frozenset(
    {
        "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP", ERRNO, "SCMP_ACT_TRACE",
        ALLOW, "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY",
    }
)  # fmt: skip
_PERMITTING: Final = frozenset({ALLOW, "SCMP_ACT_LOG"})
ARCHITECTURES: Final = {
    "amd64": "SCMP_ARCH_X86_64",
    "arm64": "SCMP_ARCH_AARCH64",
    "arm": "SCMP_ARCH_ARM",
    "386": "SCMP_ARCH_X86",
    "ppc64le": "SCMP_ARCH_PPC64LE",
    "s390x": "SCMP_ARCH_S390X",
    "riscv64": "SCMP_ARCH_RISCV64",
}
EXECUTE: Final = ("execve", "execveat")
ECANCELED: Final = 125
"""An errno that no kernel gives for an exec: who sees its text has seen the filter at work."""
CONTROL_TEXT: Final = "operation canceled"
_UNKNOWN: Final = -1  # __NR_SCMP_ERROR


@dataclass(frozen=True, slots=True)
class Profile:
    """A profile: its file's name and exact bytes, and what they say."""

    name: str
    raw: bytes
    document: dict[str, Any]
    notes: tuple[str, ...] = ()


def parse_profile(raw: bytes, name: str) -> Profile:
    """Read a profile and check what runtimes don't.

    Raises:
        ConfigurationError: it isn't one; or denies a system call that doesn't exist, which would deny nothing.
    """
    try:
        document = msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the seccomp profile {name} is not JSON: {error}") from error
    default = document.get("defaultAction")
    _check_action(default, name)
    rules = document.get("syscalls") or []
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise ConfigurationError(f"the seccomp profile {name}: syscalls is not a list of rules")
    if default in _PERMITTING and not any(rule.get("action") not in _PERMITTING for rule in rules):
        raise ConfigurationError(f"the seccomp profile {name} denies nothing")
    notes: list[str] = []
    for rule in rules:
        _check_action(rule.get("action"), name)
        unknown = [call for call in _names(rule, name) if not is_syscall(call)]
        if unknown and rule["action"] not in _PERMITTING:
            raise ConfigurationError(
                f"the seccomp profile {name} denies {', '.join(unknown[:5])}, which is no system call here:"
                " runtimes ignore such a rule",
                hint="mend the spelling, or take the rule out",
            )
        notes.extend(f"{name} allows {call}, which is no system call here" for call in unknown)
    return Profile(name, raw, document, tuple(dict.fromkeys(notes)))


def control_of(profile: Profile) -> Profile:
    """The same profile, but with every exec answered by an errno of its own: nothing can start under it."""
    rules: list[dict[str, Any]] = []
    for rule in profile.document.get("syscalls") or []:
        kept = [call for call in _names(rule, profile.name) if call not in EXECUTE]
        if kept:
            rules.append({**{key: value for key, value in rule.items() if key != "name"}, "names": kept})
    rules.append({"names": list(EXECUTE), "action": ERRNO, "errnoRet": ECANCELED})
    document = {**profile.document, "syscalls": rules}
    return Profile(f"control of {profile.name}", msgspec.json.encode(document), document)


def runtime_form(profile: Profile, *, architecture: str, capabilities: Iterable[str]) -> dict[str, Any]:
    """``linux.seccomp`` of a container on this kernel (moby, profiles/seccomp/seccomp_linux.go, setupSeccomp)."""
    held = frozenset(capabilities)
    document = profile.document
    out: dict[str, Any] = {"defaultAction": document["defaultAction"]}
    if document.get("defaultErrnoRet") is not None:
        out["defaultErrnoRet"] = document["defaultErrnoRet"]
    if document.get("flags"):
        out["flags"] = document["flags"]
    architectures = document.get("architectures") or []
    native = ARCHITECTURES.get(architecture, "")
    for entry in document.get("archMap") or []:
        if entry.get("architecture") == native:
            architectures = [native, *(entry.get("subArchitectures") or [])]
    if architectures:
        out["architectures"] = architectures
    out["syscalls"] = []
    for rule in document.get("syscalls") or []:
        if not _selected(rule, architecture, held):
            continue
        made: dict[str, Any] = {"names": _names(rule, profile.name), "action": rule["action"]}
        if rule.get("errnoRet") is not None:
            made["errnoRet"] = rule["errnoRet"]
        if rule.get("args"):
            made["args"] = rule["args"]
        out["syscalls"].append(made)
    return out


def _selected(rule: dict[str, Any], architecture: str, held: frozenset[str]) -> bool:
    wanted, refused = rule.get("includes") or {}, rule.get("excludes") or {}
    if wanted.get("arches") and architecture not in wanted["arches"]:
        return False
    if any(capability not in held for capability in wanted.get("caps") or ()):
        return False
    if wanted.get("minKernel") and not _kernel_is(wanted["minKernel"]):
        return False
    if architecture in (refused.get("arches") or ()):
        return False
    if any(capability in held for capability in refused.get("caps") or ()):
        return False
    return not (refused.get("minKernel") and _kernel_is(refused["minKernel"]))


def _kernel_is(wanted: str) -> bool:
    """Whether this kernel is at least that one."""
    numbers = [int(part) for part in re.findall(r"[0-9]+", os.uname().release)[:2]]
    return numbers >= [int(part) for part in re.findall(r"[0-9]+", wanted)[:2]]


def _names(rule: dict[str, Any], name: str) -> list[str]:
    found = rule.get("names") or ([rule["name"]] if rule.get("name") else [])
    if not isinstance(found, list) or not found or not all(isinstance(call, str) and call for call in found):
        raise ConfigurationError(f"the seccomp profile {name} has a rule without names")
    return found


def _check_action(action: Any, name: str) -> None:
    if action not in ACTIONS:
        raise ConfigurationError(
            f"the seccomp profile {name} has the action {str(action)[:60]!r}", allowed=", ".join(sorted(ACTIONS))
        )


def is_syscall(name: str) -> bool:
    """Whether libseccomp knows a system call of that name; true for all where there is no libseccomp to ask."""
    library = _libseccomp()
    return library is None or library.seccomp_syscall_resolve_name(name.encode()) != _UNKNOWN


@functools.cache
def _libseccomp() -> Any:
    try:
        return ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return None
