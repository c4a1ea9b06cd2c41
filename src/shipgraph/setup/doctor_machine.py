"""The machine: room on the disk, docker's configuration, what the kernel has for image tests, other platforms."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from shipgraph.setup.doctor import Finding, State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shipgraph.oci.platform import Platform

LOW: Final = 10 << 30
LEAST: Final = 2 << 30
"""Bytes: a release of a few images needs about twice what they unpack to."""

_APPARMOR: Final = Path("/sys/module/apparmor/parameters/enabled")
_SECCOMP: Final = Path("/proc/sys/kernel/seccomp/actions_avail")
_NAMESPACES: Final = Path("/proc/sys/user/max_user_namespaces")
_BINFMT: Final = (
    "build them on machines of their own (the rendered workflow does), or as root: apt-get install qemu-user-static"
    " binfmt-support"
)


def check_disk(folder: Path) -> Finding:
    """The room where images are built and kept; ``folder`` needn't exist yet."""
    place = next(one for one in (folder, *folder.parents) if one.exists())
    usage, files = shutil.disk_usage(place), os.statvfs(place)
    detail = f"{_size(usage.free)} free of {_size(usage.total)} where {folder} is"
    if files.f_files and files.f_favail < 100_000:
        return Finding("disk", State.WARNING, f"{detail}; only {files.f_favail} files can be made there", "free some")
    if usage.free < LEAST:
        return Finding("disk", State.FAILED, detail, "free some room, or keep the project on another disk")
    if usage.free < LOW:
        return Finding("disk", State.WARNING, detail, "free some room: large images need more")
    return Finding("disk", State.OK, detail)


def check_docker_config() -> Finding:
    """docker's configuration: whether it is where it is said to be, and for whose eyes it is."""
    wanted = os.environ.get("DOCKER_CONFIG")
    folder = Path(wanted) if wanted else Path("~/.docker").expanduser()
    file = folder / "config.json"
    name = "docker configuration"
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
    except FileNotFoundError:
        if wanted:
            return Finding(
                name, State.WARNING, f"DOCKER_CONFIG is {wanted}, and there is no {file.name}", "run `docker login`"
            )
        return Finding(name, State.NOT_APPLICABLE, f"there is no {file}")
    except OSError as error:
        return Finding(name, State.FAILED, f"{file}: {error.strerror}", "give this user the right to read it")
    if mode & 0o077:
        return Finding(name, State.WARNING, f"{file} can be read by others (mode {mode:04o})", f"chmod 600 {file}")
    return Finding(name, State.OK, str(file))


def check_kernel(*, tested: bool, apparmor: bool) -> list[Finding]:
    """What image tests need of the kernel.

    Args:
        tested: whether the project has image tests.
        apparmor: whether one of them has an AppArmor profile.
    """
    if not tested:
        return [Finding("kernel", State.NOT_APPLICABLE, "the project has no image tests")]
    found = [_seccomp(), _namespaces()]
    if apparmor:
        found.append(_apparmor())
    return found


def check_platforms(platforms: Sequence[Platform], can_run: Callable[[Platform], bool]) -> Finding:
    """Whether programs of the project's platforms run here."""
    foreign = [str(platform) for platform in platforms if not can_run(platform)]
    if not foreign:
        return Finding("platforms", State.OK, f"{', '.join(map(str, platforms))} run here")
    return Finding("platforms", State.WARNING, f"programs for {', '.join(foreign)} don't run here", _BINFMT)


def _seccomp() -> Finding:
    actions = _read(_SECCOMP).split()
    if "errno" in actions and "allow" in actions:
        return Finding("seccomp", State.OK, "the kernel filters system calls")
    return Finding(
        "seccomp", State.FAILED, "the kernel does not filter system calls", "use a kernel with CONFIG_SECCOMP_FILTER"
    )


def _namespaces() -> Finding:
    most = _read(_NAMESPACES)
    if os.geteuid() == 0:
        return Finding("user namespaces", State.NOT_APPLICABLE, "this is root")
    if most.isdigit() and int(most) > 0:
        return Finding("user namespaces", State.OK, f"at most {most}")
    return Finding(
        "user namespaces",
        State.WARNING,
        "this user can't make any, and containers without root need them",
        "as root: sysctl user.max_user_namespaces=15000",
    )


def _apparmor() -> Finding:
    parser = shutil.which("apparmor_parser")
    if parser is None:
        return Finding(
            "AppArmor",
            State.FAILED,
            "there is no apparmor_parser on PATH",
            "install it (Debian: apt-get install apparmor)",
        )
    if _read(_APPARMOR) != "Y":
        return Finding(
            "AppArmor",
            State.WARNING,
            "the kernel enforces no profiles: tests with one are `syntax-only`",
            "run tests on a kernel with AppArmor (GitHub's Ubuntu runners have it)",
        )
    if os.geteuid() != 0:
        return Finding("AppArmor", State.WARNING, "only root loads profiles: tests are `syntax-only`", "run as root")
    return Finding("AppArmor", State.OK, "profiles are loaded and enforced")


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
