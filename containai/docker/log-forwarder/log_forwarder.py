#!/usr/bin/python3.11
"""Send the lines of a growing log file to a broker, over mutual TLS.

    forward (default)   follow LOG_FILE and send every line to BROKER_HOST:BROKER_PORT
    check               connect, let both sides prove who they are, stop: a probe
    broker              the other end: take lines from forwarders, append them to BROKER_FILE (default: print them)
    anything else       becomes that command, arguments unchanged

Settings, from the environment:

    BROKER_HOST       name of the broker; its certificate must be for this name and signed by CERTS/ca.crt
    BROKER_PORT       default 4433
    CERTS             folder of ca.crt, tls.crt and tls.key, the certificate this side shows; default /certs
    LOG_FILE          default /var/log/squid/access.log
    STATE_DIR         where the position is kept over restarts; default /var/lib/logfw
    DELIVERY          when a line counts as delivered. acked: the broker said so (this program's `broker` does);
                      sent (default): the broker's machine has it, which works with every program that reads lines

A line is sent again unless it counts as delivered, so none is lost when the connection breaks, the log is rotated or
the forwarder restarts; a few may arrive twice. Only whole lines are sent. python3.11-minimal is enough for it all:
that has neither json nor dataclasses.
"""

import fcntl
import os
import select
import signal
import socket
import ssl
import struct
import sys
import threading
import time
from collections import deque
from pathlib import Path
from types import FrameType
from typing import BinaryIO, NamedTuple

SIOCOUTQ = 0x5411  # linux/sockios.h: bytes that the other machine has not acknowledged
BATCH = 64 * 1024
WINDOW = 10_000  # lines on their way
LONGEST_LINE = 1024 * 1024
PATIENCE = 30.0
IDLE = 0.25
BACKOFF = (0.5, 30.0)


def say(message: str) -> None:
    print(f"containai-log-forwarder: {message}", file=sys.stderr, flush=True)


class SettingsError(Exception):
    """A setting is missing or wrong; the message names it."""


class BrokenLink(Exception):
    """The connection is of no more use; what was not delivered must be sent again."""


class Settings(NamedTuple):
    host: str
    port: int
    certs: Path
    log_file: Path
    state_dir: Path
    acked: bool

    @classmethod
    def read(cls, environment: dict[str, str], *, need_host: bool = True) -> "Settings":
        host = environment.get("BROKER_HOST", "")
        if need_host and not host:
            raise SettingsError("BROKER_HOST is not set")
        delivery = environment.get("DELIVERY", "sent")
        if delivery not in ("sent", "acked"):
            raise SettingsError(f"DELIVERY is {delivery!r}; it may be sent or acked")
        port = environment.get("BROKER_PORT", "4433")
        if not port.isdigit() or not 0 < int(port) < 65536:
            raise SettingsError(f"BROKER_PORT is {port!r}, which is not a port")
        certs = Path(environment.get("CERTS", "/certs"))
        for name in ("ca.crt", "tls.crt", "tls.key"):
            if not os.access(certs / name, os.R_OK):
                raise SettingsError(f"{certs / name} can't be read")
        return cls(
            host=host,
            port=int(port),
            certs=certs,
            log_file=Path(environment.get("LOG_FILE", "/var/log/squid/access.log")),
            state_dir=Path(environment.get("STATE_DIR", "/var/lib/logfw")),
            acked=delivery == "acked",
        )


# The file -----------------------------------------------------------------------------------------------------------


class Position(NamedTuple):
    """Everything before `offset` of the file `inode`, and all older files, is delivered."""

    inode: int
    offset: int


class Follower:
    """Reads whole lines of a file that grows and is rotated: FILE becomes FILE.0 (or .1), that FILE.1, and so on."""

    def __init__(self, path: Path, position: Position | None) -> None:
        self.path = path
        self.file: BinaryIO | None = None
        self.position = position

    def generations(self) -> list[Path]:
        """The files there are, oldest first."""
        rotated = []
        for path in self.path.parent.glob(f"{self.path.name}.*"):
            suffix = path.name[len(self.path.name) + 1 :]
            if suffix.isdigit():
                rotated.append((int(suffix), path))
        paths = [path for _, path in sorted(rotated, reverse=True)]
        return [*paths, self.path] if self.path.exists() else paths

    def seek(self, position: Position | None) -> None:
        """Go on from a position; without one, or if its file is gone, from the oldest line there is."""
        if self.file:
            self.file.close()
        self.file, self.position = None, position

    def open(self) -> bool:
        if self.file:
            return True
        for path in self.generations() if self.position else []:
            try:
                file = path.open("rb")
            except FileNotFoundError:
                continue
            status = os.fstat(file.fileno())
            if self.position and (status.st_ino == self.position.inode and status.st_size >= self.position.offset):
                file.seek(self.position.offset)
                self.file = file
                return True
            file.close()
        return self.start(self.generations()[:1])

    def start(self, paths: list[Path]) -> bool:
        for path in paths:
            try:
                self.file = path.open("rb")
            except FileNotFoundError:
                continue
            self.position = Position(os.fstat(self.file.fileno()).st_ino, 0)
            return True
        return False

    def next_generation(self) -> bool:
        """Turn to the file that came after the one that is read to its end, if there is one."""
        assert self.file
        inode = os.fstat(self.file.fileno()).st_ino
        paths = self.generations()
        inodes = [path.stat().st_ino for path in paths]
        newer = paths[inodes.index(inode) + 1 :][:1] if inode in inodes else paths[:1]
        old = self.file
        if not newer or not self.start(newer):
            return False
        old.close()
        return True

    def lines(self) -> list[tuple[bytes, Position]]:
        """Some whole lines that come next, each with the position after it; none if there is nothing new."""
        try:
            if not self.open():
                return []
            for _ in range(100):
                batch = self.read_batch()
                if batch or not self.next_generation():
                    return batch
        except FileNotFoundError:
            pass  # rotated away between two looks; the next call finds out
        return []

    def read_batch(self) -> list[tuple[bytes, Position]]:
        assert self.file
        assert self.position
        inode, offset = self.position.inode, self.position.offset
        if os.fstat(self.file.fileno()).st_size < offset:
            say(f"{self.path} was cut short, starting over")
            offset = 0
        self.file.seek(offset)
        data = self.file.read(BATCH)
        while data and b"\n" not in data and len(data) < LONGEST_LINE and (more := self.file.read(BATCH)):
            data += more
        batch = []
        for line in data.split(b"\n")[:-1]:
            offset += len(line) + 1
            batch.append((line + b"\n", Position(inode, offset)))
        if not batch and len(data) >= LONGEST_LINE:  # cut where it is; the rest comes as the next line
            batch.append((data + b"\n", Position(inode, offset + len(data))))
        self.position = batch[-1][1] if batch else Position(inode, offset)
        return batch


class Memory:
    """The position on disk."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "position"
        self.saved: Position | None = None

    def load(self) -> Position | None:
        try:
            inode, offset = self.path.read_text(encoding="ascii").split()
            self.saved = Position(int(inode), int(offset))
        except FileNotFoundError:
            self.saved = None
        except ValueError as error:
            say(f"{self.path} is not readable ({error}), starting over")
        return self.saved

    def save(self, position: Position | None) -> None:
        if position is None or position == self.saved:
            return
        new = self.path.with_suffix(".new")
        new.write_text(f"{position.inode} {position.offset}\n", encoding="ascii")
        new.replace(self.path)
        self.saved = position


# The connection -----------------------------------------------------------------------------------------------------


def client_context(settings: Settings) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(settings.certs / "ca.crt"))
    return hardened(context, settings)


def server_context(settings: Settings) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(settings.certs / "ca.crt"))
    context.verify_mode = ssl.CERT_REQUIRED
    return hardened(context, settings)


def hardened(context: ssl.SSLContext, settings: Settings) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(settings.certs / "tls.crt", settings.certs / "tls.key")
    return context


class Link:
    """One connection to the broker, and what was sent over it and is not delivered yet."""

    def __init__(self, settings: Settings) -> None:
        self.acked = settings.acked
        raw = socket.create_connection((settings.host, settings.port), timeout=PATIENCE)
        try:
            self.socket = client_context(settings).wrap_socket(raw, server_hostname=settings.host)
        except BaseException:
            raw.close()
            raise
        self.pending: deque[Position] = deque()
        self.pending_since = 0.0
        self.unsent_acks = b""
        self.delivered_lines = 0

    def close(self) -> None:
        self.socket.close()

    def send(self, lines: list[tuple[bytes, Position]]) -> None:
        try:
            self.socket.settimeout(PATIENCE)
            self.socket.sendall(b"".join(line for line, _ in lines))
        except OSError as error:
            raise BrokenLink(str(error)) from error
        if not self.pending:
            self.pending_since = time.monotonic()
        self.pending.extend(position for _, position in lines)

    def delivered(self, wait: float) -> Position | None:
        """The position up to which everything is delivered now, if that changed."""
        said = self.receive(wait)
        if not self.pending:
            return None
        count = self.count_acks(said) if self.acked else self.count_sent()
        position = None
        for _ in range(count):
            position = self.pending.popleft()
        if position:
            self.pending_since = time.monotonic()
        elif time.monotonic() - self.pending_since > PATIENCE:
            raise BrokenLink(f"the broker has confirmed nothing for {PATIENCE:.0f} seconds")
        return position

    def receive(self, wait: float) -> bytes:
        try:
            if not self.socket.pending() and not select.select([self.socket], [], [], wait)[0]:
                return b""
            self.socket.setblocking(False)
            said = self.socket.recv(4096)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return b""
        except OSError as error:
            raise BrokenLink(str(error)) from error
        if not said:
            raise BrokenLink("the broker closed the connection")
        return said

    def count_acks(self, said: bytes) -> int:
        """Each line from the broker is the number of lines that it has taken on this connection."""
        *whole, self.unsent_acks = (self.unsent_acks + said).split(b"\n")
        if not whole:
            return 0
        total = int(whole[-1]) if whole[-1].isdigit() else -1
        count = total - self.delivered_lines
        if not 0 <= count <= len(self.pending):
            raise BrokenLink(f"the broker's answer makes no sense: {whole[-1][:40]!r}")
        self.delivered_lines = total
        return count

    def count_sent(self) -> int:
        unconfirmed = fcntl.ioctl(self.socket.fileno(), SIOCOUTQ, struct.pack("i", 0))
        return 0 if struct.unpack("i", unconfirmed)[0] else len(self.pending)


# The commands -------------------------------------------------------------------------------------------------------


class Stop:
    """Set by SIGTERM and SIGINT."""

    def __init__(self) -> None:
        self.event = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.ask)

    def ask(self, _number: int, _frame: FrameType | None) -> None:
        self.event.set()

    def __bool__(self) -> bool:
        return self.event.is_set()


def forward(settings: Settings) -> int:
    stop = Stop()
    memory = Memory(settings.state_dir)
    follower = Follower(settings.log_file, memory.load())
    client_context(settings)  # a broken key or authority is a mistake now, not one to try again
    delay = BACKOFF[0]
    while not stop:
        try:
            link = Link(settings)
        except OSError as error:
            say(f"{settings.host}:{settings.port}: {error}; trying again in {delay:.1f} s")
            stop.event.wait(delay)
            delay = min(delay * 2, BACKOFF[1])
            continue
        say(f"connected to {settings.host}:{settings.port}")
        follower.seek(memory.saved)
        before = memory.saved
        try:
            pump(link, follower, memory, stop)
        except BrokenLink as error:
            delay = BACKOFF[0] if memory.saved != before else min(delay * 2, BACKOFF[1])
            say(f"{settings.host}:{settings.port}: {error}; connecting again in {delay:.1f} s")
            stop.event.wait(delay)
        finally:
            link.close()
    return 0


def pump(link: Link, follower: Follower, memory: Memory, stop: Stop) -> None:
    """Send until told to stop; then give what is on its way a moment to arrive."""
    while not stop:
        lines = follower.lines() if len(link.pending) < WINDOW else []
        if lines:
            link.send(lines)
        memory.save(link.delivered(0 if lines else IDLE))
    deadline = time.monotonic() + 5
    while link.pending and time.monotonic() < deadline:
        memory.save(link.delivered(IDLE))


def check(settings: Settings) -> int:
    try:
        link = Link(settings)
        # In TLS 1.3 the broker refuses a client's certificate only after the client's handshake is done.
        link.receive(1.0)
        link.close()
    except (OSError, BrokenLink) as error:
        say(f"{settings.host}:{settings.port}: {error}")
        return 1
    return 0


def broker(settings: Settings, path: str) -> int:
    stop = Stop()
    context = server_context(settings)
    output = Path(path).open("ab") if path else sys.stdout.buffer  # noqa: SIM115
    lock = threading.Lock()
    listener = socket.create_server(("", settings.port), reuse_port=False)
    listener.settimeout(IDLE)
    say(f"listening on port {listener.getsockname()[1]}")
    while not stop:
        try:
            raw, address = listener.accept()
        except TimeoutError:
            continue
        threading.Thread(target=serve, args=(context, raw, address[0], output, lock), daemon=True).start()
    with lock:
        output.flush()
    return 0


def serve(context: ssl.SSLContext, raw: socket.socket, peer: str, output: BinaryIO, lock: threading.Lock) -> None:
    try:
        raw.settimeout(PATIENCE)
        with context.wrap_socket(raw, server_side=True) as connection:
            connection.settimeout(None)
            say(f"{peer} connected")
            rest, count = b"", 0
            while data := connection.recv(BATCH):
                *lines, rest = (rest + data).split(b"\n")
                if len(rest) > 2 * LONGEST_LINE:
                    raise BrokenLink(f"a line is longer than {2 * LONGEST_LINE} bytes")
                if lines:
                    with lock:
                        output.write(b"\n".join([*lines, b""]))
                        output.flush()
                    count += len(lines)
                    connection.sendall(b"%d\n" % count)
        say(f"{peer} left after {count} lines")
    except (OSError, BrokenLink) as error:
        raw.close()
        say(f"{peer}: {error}")


def main(arguments: list[str]) -> int:
    command = arguments[0] if arguments else "forward"
    environment = dict(os.environ)
    if command in ("-h", "--help"):
        print(__doc__)
        return 0
    if command not in ("forward", "check", "broker"):
        try:
            os.execvp(command, arguments)
        except OSError as error:
            say(f"{command}: {error.strerror}")
            return 127
    if len(arguments) > 1:
        say(f"{command} takes no arguments; its settings come from the environment")
        return 2
    try:
        settings = Settings.read(environment, need_host=command != "broker")
        if command == "broker":
            return broker(settings, environment.get("BROKER_FILE", ""))
        return check(settings) if command == "check" else forward(settings)
    except (SettingsError, OSError) as error:
        say(str(error))
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
