"""Whether this machine can run another platform's programs: natively, or through the kernel's binfmt_misc."""

from __future__ import annotations

import platform as machine
from pathlib import Path
from typing import TYPE_CHECKING, Final

from shipgraph.errors import ToolMissing
from shipgraph.oci.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Mapping

_MACHINES: Final[Mapping[str, str]] = {
    "x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386", "ppc64le": "ppc64le", "s390x": "s390x",
    "riscv64": "riscv64",
}  # fmt: skip
_EMULATORS: Final[Mapping[str, str]] = {
    "amd64": "qemu-x86_64", "arm64": "qemu-aarch64", "arm": "qemu-arm", "386": "qemu-i386", "ppc64le": "qemu-ppc64le",
    "s390x": "qemu-s390x", "riscv64": "qemu-riscv64",
}  # fmt: skip
_BINFMT: Final = Path("/proc/sys/fs/binfmt_misc")


def native_platform() -> Platform:
    """This machine's own platform."""
    return Platform("linux", _MACHINES.get(machine.machine(), machine.machine()))


def can_run(platform: Platform, *, binfmt: Path = _BINFMT) -> bool:
    """Whether programs of that platform run here, inside a root file system of their own too."""
    native = native_platform()
    if platform == native or (native.architecture, platform.architecture) == ("amd64", "386"):
        return True
    entry = binfmt / _EMULATORS.get(platform.architecture, "-")
    try:
        lines = entry.read_text().splitlines()
    except OSError:
        return False
    # a root file system has no emulator in it: the kernel must hold it open (flag F)
    flags = next((line.removeprefix("flags:") for line in lines if line.startswith("flags:")), "")
    return lines[:1] == ["enabled"] and "F" in flags


def require_platform(platform: Platform) -> None:
    """Refuse a platform whose programs don't run here.

    Raises:
        ToolMissing: neither this processor nor an emulator runs them.
    """
    if not can_run(platform):
        raise no_emulator(f"{platform} is not this machine's platform")


def no_emulator(what: str) -> ToolMissing:
    """The error for programs of another platform that this machine can't run."""
    return ToolMissing(
        f"{what}: this machine can't run that platform's programs, no emulator is registered with the kernel",
        hint="build it on a machine of that platform, or install qemu-user-static and binfmt-support, then run (as "
        "root) `mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc` and `update-binfmts --enable`",
    )
