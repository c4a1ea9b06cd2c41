"""A real BuildKit: `buildkitd` with its own runc worker, and `buildx` in front of it. Needs root. Facts: README.md."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .servers import server
from .tools import debian, pinned

if TYPE_CHECKING:
    from collections.abc import Iterator

# Registries on loopback addresses need no entry: BuildKit speaks plain HTTP to 127.0.0.1:PORT by itself.
CONFIGURATION = """\
root = "{root}"

[grpc]
  address = ["{address}"]

[worker.oci]
  enabled = true
  binary = "{runc}"
  snapshotter = "overlayfs"
  networkMode = "host"
  defaultCgroupParent = "{group}"
  gc = false

[worker.containerd]
  enabled = false
"""


class BuildFailed(Exception):
    """`buildx` ended with another code than 0, or not in time. The message has what it wrote."""


@contextmanager
def buildkitd(directory: Path) -> Iterator[str]:
    """Yields the address, `unix://…`. Data and log stay in `directory`; the data is deleted at the end, it is large."""
    if os.geteuid() != 0:
        raise RuntimeError("buildkitd needs root here: run these tests as root, or deselect them with -m 'not real'")
    directory.mkdir(parents=True, exist_ok=True)
    root = directory / "data"
    with tempfile.TemporaryDirectory(prefix="buildkitd-") as short:  # a socket's path has at most 107 bytes
        address = f"unix://{short}/socket"
        configuration = directory / "buildkitd.toml"
        group = Path(short).name
        configuration.write_text(CONFIGURATION.format(root=root, address=address, runc=debian("runc"), group=group))
        buildctl = pinned("buildctl")

        def ready() -> bool:
            question = [str(buildctl), "--addr", address, "debug", "workers"]
            return subprocess.run(question, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0

        command = [str(pinned("buildkitd")), "--config", str(configuration)]
        try:
            with server(command, log=directory / "buildkitd.log", ready=ready, within=60.0, grace=3.0):
                yield address
        finally:
            _end_steps(group)
            _unmount(root)
            shutil.rmtree(root, ignore_errors=True)


def _end_steps(group: str) -> None:
    """Kill what a RUN step left running: it outlives a buildkitd that had to be killed."""
    groups = Path("/sys/fs/cgroup")
    deadline = time.monotonic() + 5.0
    for top in (groups / group, *groups.glob(f"*/{group}")):
        for directory in sorted((path.parent for path in top.rglob("cgroup.procs")), reverse=True):
            while (pids := (directory / "cgroup.procs").read_text().split()) and time.monotonic() < deadline:
                for pid in pids:
                    with suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)
                time.sleep(0.02)
            with suppress(OSError):
                directory.rmdir()


def _unmount(root: Path) -> None:
    """Free what a killed buildkitd left mounted."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in reversed(mounts):
        if Path(mount).is_relative_to(root):
            subprocess.run([debian("umount"), "--lazy", mount])


@dataclass(frozen=True)
class Buildx:
    """`buildx` with one remote builder, and with a configuration directory of its own."""

    home: Path
    builder: str = "shipgraph-test"

    @classmethod
    def at(cls, address: str, home: Path) -> Buildx:
        home.mkdir(parents=True, exist_ok=True)
        buildx = cls(home)
        buildx.run("create", "--driver", "remote", "--name", buildx.builder, address)
        return buildx

    def build(self, *arguments: str, timeout: float = 600.0) -> str:
        """Returns the plain log of the build."""
        return self.run("build", "--builder", self.builder, "--progress", "plain", *arguments, timeout=timeout)

    def run(self, *arguments: str, timeout: float = 60.0) -> str:
        command = [str(pinned("buildx")), *arguments]
        environment = {**os.environ, "HOME": str(self.home), "DOCKER_CONFIG": str(self.home / "docker")}
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=timeout,
                env=environment,
            )
        except subprocess.TimeoutExpired as late:
            log = late.output.decode(errors="replace") if late.output else ""  # bytes, whatever `text` says
            raise BuildFailed(f"{' '.join(command)}: not done after {timeout:.0f} s\n{log}") from late
        if done.returncode != 0:
            raise BuildFailed(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}")
        return done.stdout
