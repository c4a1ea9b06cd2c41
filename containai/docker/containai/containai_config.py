#!/usr/bin/env python3
"""Turn one config.toml into the configuration files of the agents.

    containai-config [--config FILE] [--home DIR] [--agent NAME]... [--check]

What the file may say:

    [mcp_servers.github]                     # a server reached over HTTP
    url = "https://api.githubcopilot.com/mcp/"
    bearer_token_env = "GITHUB_TOKEN"        # name of a variable of the container, never the token itself
    headers = { X-Team = "tools" }

    [mcp_servers.files]                      # a program started by the agent
    command = "npx"
    args = ["-y", "@modelcontextprotocol/server-filesystem", "/workspace"]
    env = { LOG_LEVEL = "info" }
    env_from = ["FILES_KEY"]                 # names of variables of the container that the program gets
    agents = ["claude", "codex"]             # default: all
    enabled = true                           # default

    [agents.codex.settings]                  # written as they are to the agent's own settings file
    model = "gpt-5"

Written are ~/.claude.json and ~/.claude/settings.json, ~/.codex/config.toml, ~/.copilot/mcp-config.json and
~/.copilot/settings.json. In the JSON files only the servers and settings named here change, everything else stays; what
an earlier run wrote and config.toml no longer names is removed. In Codex's TOML file the parts between two marker lines
are ours. Every file is replaced as a whole or not at all.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

AGENTS = ("claude", "codex", "copilot")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
BEGIN = "# >>> containai: written by containai-config, changes here are lost"
END = "# <<< containai"


class ConfigError(Exception):
    """The configuration can't be used; the message names the key and what is allowed."""


@dataclass(frozen=True)
class Server:
    name: str
    command: str | None
    args: tuple[str, ...]
    env: Mapping[str, str]
    env_from: tuple[str, ...]
    url: str | None
    headers: Mapping[str, str]
    bearer_token_env: str | None
    agents: frozenset[str]


@dataclass(frozen=True)
class Config:
    servers: tuple[Server, ...]
    settings: Mapping[str, Mapping[str, Any]]

    def servers_of(self, agent: str) -> list[Server]:
        return [server for server in self.servers if agent in server.agents]


# Reading ------------------------------------------------------------------------------------------------------------


def read_config(path: Path) -> Config:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    try:
        return parse(document)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def parse(document: Mapping[str, Any]) -> Config:
    # [run], [proxy] and [log_forwarder] are the launcher's.
    known(document, "the file", {"mcp_servers", "agents", "run", "proxy", "log_forwarder"})
    servers = []
    for name, entry in table(document, "mcp_servers").items():
        where = f"mcp_servers.{name}"
        if not NAME.fullmatch(name):
            raise ConfigError(f"{where}: a name has 1 to 64 letters, digits, '-' and '_'")
        if not isinstance(entry, dict):
            raise ConfigError(f"{where}: must be a table")
        if boolean(entry, "enabled", where, default=True):
            servers.append(parse_server(name, entry, where))
    settings: dict[str, Mapping[str, Any]] = {}
    for agent, entry in table(document, "agents").items():
        where = f"agents.{agent}"
        if agent not in AGENTS:
            raise ConfigError(f"{where}: agents are {', '.join(AGENTS)}")
        if not isinstance(entry, dict):
            raise ConfigError(f"{where}: must be a table")
        known(entry, where, {"settings"})
        settings[agent] = table(entry, "settings", f"{where}.settings")
    if "mcp_servers" in settings.get("codex", {}):
        raise ConfigError("agents.codex.settings.mcp_servers: servers belong to [mcp_servers]")
    return Config(tuple(servers), settings)


def parse_server(name: str, entry: Mapping[str, Any], where: str) -> Server:
    keys = {"command", "args", "env", "env_from", "url", "headers", "bearer_token_env", "agents", "enabled"}
    known(entry, where, keys)
    command, url = string(entry, "command", where), string(entry, "url", where)
    if (command is None) == (url is None):
        raise ConfigError(f"{where}: needs either command or url")
    foreign = {"args", "env", "env_from"} if url else {"headers", "bearer_token_env"}
    for key in sorted(foreign & entry.keys()):
        raise ConfigError(f"{where}.{key}: has no meaning beside {'url' if url else 'command'}")
    if url is not None and not re.match(r"https?://[^/\s]", url):
        raise ConfigError(f"{where}.url: must start with https:// or http://")
    env, env_from = mapping(entry, "env", where), strings(entry, "env_from", where)
    bearer = string(entry, "bearer_token_env", where)
    for variable in (*env, *env_from, *([bearer] if bearer else [])):
        if not VARIABLE.fullmatch(variable):
            raise ConfigError(f"{where}: {variable!r} is not the name of a variable")
    if both := sorted(env.keys() & set(env_from)):
        raise ConfigError(f"{where}: {both[0]} is both in env and in env_from")
    agents = strings(entry, "agents", where) or AGENTS
    if unknown := sorted(set(agents) - set(AGENTS)):
        raise ConfigError(f"{where}.agents: {unknown[0]!r} is not one of {', '.join(AGENTS)}")
    headers = mapping(entry, "headers", where)
    return Server(name, command, strings(entry, "args", where), env, env_from, url, headers, bearer, frozenset(agents))


def known(entry: Mapping[str, Any], where: str, keys: set[str]) -> None:
    for key in entry:
        if key not in keys:
            raise ConfigError(f"{where}: unknown key {key!r}; known are {', '.join(sorted(keys))}")


def table(entry: Mapping[str, Any], key: str, where: str | None = None) -> Mapping[str, Any]:
    value = entry.get(key, {})
    if not isinstance(value, dict):
        raise ConfigError(f"{where or key}: must be a table")
    return value


def string(entry: Mapping[str, Any], key: str, where: str) -> str | None:
    value = entry.get(key)
    if value is not None and (not isinstance(value, str) or not value or "\0" in value):
        raise ConfigError(f"{where}.{key}: must be a string that isn't empty")
    return value


def boolean(entry: Mapping[str, Any], key: str, where: str, *, default: bool) -> bool:
    value = entry.get(key, default)
    if not isinstance(value, bool):
        raise ConfigError(f"{where}.{key}: must be true or false")
    return value


def strings(entry: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    value = entry.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ConfigError(f"{where}.{key}: must be an array of strings")
    return tuple(value)


def mapping(entry: Mapping[str, Any], key: str, where: str) -> Mapping[str, str]:
    value = entry.get(key, {})
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise ConfigError(f"{where}.{key}: must be a table of strings")
    return value


# Writing: each agent's own format -----------------------------------------------------------------------------------


def claude_server(server: Server) -> dict[str, Any]:
    if server.url is not None:
        return {"type": "http", "url": server.url, **http_headers(server)}
    return {"type": "stdio", "command": server.command, "args": list(server.args), "env": environment(server)}


def copilot_server(server: Server) -> dict[str, Any]:
    if server.url is not None:
        return {"type": "http", "url": server.url, **http_headers(server), "tools": ["*"]}
    program = {"type": "local", "command": server.command, "args": list(server.args), "env": environment(server)}
    return {**program, "tools": ["*"]}


def environment(server: Server) -> dict[str, str]:
    """Claude and Copilot expand ${NAME} when they start the server, so no value is ever written down."""
    return {**server.env, **{name: f"${{{name}}}" for name in server.env_from}}


def http_headers(server: Server) -> dict[str, Any]:
    headers = dict(server.headers)
    if server.bearer_token_env:
        headers["Authorization"] = f"Bearer ${{{server.bearer_token_env}}}"
    return {"headers": headers} if headers else {}


def codex_server(server: Server) -> dict[str, Any]:
    if server.url is not None:
        entry: dict[str, Any] = {"url": server.url}
        if server.bearer_token_env:
            entry["bearer_token_env_var"] = server.bearer_token_env
        if server.headers:
            entry["http_headers"] = dict(server.headers)
        return entry
    entry = {"command": server.command, "args": list(server.args)}
    if server.env:
        entry["env"] = dict(server.env)
    if server.env_from:
        entry["env_vars"] = list(server.env_from)
    return entry


def toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for DEL and for surrogate pairs, which ensure_ascii would write.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{toml_key(key)} = {toml_value(item)}" for key, item in value.items()) + " }"
    raise ConfigError(f"settings: {type(value).__name__} values can't be written")


def toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else toml_value(key)


def codex_document(config: Config, old: str) -> str:
    """Codex's config.toml: settings first (they are top-level keys), the user's own text, then the servers."""
    own = re.sub(rf"^{re.escape(BEGIN)}$.*?^{re.escape(END)}$\n?", "", old, flags=re.MULTILINE | re.DOTALL).strip("\n")
    try:
        theirs = tomllib.loads(own)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f".codex/config.toml: {error}") from error
    settings = config.settings.get("codex", {})
    for key in settings:
        if key in theirs:
            raise ConfigError(f"agents.codex.settings.{key}: .codex/config.toml sets it already")
    servers = config.servers_of("codex")
    for server in servers:
        if server.name in theirs.get("mcp_servers", {}):
            raise ConfigError(f"mcp_servers.{server.name}: .codex/config.toml has a server of this name already")
    parts = []
    if settings:
        lines = [f"{toml_key(key)} = {toml_value(value)}" for key, value in settings.items()]
        parts.append("\n".join([BEGIN, *lines, END]))
    if own:
        parts.append(own)
    if servers:
        blocks = [toml_server(server) for server in servers]
        parts.append("\n".join([BEGIN, "\n\n".join(blocks), END]))
    document = "\n\n".join(parts) + "\n" if parts else ""
    tomllib.loads(document)
    return document


def toml_server(server: Server) -> str:
    lines = [f"{key} = {toml_value(value)}" for key, value in codex_server(server).items()]
    return "\n".join([f"[mcp_servers.{toml_key(server.name)}]", *lines])


# Writing: files -----------------------------------------------------------------------------------------------------


def convert(config: Config, home: Path, agents: Sequence[str] = AGENTS) -> list[Path]:
    """Write the files of the agents, and say which ones changed."""
    state_path = home / ".config/containai/written.json"
    state = read_json(state_path)
    files: dict[Path, str] = {}
    for agent in agents:
        if agent == "codex":
            path = home / ".codex/config.toml"
            files[path] = codex_document(config, path.read_text(encoding="utf-8") if path.exists() else "")
            continue
        render = claude_server if agent == "claude" else copilot_server
        names = (".claude.json", ".claude/settings.json")
        if agent == "copilot":
            names = (".copilot/mcp-config.json", ".copilot/settings.json")
        servers = {server.name: render(server) for server in config.servers_of(agent)}
        settings = dict(config.settings.get(agent, {}))
        before = state.get(agent, {})
        path = home / names[0]
        document = read_json(path)
        document["mcpServers"] = merged(document.get("mcpServers", {}), before.get("servers", []), servers)
        files[path] = json_text(document)
        path = home / names[1]
        if settings or before.get("settings"):
            files[path] = json_text(merged(read_json(path), before.get("settings", []), settings))
        state[agent] = {"servers": sorted(servers), "settings": sorted(settings)}
    changed = [path for path, text in files.items() if replace(path, text)]
    replace(state_path, json_text(state))
    return changed


def merged(present: Mapping[str, Any], earlier: Sequence[str], now: Mapping[str, Any]) -> dict[str, Any]:
    return {**{key: value for key, value in present.items() if key not in earlier}, **now}


def read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        document = json.loads(path.read_text(encoding="utf-8") or "{}")
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: must hold a JSON object")
    return document


def json_text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def replace(path: Path, text: str) -> bool:
    """Put the text at the path in one step, readable by its owner alone; False if it is there already."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    if not text and not path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="containai-config", description="Write the agents' configuration files.")
    parser.add_argument("--config", type=Path, default=Path("/etc/containai/config.toml"))
    parser.add_argument("--home", type=Path, default=Path.home())
    parser.add_argument("--agent", action="append", choices=AGENTS, help="only this one; may be given several times")
    parser.add_argument("--check", action="store_true", help="read the configuration, write nothing")
    options = parser.parse_args(arguments)
    try:
        config = read_config(options.config)
        if not options.check:
            for path in convert(config, options.home, options.agent or AGENTS):
                print(f"containai-config: wrote {path}", file=sys.stderr)
    except (ConfigError, OSError) as error:
        print(f"containai-config: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
