"""The log-forwarder as a program of its own, and its broker, over mutual TLS on loopback."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import ModuleType

    from containai.tests.conftest import Authority


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def eventually(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@dataclass
class Place:
    """Folders, a port and certificates for one forwarder and one broker."""

    script: Path
    root: Path
    client: Path
    server: Path
    port: int = field(default_factory=free_port)
    delivery: str = "acked"

    def __post_init__(self) -> None:
        for name in ("log", "state"):
            (self.root / name).mkdir()

    @property
    def log(self) -> Path:
        return self.root / "log/access.log"

    @property
    def received(self) -> Path:
        return self.root / "received"

    @property
    def said(self) -> str:
        path = self.root / "stderr"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def lines(self) -> list[str]:
        return self.received.read_text(encoding="utf-8").splitlines() if self.received.exists() else []

    def write(self, *lines: str) -> None:
        with self.log.open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)

    def environment(self, certs: Path) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "BROKER_HOST": "localhost",
            "BROKER_PORT": str(self.port),
            "BROKER_FILE": str(self.received),
            "CERTS": str(certs),
            "LOG_FILE": str(self.log),
            "STATE_DIR": str(self.root / "state"),
            "DELIVERY": self.delivery,
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    @contextmanager
    def process(self, command: str, certs: Path) -> Iterator[subprocess.Popen[bytes]]:
        with (self.root / "stderr").open("ab") as errors:
            arguments = [sys.executable, str(self.script), command]
            process = subprocess.Popen(arguments, env=self.environment(certs), stderr=errors)
            try:
                yield process
            finally:
                process.terminate()
                process.wait(timeout=20)

    @contextmanager
    def broker(self) -> Iterator[subprocess.Popen[bytes]]:
        said = self.said.count("listening")
        with self.process("broker", self.server) as process:
            eventually(lambda: self.said.count("listening") > said)
            yield process

    @contextmanager
    def forwarder(self) -> Iterator[subprocess.Popen[bytes]]:
        with self.process("forward", self.client) as process:
            yield process

    def run(self, *command: str, certs: Path | None = None) -> subprocess.CompletedProcess[str]:
        environment = self.environment(certs or self.client)
        arguments = [sys.executable, str(self.script), *command]
        return subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def place(containai: Path, tmp_path: Path, authority: Authority) -> Place:
    client = authority.issue(tmp_path / "client", "forwarder")
    server = authority.issue(tmp_path / "server", "localhost")
    return Place(containai / "docker/log-forwarder/log_forwarder.py", tmp_path, client, server)


@pytest.mark.parametrize("delivery", ["acked", "sent"])
def test_lines_arrive(place: Place, delivery: str) -> None:
    place.delivery = delivery
    place.write("before 1", "before 2")
    with place.broker(), place.forwarder():
        eventually(lambda: place.lines() == ["before 1", "before 2"])
        place.write("after")
        with place.log.open("a", encoding="utf-8") as file:
            file.write("half")
            file.flush()
            eventually(lambda: place.lines()[2:] == ["after"])
            time.sleep(0.5)
            assert place.lines()[3:] == []
            file.write(" and half\n")
        eventually(lambda: place.lines()[3:] == ["half and half"])


def test_many_lines_in_order_exactly_once(place: Place) -> None:
    lines = [f"line {number} {'x' * (number % 300)}" for number in range(20_000)]
    place.write(*lines)
    with place.broker(), place.forwarder():
        eventually(lambda: len(place.lines()) >= len(lines))
    assert place.lines() == lines


def test_nothing_is_lost_when_the_broker_goes_away(place: Place) -> None:
    with place.forwarder():
        for round_ in range(4):
            place.write(*(f"{round_} {number}" for number in range(50)))
            with place.broker() as broker:
                eventually(lambda count=round_ + 1: len(set(place.lines())) >= 50 * count)  # type: ignore[misc]
                place.write(f"last of {round_}")
                broker.send_signal(signal.SIGKILL)
                broker.wait()
        with place.broker():
            eventually(lambda: "last of 3" in place.lines())
    unique = list(dict.fromkeys(place.lines()))
    wanted = [line for r in range(4) for line in [*(f"{r} {number}" for number in range(50)), f"last of {r}"]]
    assert unique == wanted
    assert "connecting again in" in place.said


def test_restart_goes_on_where_it_stopped(place: Place) -> None:
    place.write("one", "two")
    with place.broker():
        with place.forwarder():
            eventually(lambda: place.lines() == ["one", "two"])
        place.write("three")
        with place.forwarder():
            eventually(lambda: len(place.lines()) >= 3)
            time.sleep(0.5)
    assert place.lines() == ["one", "two", "three"]


def rotate(place: Place) -> None:
    """As squid does with logfile_rotate 2."""
    zero, one = place.log.with_name("access.log.0"), place.log.with_name("access.log.1")
    if zero.exists():
        zero.rename(one)
    place.log.rename(zero)
    place.log.touch()


def test_rotation_is_followed(place: Place) -> None:
    place.write("a")
    with place.broker(), place.forwarder():
        eventually(lambda: place.lines() == ["a"])
        place.write("b")
        rotate(place)
        place.write("c")
        eventually(lambda: place.lines() == ["a", "b", "c"])
        place.write("d")
        rotate(place)
        place.write("e")
        rotate(place)
        place.write("f")
        eventually(lambda: place.lines() == ["a", "b", "c", "d", "e", "f"])


def test_rotations_while_it_was_away(place: Place) -> None:
    place.write("a")
    with place.broker():
        with place.forwarder():
            eventually(lambda: place.lines() == ["a"])
        place.write("b")
        rotate(place)
        place.write("c")
        rotate(place)
        place.write("d")
        with place.forwarder():
            eventually(lambda: len(place.lines()) >= 4)
    assert place.lines() == ["a", "b", "c", "d"]


def test_truncated_log(place: Place) -> None:
    place.write("a long line to be cut", "another")
    with place.broker(), place.forwarder():
        eventually(lambda: len(place.lines()) == 2)
        os.truncate(place.log, 0)
        place.write("new")
        eventually(lambda: place.lines()[2:] == ["new"])


def test_a_log_that_comes_later(place: Place) -> None:
    with place.broker(), place.forwarder():
        eventually(lambda: "connected to" in place.said)
        place.write("first")
        eventually(lambda: place.lines() == ["first"])


def test_a_broker_of_another_authority_gets_nothing(place: Place, stranger: Authority) -> None:
    place.server = stranger.issue(place.root / "imposter", "localhost")
    (place.server / "ca.crt").write_bytes((place.client / "ca.crt").read_bytes())
    place.write("confidential")
    with place.broker(), place.forwarder():
        eventually(lambda: "CERTIFICATE_VERIFY_FAILED" in place.said)
        result = place.run("check")
        assert result.returncode == 1
        assert "certificate verify failed" in result.stderr.lower()
    assert place.lines() == []


def test_a_broker_of_another_name_gets_nothing(place: Place, authority: Authority) -> None:
    place.server = authority.issue(place.root / "other", "other.example.com")
    place.write("confidential")
    with place.broker(), place.forwarder():
        eventually(lambda: "Hostname mismatch" in place.said)
    assert place.lines() == []


def test_a_forwarder_of_another_authority_is_refused(place: Place, stranger: Authority) -> None:
    certs = stranger.issue(place.root / "intruder", "forwarder")
    (certs / "ca.crt").write_bytes((place.server / "ca.crt").read_bytes())
    with place.broker():
        assert place.run("check", certs=certs).returncode == 1
        assert place.run("check").returncode == 0
        place.client = certs
        place.write("forged")
        with place.forwarder():
            eventually(lambda: place.said.count("certificate verify failed") > 0 or "unknown ca" in place.said.lower())
            time.sleep(0.5)
    assert place.lines() == []


def test_a_line_reader_without_acknowledgements(place: Place) -> None:
    """DELIVERY=sent works with whatever reads lines over TLS, such as openssl s_server."""
    place.delivery = "sent"
    place.write("one", "two")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place.server / "tls.crt", place.server / "tls.key")
    context.load_verify_locations(place.server / "ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    got: list[bytes] = []

    def read(server: socket.socket) -> None:
        raw, _ = server.accept()
        with context.wrap_socket(raw, server_side=True) as connection:
            while data := connection.recv(1000):
                got.append(data)

    with socket.create_server(("127.0.0.1", place.port)) as server:
        thread = threading.Thread(target=read, args=(server,))
        thread.start()
        with place.forwarder():
            eventually(lambda: b"".join(got) == b"one\ntwo\n")
            eventually((place.root / "state/position").exists)
        thread.join()


def test_other_commands_pass_through(place: Place) -> None:
    result = place.run("sh", "-c", 'echo "$1|$2"; exit 5', "x", "a b", "--flag")
    assert (result.returncode, result.stdout) == (5, "a b|--flag\n")
    assert place.run("no-such-program").returncode == 127


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"BROKER_HOST": ""}, "BROKER_HOST is not set"),
        ({"BROKER_PORT": "x"}, "BROKER_PORT is 'x'"),
        ({"DELIVERY": "maybe"}, "DELIVERY is 'maybe'"),
        ({"CERTS": "/nowhere"}, "/nowhere/ca.crt can't be read"),
    ],
)
def test_settings_are_checked(place: Place, forwarder: ModuleType, change: dict[str, str], message: str) -> None:
    environment = {**place.environment(place.client), **change}
    with pytest.raises(forwarder.SettingsError) as caught:
        forwarder.Settings.read(environment)
    assert message in str(caught.value)


def test_a_line_that_never_ends_is_cut(place: Place, forwarder: ModuleType) -> None:
    place.log.write_bytes(b"x" * (forwarder.LONGEST_LINE + 10) + b"\nshort\n")
    follower = forwarder.Follower(place.log, None)
    lines = []
    while batch := follower.lines():
        lines += [line for line, _ in batch]
    follower.seek(None)
    assert b"".join(lines).replace(b"\n", b"") == b"x" * (forwarder.LONGEST_LINE + 10) + b"short"
    assert len(lines[-1]) == len(b"short\n")
    assert all(line.endswith(b"\n") for line in lines)
