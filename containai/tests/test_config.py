"""containai-config: one config.toml becomes the files of three agents."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

SERVERS = r"""
[mcp_servers.github]
url = "https://api.example.com/mcp/"
bearer_token_env = "GITHUB_TOKEN"
headers = { X-Team = "tools" }

[mcp_servers.files]
command = "npx"
args = ["-y", "a \"quoted\" \\ argument", "/workspace"]
env = { LEVEL = "info" }
env_from = ["FILES_KEY"]
agents = ["claude", "codex"]

[mcp_servers.off]
command = "false"
enabled = false

[agents.codex.settings]
model = "gpt-5"
nested = { list = [1, 2.5, true] }

[agents.claude.settings]
theme = "dark"
"""


def convert(converter: ModuleType, home: Path, text: str, *arguments: str) -> int:
    config = home.parent / "config.toml"
    config.write_text(text, encoding="utf-8")
    result: int = converter.main(["--config", str(config), "--home", str(home), *arguments])
    return result


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def test_claude(converter: ModuleType, home: Path) -> None:
    assert convert(converter, home, SERVERS) == 0
    assert read(home / ".claude.json")["mcpServers"] == {
        "github": {
            "type": "http",
            "url": "https://api.example.com/mcp/",
            "headers": {"X-Team": "tools", "Authorization": "Bearer ${GITHUB_TOKEN}"},
        },
        "files": {
            "type": "stdio",
            "command": "npx",
            "args": ["-y", 'a "quoted" \\ argument', "/workspace"],
            "env": {"LEVEL": "info", "FILES_KEY": "${FILES_KEY}"},
        },
    }
    assert read(home / ".claude/settings.json") == {"theme": "dark"}


def test_codex(converter: ModuleType, home: Path) -> None:
    assert convert(converter, home, SERVERS) == 0
    document = tomllib.loads((home / ".codex/config.toml").read_text(encoding="utf-8"))
    assert document == {
        "model": "gpt-5",
        "nested": {"list": [1, 2.5, True]},
        "mcp_servers": {
            "github": {
                "url": "https://api.example.com/mcp/",
                "bearer_token_env_var": "GITHUB_TOKEN",
                "http_headers": {"X-Team": "tools"},
            },
            "files": {
                "command": "npx",
                "args": ["-y", 'a "quoted" \\ argument', "/workspace"],
                "env": {"LEVEL": "info"},
                "env_vars": ["FILES_KEY"],
            },
        },
    }


def test_copilot_gets_only_its_servers(converter: ModuleType, home: Path) -> None:
    assert convert(converter, home, SERVERS) == 0
    servers = read(home / ".copilot/mcp-config.json")["mcpServers"]
    assert list(servers) == ["github"]
    assert servers["github"]["tools"] == ["*"]
    assert not (home / ".copilot/settings.json").exists()


def test_no_value_of_the_environment_is_written(
    converter: ModuleType, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "a-secret-value")
    monkeypatch.setenv("FILES_KEY", "a-secret-value")
    assert convert(converter, home, SERVERS) == 0
    for path in home.rglob("*"):
        if path.is_file():
            assert "a-secret-value" not in path.read_text(encoding="utf-8")
            assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_agents_wrote_stays_and_what_was_ours_goes(converter: ModuleType, home: Path) -> None:
    (home / ".claude.json").write_text('{"userID": "me", "mcpServers": {"own": {"command": "x"}}}', encoding="utf-8")
    (home / ".codex").mkdir()
    (home / ".codex/config.toml").write_text('[projects."/workspace"]\ntrust_level = "trusted"\n', encoding="utf-8")
    assert convert(converter, home, SERVERS) == 0
    assert set(read(home / ".claude.json")["mcpServers"]) == {"own", "github", "files"}
    assert convert(converter, home, "") == 0
    assert read(home / ".claude.json") == {"userID": "me", "mcpServers": {"own": {"command": "x"}}}
    assert read(home / ".claude/settings.json") == {}
    text = (home / ".codex/config.toml").read_text(encoding="utf-8")
    assert text == '[projects."/workspace"]\ntrust_level = "trusted"\n'


def test_a_second_run_changes_nothing(converter: ModuleType, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert convert(converter, home, SERVERS) == 0
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert convert(converter, home, SERVERS) == 0
    assert {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file()} == before
    assert capsys.readouterr().err == ""


def test_check_and_agent(converter: ModuleType, home: Path) -> None:
    assert convert(converter, home, SERVERS, "--check") == 0
    assert list(home.iterdir()) == []
    assert convert(converter, home, SERVERS, "--agent", "codex") == 0
    assert (home / ".codex/config.toml").exists()
    assert not (home / ".claude.json").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "Expected '='"),
        ("[mcp_server.x]", "unknown key 'mcp_server'"),
        ("[mcp_servers.x]", "mcp_servers.x: needs either command or url"),
        ('[mcp_servers.x]\ncommand = "a"\nurl = "https://b"', "needs either command or url"),
        ('[mcp_servers.x]\nurl = "ftp://b"', "mcp_servers.x.url: must start with https://"),
        ('[mcp_servers.x]\nurl = "https://b"\nargs = []', "mcp_servers.x.args: has no meaning beside url"),
        ('[mcp_servers.x]\ncommand = "a"\nenv_from = ["A=b"]', "'A=b' is not the name of a variable"),
        ('[mcp_servers.x]\ncommand = "a"\nargs = "b"', "mcp_servers.x.args: must be an array of strings"),
        ('[mcp_servers.x]\ncommand = "a"\nagents = ["gemini"]', "'gemini' is not one of claude, codex, copilot"),
        ('[mcp_servers."a b"]\ncommand = "a"', "a name has 1 to 64 letters"),
        ("[agents.gemini]", "agents are claude, codex, copilot"),
        ('[mcp_servers.x]\ncommand = "a"\nenabled = "no"', "mcp_servers.x.enabled: must be true or false"),
    ],
)
def test_mistakes_are_named(
    converter: ModuleType, home: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    assert convert(converter, home, text) == 1
    assert message in capsys.readouterr().err
    assert list(home.iterdir()) == []


def test_a_server_that_codex_has_already(converter: ModuleType, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / ".codex").mkdir()
    (home / ".codex/config.toml").write_text('[mcp_servers.files]\ncommand = "mine"\n', encoding="utf-8")
    assert convert(converter, home, SERVERS) == 1
    assert "has a server of this name already" in capsys.readouterr().err
    assert not (home / ".claude.json").exists()


def test_default_configuration_of_the_payload(converter: ModuleType, home: Path, containai: Path) -> None:
    assert converter.main(["--config", str(containai / "payload/config.toml"), "--home", str(home)]) == 0


def entrypoint(containai: Path, tmp_path: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The entrypoint of the image, with the converter on PATH."""
    tools = tmp_path / "tools"
    tools.mkdir()
    program = tools / "containai-config"
    source = containai / "docker/containai/containai_config.py"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {source} "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    variables = {"PATH": f"{tools}:{os.environ['PATH']}", "HOME": str(tmp_path), **environment}
    script = containai / "docker/containai/entrypoint.sh"
    return subprocess.run(["sh", str(script), *command], env=variables, capture_output=True, text=True, check=False)


def test_entrypoint_passes_the_command_through(containai: Path, tmp_path: Path) -> None:
    result = entrypoint(containai, tmp_path, "sh", "-c", 'echo "$1|$2"; exit 7', "x", "a b", "--version")
    assert (result.returncode, result.stdout) == (7, "a b|--version\n")


def test_entrypoint_writes_the_configuration(containai: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(SERVERS, encoding="utf-8")
    result = entrypoint(containai, tmp_path, "true", CONTAINAI_CONFIG=str(config))
    assert result.returncode == 0, result.stderr
    assert (tmp_path / ".claude.json").exists()


def test_entrypoint_refuses_a_configuration_that_is_not_there(containai: Path, tmp_path: Path) -> None:
    result = entrypoint(containai, tmp_path, "echo", "started", CONTAINAI_CONFIG="/nowhere/config.toml")
    assert (result.returncode, result.stdout) == (1, "")
    assert "/nowhere/config.toml, which is not there" in result.stderr
