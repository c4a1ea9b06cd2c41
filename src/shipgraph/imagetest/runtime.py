"""An OCI runtime (runc, crun) as an engine: no daemon, no network, the image unpacked by shipgraph itself.

The container has what Docker's have by default: fourteen capabilities, masked parts of /proc, and namespaces of its
own. It has no network but loopback.
"""

from __future__ import annotations

import os
import secrets
from collections import deque
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import anyio
import msgspec

from shipgraph.errors import MalformedDocument, ProcessFailed, ShipgraphError, ToolMissing
from shipgraph.imagetest.engine import Command, Container, EngineBroken, Ran, TestImage
from shipgraph.imagetest.seccomp import parse_profile, runtime_form
from shipgraph.imagetest.unpack import follow
from shipgraph.process import find_tool, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from shipgraph.imagetest.seccomp import Profile
    from shipgraph.imagetest.snapshots import Blobs, Snapshots

ASK_SECONDS: Final = 30.0
KEPT_LINES: Final = 2000
MOST_PASSWD: Final = 4 << 20
DEFAULT_PROFILE: Final = "/usr/share/containers/seccomp.json"
CAPABILITIES: Final = (
    "CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
)  # fmt: skip
_PATH: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MASKED: Final = (
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
    "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
)  # fmt: skip
_READ_ONLY: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_PLAIN: Final = ["nosuid", "noexec", "nodev"]


class RuntimeEngine:
    """runc or crun."""

    def __init__(self, program: str, version: str, snapshots: Snapshots, store: Blobs) -> None:
        self._program, self._snapshots, self._store = program, snapshots, store
        self.description = version

    @classmethod
    async def find(cls, name: str, snapshots: Snapshots, store: Blobs) -> RuntimeEngine:
        """The engine, if it is there and this is root.

        Raises:
            EngineBroken
        """
        if os.geteuid() != 0:
            raise EngineBroken(f"{name} needs root's rights here")
        try:
            program = find_tool(name)
            answer = await run([program, "--version"], timeout=ASK_SECONDS)
        except (ToolMissing, ProcessFailed) as error:
            raise EngineBroken(f"{name} can't be used here: {error}") from error
        return cls(program, answer.stdout.splitlines()[0].replace(" version", ""), snapshots, store)

    @asynccontextmanager
    async def open(self, image: TestImage) -> AsyncIterator[Container]:
        """See ``Engine``."""
        chain, config = await self._snapshots.layers(self._store, image)
        yield _RuntimeContainer(self._program, self._snapshots, image, chain, config.get("config") or {})


class _RuntimeContainer:
    def __init__(
        self, program: str, snapshots: Snapshots, image: TestImage, chain: list[str], config: dict[str, Any]
    ) -> None:
        self._program, self._snapshots, self._image = program, snapshots, image
        self._chain, self._config = chain, config

    async def run(self, command: Command) -> Ran:
        """See ``Container``."""
        container = f"shipgraph-test-{secrets.token_hex(8)}"
        lines: deque[str] = deque(maxlen=KEPT_LINES)
        async with self._snapshots.mounted(self._chain) as root:
            bundle = root.parent
            hosts = bundle / "hosts"
            hosts.write_text("127.0.0.1 localhost\n::1 localhost\n")
            for place in command.tmpfs:
                _open_for_all(root, place, self._image.title)
            document = runtime_config(self._config, command, root, hosts, self._image)
            (bundle / "config.json").write_bytes(msgspec.json.encode(document))
            state = bundle / "state"
            program = [self._program, "--root", str(state)]
            try:
                done = await run(
                    [*program, "run", "--bundle", bundle, container],
                    timeout=command.timeout,
                    check=False,
                    on_line=lines.append,
                )
            except ProcessFailed:
                return Ran(-1, "\n".join(lines), timed_out=True)
            finally:
                with anyio.CancelScope(shield=True), suppress(ShipgraphError):
                    await run([*program, "delete", "--force", container], timeout=ASK_SECONDS, check=False)
            return Ran(done.status, "\n".join(lines))


def runtime_config(
    config: dict[str, Any], command: Command, root: Path, hosts: Path, image: TestImage
) -> dict[str, Any]:
    """The runtime's configuration (runtime-spec 1.0, config.md) of an image and a command.

    Raises:
        MalformedDocument: the image's configuration can't be understood, or the user isn't in the image.
    """
    words = [*(command.entrypoint if command.entrypoint is not None else config.get("Entrypoint") or ()), *command.run]
    environment = {
        name: f"{name}={value}"
        for name, _, value in (str(entry).partition("=") for entry in [_PATH, *(config.get("Env") or ())])
    }
    environment.update({name: f"{name}={value}" for name, value in command.env.items()})
    user, home = find_user(root, command.user or str(config.get("User") or ""), image.title)
    environment.setdefault("HOME", f"HOME={home}")
    linux: dict[str, Any] = {
        "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")],
        "maskedPaths": list(_MASKED),
        "readonlyPaths": list(_READ_ONLY),
    }
    profile = command.seccomp or _default_profile()
    if profile is not None:
        linux["seccomp"] = runtime_form(profile, architecture=_kernel_architecture(), capabilities=CAPABILITIES)
    held = list(CAPABILITIES)
    process: dict[str, Any] = {
        "terminal": False,
        "user": user,
        "args": [str(word) for word in words],
        "env": list(environment.values()),
        "cwd": config.get("WorkingDir") or "/",
        "capabilities": {
            "bounding": held,
            "effective": held if user["uid"] == 0 else [],
            "permitted": held if user["uid"] == 0 else [],
        },
        "noNewPrivileges": False,
    }
    if command.apparmor is not None:
        process["apparmorProfile"] = command.apparmor
    return {
        "ociVersion": "1.0.2",
        "process": process,
        "root": {"path": str(root), "readonly": command.read_only},
        "hostname": "shipgraph-test",
        "mounts": [*_mounts(hosts), *map(_tmpfs, command.tmpfs)],
        "linux": linux,
    }


def _kernel_architecture() -> str:
    """The architecture whose calls the kernel filters, an emulator's too."""
    machine = os.uname().machine
    return {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}.get(machine, machine)


def _mounts(hosts: Path) -> list[dict[str, Any]]:
    def mount(place: str, kind: str, options: list[str], source: str = "") -> dict[str, Any]:
        return {"destination": place, "type": kind, "source": source or kind, "options": options}

    return [
        mount("/proc", "proc", []),
        mount("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        mount("/dev/shm", "tmpfs", [*_PLAIN, "mode=1777", "size=65536k"], "shm"),  # noqa: S108 (the container's)
        mount("/dev/mqueue", "mqueue", _PLAIN),
        mount("/sys", "sysfs", [*_PLAIN, "ro"]),
        mount("/etc/hosts", "bind", ["bind", "ro"], str(hosts)),
    ]


def _open_for_all(root: Path, place: str, title: str) -> None:
    """Make a mount point that everybody may write to: runc gives a tmpfs the mode of the folder below it."""
    folder = follow(root, place.split("/"), title)
    if folder == root:
        raise MalformedDocument(f"a tmpfs can't be at {place!r}")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o1777)


def _tmpfs(place: str) -> dict[str, Any]:
    return {"destination": place, "type": "tmpfs", "source": "tmpfs", "options": [*_PLAIN, "mode=1777"]}


def _default_profile() -> Profile | None:
    """Docker's default profile, if this machine has it."""
    try:
        with open(DEFAULT_PROFILE, "rb") as file:  # noqa: PTH123
            return parse_profile(file.read(), "default")
    except OSError:
        return None


def find_user(root: Path, text: str, title: str) -> tuple[dict[str, Any], str]:
    """The user of the image that a text means (``USER[:GROUP]``, names or numbers), and the home folder.

    Raises:
        MalformedDocument: the image has no such user or group.
    """
    name, _, group = (text or "0").partition(":")
    passwd = _database(root, "passwd")
    found = next((line for line in passwd if name in (line[0], line[2])), None)
    if found is None and not name.isdecimal():
        raise MalformedDocument(f"{title} has no user {name[:60]!r}")
    uid = int(found[2]) if found else int(name)
    gid = int(found[3]) if found else 0
    groups = _database(root, "group")
    more = [int(line[2]) for line in groups if found and found[0] in line[3].split(",")] if not group else []
    if group:
        chosen = next((line for line in groups if group in (line[0], line[2])), None)
        if chosen is None and not group.isdecimal():
            raise MalformedDocument(f"{title} has no group {group[:60]!r}")
        gid = int(chosen[2]) if chosen else int(group)
    user: dict[str, Any] = {"uid": uid, "gid": gid}
    if more:
        user["additionalGids"] = sorted(set(more))
    return user, found[5] if found else "/"


def _database(root: Path, name: str) -> list[list[str]]:
    """The lines of /etc/passwd or /etc/group of an image; none where there is no such file."""
    place = follow(root, ["etc", name], f"/etc/{name}")
    try:
        with place.open("rb") as file:
            content = file.read(MOST_PASSWD).decode("utf-8", "replace")
    except OSError:
        return []
    columns = {"passwd": 7, "group": 4}[name]
    lines = [line.split(":") for line in content.splitlines()]
    numbers = (2, 3) if name == "passwd" else (2,)
    return [line for line in lines if len(line) >= columns and all(line[column].isdecimal() for column in numbers)]
