"""The launcher: what it asks the engine for, with an engine that only takes notes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

ENGINE = """#!{python}
import json, os, sys
arguments = sys.argv[1:]
with open({notes!r}, "a") as file:
    file.write(json.dumps({{"arguments": arguments, "token": os.environ.get("ANTHROPIC_API_KEY")}}) + "\\n")
if "openssl" in " ".join(arguments):
    for kind in ("PRIVATE KEY", "CERTIFICATE"):
        print(f"-----BEGIN {{kind}}-----\\nabc\\n-----END {{kind}}-----")
elif arguments[:1] == ["inspect"]:
    running = os.path.exists({running!r})
    print("true" if running else "")
    sys.exit(0 if running else 1)
elif arguments[1:2] == ["inspect"]:
    sys.exit(1)
elif arguments[0] in ("ps", "network", "volume") and "--quiet" in arguments:
    print("one\\ntwo")
elif arguments[0] == "exec" and os.path.exists({stuck!r}):
    sys.exit(1)
"""


def digest(character: str) -> str:
    return f"sha256:{character * 64}"


IMAGES = [
    {"image": name, "repository": "containai" if name == "containai" else f"containai-{name}", "digest": digest(letter)}
    for name, letter in zip(
        ("base", "containai", "claude", "codex", "copilot", "proxy", "log-forwarder"), "abcdef0", strict=True
    )
]


@dataclass
class Machine:
    """An installed payload and an engine on PATH."""

    root: Path

    @property
    def payload(self) -> Path:
        return self.root / "releases/dev-1/payload"

    @property
    def notes(self) -> list[list[str]]:
        path = self.root / "notes"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [json.loads(line)["arguments"] for line in lines]

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        variables = {
            "PATH": f"{self.root / 'tools'}:/usr/bin:/bin",
            "HOME": str(self.root / "home"),
            **environment,
        }
        command = [sys.executable, str(self.payload / "bin/containai"), *arguments]
        return subprocess.run(
            command, env=variables, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, cwd=self.root
        )

    def images(self, entries: object) -> None:
        (self.payload / "images.json").write_text(json.dumps(entries), encoding="utf-8")

    def config(self, text: str) -> None:
        (self.payload / "config.toml").write_text(text, encoding="utf-8")


@pytest.fixture
def machine(tmp_path: Path, containai: Path) -> Machine:
    machine = Machine(tmp_path)
    shutil.copytree(containai / "payload", machine.payload)
    shutil.copytree(containai / "docker/profiles", machine.payload / "profiles")
    machine.images(IMAGES)
    settings = {"REGISTRY": "registry.example.com:5000", "NAMESPACE": "acme", "CHANNEL": "prod", "VERSION": "v1.2.3"}
    lines = "".join(f"{key}={value}\n" for key, value in settings.items())
    (machine.payload.parent / "install.env").write_text(lines, encoding="utf-8")
    (tmp_path / "home").mkdir()
    (tmp_path / "tools").mkdir()
    for name in ("docker", "podman"):
        engine = tmp_path / "tools" / name
        text = ENGINE.format(
            python=sys.executable,
            notes=str(tmp_path / "notes"),
            running=str(tmp_path / "running"),
            stuck=str(tmp_path / "stuck"),
        )
        engine.write_text(text, encoding="utf-8")
        engine.chmod(0o755)
    return machine


def values(arguments: list[str], option: str) -> list[str]:
    return [value for key, value in pairwise(arguments) if key == option]


def test_images_are_named_with_registry_and_digest(machine: Machine) -> None:
    result = machine.run("images")
    assert result.returncode == 0, result.stderr
    listed = dict(line.split() for line in result.stdout.splitlines())
    assert len(listed) == 7
    assert listed["claude"] == f"registry.example.com:5000/acme/containai-claude@{digest('c')}"


def test_run_starts_proxy_and_agent(machine: Machine) -> None:
    result = machine.run("run", "claude", "--", "-p", "hello world")
    assert result.returncode == 0, result.stderr
    started = [note for note in machine.notes if note[0] == "run"]
    authority, proxy, agent = started
    assert f"registry.example.com:5000/acme/containai-proxy@{digest('f')}" in authority
    assert proxy[-2:] == [f"registry.example.com:5000/acme/containai-proxy@{digest('f')}", "proxy"]
    reference = f"registry.example.com:5000/acme/containai-claude@{digest('c')}"
    assert agent[-4:] == [reference, "claude", "-p", "hello world"]
    for arguments in started:
        assert "--read-only" in arguments
        assert values(arguments, "--cap-drop") == ["ALL"]
        assert "no-new-privileges" in values(arguments, "--security-opt")
    profile = machine.payload / "profiles/seccomp-containai-proxy.json"
    assert f"seccomp={profile}" in values(proxy, "--security-opt")
    assert json.loads(profile.read_text(encoding="utf-8"))["defaultAction"] == "SCMP_ACT_ERRNO"
    inside = values(agent, "--network")
    assert inside
    assert inside == [note[-1] for note in machine.notes if note[:2] == ["network", "create"] and "--internal" in note]
    assert ["network", "connect", "--alias", "proxy", inside[0], values(proxy, "--name")[0]] in machine.notes
    assert values(proxy, "--network") != inside
    assert ["exec", values(proxy, "--name")[0], "containai-proxy", "ready"] in machine.notes
    assert "HTTPS_PROXY=http://proxy:3128" in values(agent, "--env")
    assert f"{machine.root}:/workspace" in values(agent, "--volume")
    key = machine.root / "home/.local/state/containai/proxy-ca/ca.key"
    assert key.stat().st_mode & 0o077 == 0
    assert not any(str(key.parent) == volume.split(":")[0] for volume in values(agent, "--volume"))


def test_a_running_proxy_is_used_again(machine: Machine) -> None:
    (machine.root / "running").touch()
    assert machine.run("run", "codex").returncode == 0
    assert machine.run("run", "codex").returncode == 0
    started = [note[-1] for note in machine.notes if note[0] == "run"]
    codex = f"registry.example.com:5000/acme/containai-codex@{digest('d')}"
    assert started[1:] == [codex, codex]


def test_an_agent_does_not_start_without_its_proxy(machine: Machine) -> None:
    (machine.root / "stuck").touch()
    path = machine.payload / "bin/containai"
    path.write_text(path.read_text(encoding="utf-8").replace("PATIENCE = 20.0", "PATIENCE = 0.5"), encoding="utf-8")
    result = machine.run("run", "claude")
    assert result.returncode == 1
    assert "the proxy is not ready" in result.stderr
    assert not [note for note in machine.notes if note[0] == "run" and "containai-claude@" in " ".join(note)]


def test_nothing_is_root_inside(machine: Machine) -> None:
    assert machine.run("run", "claude").returncode == 0
    for note in machine.notes:
        if note[0] == "run" and "--rm" not in note[:2]:
            assert not values(note, "--user")[0].startswith("0:")


def test_a_token_is_passed_by_name(machine: Machine) -> None:
    result = machine.run("run", "claude", "--network", "none", ANTHROPIC_API_KEY="very-secret")
    assert result.returncode == 0, result.stderr
    agent = machine.notes[-1]
    assert "ANTHROPIC_API_KEY" in values(agent, "--env")
    assert values(agent, "--network") == ["none"]
    assert "very-secret" not in " ".join(" ".join(note) for note in machine.notes)
    last = (machine.root / "notes").read_text(encoding="utf-8").splitlines()[-1]
    assert json.loads(last)["token"] == "very-secret"


def test_dry_run_runs_nothing(machine: Machine) -> None:
    result = machine.run("run", "copilot", "--dry-run")
    assert result.returncode == 0, result.stderr
    assert machine.notes == []
    assert f"registry.example.com:5000/acme/containai-copilot@{digest('e')}" in result.stdout
    assert not (machine.root / "home/.local").exists()


def test_log_forwarder(machine: Machine) -> None:
    text = (machine.payload / "config.toml").read_text(encoding="utf-8")
    machine.config(text + '\n[log_forwarder]\nbroker = "logs.example.com:6514"\ncerts = "/certs-here"\n')
    assert machine.run("run", "claude").returncode == 0
    (proxy,) = [note for note in machine.notes if note[-1] == "proxy"]
    (forwarder,) = [note for note in machine.notes if note[-1].endswith(f"containai-log-forwarder@{digest('0')}")]
    (volume,) = [note[-1] for note in machine.notes if note[:2] == ["volume", "create"]]
    assert f"{volume}:/var/log/squid" in values(proxy, "--volume")
    assert {f"{volume}:/var/log/squid:ro", "/certs-here:/certs:ro"} <= set(values(forwarder, "--volume"))
    assert {"BROKER_HOST=logs.example.com", "BROKER_PORT=6514"} <= set(values(forwarder, "--env"))
    assert values(forwarder, "--user") == values(proxy, "--user")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([entry for entry in IMAGES if entry["image"] != "claude"], "no digest of image claude"),
        ([{**entry, "digest": ""} for entry in IMAGES], "has no digest, so it is not run"),
        ([{**entry, "digest": "prod"} for entry in IMAGES], "has no digest, so it is not run"),
        ("nonsense", "install again"),
    ],
)
@pytest.mark.parametrize("channel", ["dev", "prod"])
def test_without_a_digest_nothing_runs(machine: Machine, entries: object, message: str, channel: str) -> None:
    path = machine.payload.parent / "install.env"
    path.write_text(path.read_text(encoding="utf-8").replace("CHANNEL=prod", f"CHANNEL={channel}"), encoding="utf-8")
    machine.images(entries)
    result = machine.run("run", "claude")
    assert result.returncode == 1
    assert message in result.stderr
    assert machine.notes == []


def test_without_an_installation_nothing_runs(machine: Machine) -> None:
    (machine.payload.parent / "install.env").unlink()
    result = machine.run("run", "claude")
    assert (result.returncode, machine.notes) == (1, [])
    assert "must be installed by its install.sh" in result.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[run]\nnetwork = 'wide'", "run.network is 'wide'; it may be proxy, none, open"),
        ("[run]\npids = 'many'", "run.pids must be of type int"),
        ("[run]\nenv = ['A=b']", "'A=b' is not the name of a variable"),
        ("", "proxy.allowed_domains is empty"),
        ("[run]\nnetwork = 'none'\n[log_forwarder]\nbroker = 'x:1'", "needs both broker and certs"),
        ("[run]\nnetwork = 'none'\n[proxy]\nupstream_ca = '/nowhere'", "/nowhere is not a file"),
        ("[run]\nengine = 'lxc'\nnetwork = 'none'", "it may be docker or podman"),
        ("= x", "config.toml"),
    ],
)
def test_mistakes_are_named(machine: Machine, text: str, message: str) -> None:
    machine.config(text)
    result = machine.run("run", "claude")
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert machine.notes == []


def test_a_failing_engine_is_told(machine: Machine) -> None:
    result = machine.run("pull", "claude", "fails")
    assert result.returncode == 1
    assert "image fails is none of" in result.stderr
    machine.images([{**entry, "repository": "x", "image": "claude"} for entry in IMAGES[:1]])
    (machine.root / "tools/docker").write_text("#!/bin/sh\nexit 125\n", encoding="utf-8")
    result = machine.run("pull", "claude")
    assert result.returncode == 1
    assert "failed with 125" in result.stderr


def test_stop_removes_what_is_labelled(machine: Machine) -> None:
    result = machine.run("stop", "--engine", "podman")
    assert result.returncode == 0, result.stderr
    assert ["rm", "--force", "one", "two"] in machine.notes
    assert ["network", "rm", "one", "two"] in machine.notes


def test_version(machine: Machine) -> None:
    assert machine.run("version").stdout == "containai v1.2.3 (channel prod)\n"


def test_own_configuration_takes_the_place_of_the_default(machine: Machine) -> None:
    own = machine.root / "home/.config/containai/config.toml"
    own.parent.mkdir(parents=True)
    own.write_text("[run]\nnetwork = 'none'\nmemory = '1g'\n", encoding="utf-8")
    assert machine.run("run", "claude").returncode == 0
    assert values(machine.notes[-1], "--memory") == ["1g"]
    assert f"{own}:/etc/containai/config.toml:ro" in values(machine.notes[-1], "--volume")
