"""What must hold of the seven build contexts and the proxy's profiles, read as text. Builds are tested elsewhere."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

IMAGES = ("base", "containai", "copilot", "codex", "claude", "proxy", "log-forwarder")
AGENTS = {"copilot": "@github/copilot", "codex": "@openai/codex", "claude": "@anthropic-ai/claude-code"}
USERS = dict.fromkeys(IMAGES[:5], "agentuser") | {"proxy": "proxy", "log-forwarder": "logfw"}


def dockerfile(containai: Path, image: str) -> list[str]:
    """The instructions, continued lines joined, comments dropped."""
    text = (containai / "docker" / image / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    return [line for line in re.sub(r"\\\n\s*", "", text).splitlines() if line]


def lock(containai: Path, image: str) -> dict[str, Any]:
    path = containai / "docker" / image / "package-lock.json"
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


@pytest.mark.parametrize("image", IMAGES)
def test_dockerfile(containai: Path, image: str) -> None:
    lines = dockerfile(containai, image)
    assert lines[0].startswith("ARG BASE_IMAGE=")
    assert lines[1] == "FROM ${BASE_IMAGE}"
    assert [line for line in lines if line.startswith("USER ")][-1] == f"USER {USERS[image]}"
    text = "\n".join(lines)
    assert f'org.opencontainers.image.title="containai{"" if image == "containai" else "-" + image}"' in text
    assert "org.opencontainers.image.description=" in text
    # Debian's buildah knows neither; curl | sh and floating versions are no way to ship.
    for forbidden in ("<<", "--link", "latest", "| sh", "| bash", "ADD ", "://"):
        assert forbidden not in text, forbidden
    for line in lines:
        if "apt install" in line:
            assert "--no-install-recommends" in line
            assert "rm -rf /var/lib/apt/lists/*" in line


@pytest.mark.parametrize("image", IMAGES)
def test_folders_that_copy_makes_can_be_entered(containai: Path, image: str) -> None:
    """BuildKit gives them the mode of --chmod, 0644 say; somebody must give them another one."""
    lines = dockerfile(containai, image)
    there = {"/usr/local/bin", "/etc/squid"}
    for line in lines:
        if line.startswith("COPY ") and "--chmod=0644" in line:
            folder = line.split()[-1].rstrip("/")
            opened = [
                word for other in lines for part in re.findall(r"chmod 0755 ([^;]*)", other) for word in part.split()
            ]
            assert folder in there or folder in opened


@pytest.mark.parametrize("image", IMAGES)
def test_context_holds_what_is_copied_and_nothing_else(containai: Path, image: str) -> None:
    context = containai / "docker" / image
    copied = set()
    for line in dockerfile(containai, image):
        if line.startswith("COPY "):
            copied |= {word for word in line.split()[1:-1] if not word.startswith("--")}
    first, *allowed = (context / ".dockerignore").read_text(encoding="utf-8").split()
    assert first == "*"
    assert {name.removeprefix("!") for name in allowed} == copied
    for name in copied:
        assert (context / name).is_file()


@pytest.mark.parametrize("image", ["base", *AGENTS])
def test_locks_pin_by_integrity_and_name_no_host(containai: Path, image: str) -> None:
    path = containai / "docker" / image / "package-lock.json"
    assert "://" not in path.read_text(encoding="utf-8")
    packages = lock(containai, image)["packages"]
    wanted = json.loads((path.parent / "package.json").read_text(encoding="utf-8"))
    for version in [*wanted["dependencies"].values(), *wanted.get("optionalDependencies", {}).values()]:
        assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    for name, package in packages.items():
        assert name == "" or package.get("inBundle") or package["integrity"].startswith("sha512-"), name


@pytest.mark.parametrize(("image", "package"), AGENTS.items())
def test_agents_come_with_a_program_for_both_platforms(containai: Path, image: str, package: str) -> None:
    packages = lock(containai, image)["packages"]
    version = packages[f"node_modules/{package}"]["version"]
    for cpu in ("x64", "arm64"):
        entry = packages[f"node_modules/{package}-linux-{cpu}"]
        assert entry["version"].removesuffix(f"-linux-{cpu}") == version
        assert (entry["os"], entry["cpu"]) == (["linux"], [cpu])


def test_seccomp_profile_allows_what_programs_need(containai: Path) -> None:
    path = containai / "docker/profiles/seccomp-containai-proxy.json"
    profile = json.loads(path.read_text(encoding="utf-8"))
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    assert {entry["architecture"] for entry in profile["archMap"]} == {"SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"}
    allowed = {name for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}
    # What the first profile lacked, one by one (arch_prctl alone kept every program on x86_64 from starting).
    assert {
        *("arch_prctl", "clock_nanosleep", "clone", "close_range", "connect", "faccessat2", "flock", "openat2"),
        *("prctl", "rseq", "socket", "statx", "vfork"),
    } <= allowed
    denied = {"mount", "umount2", "ptrace", "bpf", "setns", "unshare", "keyctl", "perf_event_open", "io_uring_setup"}
    assert not denied & allowed
    (clone3,) = [rule for rule in profile["syscalls"] if "clone3" in rule["names"]]
    assert (clone3["action"], clone3["errnoRet"]) == ("SCMP_ACT_ERRNO", 38)


@pytest.mark.real
def test_apparmor_profile_parses(containai: Path) -> None:
    path = containai / "docker/profiles/apparmor-containai-proxy"
    assert "profile containai-proxy " in path.read_text(encoding="utf-8")
    parser = shutil.which("apparmor_parser", path="/usr/sbin:/sbin:/usr/bin:/bin")
    assert parser is not None, "apparmor_parser is not installed: tools/install-debian"
    subprocess.run([parser, "-Q", "-K", "-T", str(path)], check=True, capture_output=True)
