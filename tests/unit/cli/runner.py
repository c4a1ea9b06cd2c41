"""What GitHub's runner understands of a step's output and of its files (actions/runner, ActionCommand.cs)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

KNOWN = {
    "stop-commands", "set-env", "set-output", "save-state", "add-mask", "add-path", "add-matcher", "remove-matcher",
    "warning", "error", "notice", "debug", "group", "endgroup", "echo",
}  # fmt: skip


@dataclass
class Command:
    """One command: its name, its properties, its data."""

    name: str
    properties: dict[str, str] = field(default_factory=dict)
    data: str = ""


def listen(output: str) -> list[Command]:
    """The commands that a runner carries out; a line ends as .NET's readers end it."""
    found: list[Command] = []
    silence = ""
    for line in re.split(r"\r\n|\n|\r", output):
        command = _new(line, silence) or _old(line, silence)
        if command is None:
            continue
        if silence:
            if command.name == silence:
                silence = ""
        elif command.name == "stop-commands":
            silence = command.data
        else:
            found.append(command)
    assert not silence, "the runner listens to nothing any more"
    return found


def _new(line: str, silence: str) -> Command | None:
    text = line.lstrip()
    end = text.find("::", 2)
    if not text.startswith("::") or end < 0:
        return None
    name, _, properties = text[2:end].partition(" ")
    if name.lower() not in KNOWN | {silence}:
        return None
    pairs = [pair.split("=", 1) for pair in properties.strip().split(",") if "=" in pair]
    unescaped = {key: _unescape(value.replace("%3A", ":").replace("%2C", ",")) for key, value in pairs}
    return Command(name.lower(), unescaped, _unescape(text[end + 2 :]))


def _old(line: str, silence: str) -> Command | None:
    match = re.search(r"##\[([^\] ]*)[^\]]*\](.*)", line, re.DOTALL)
    if match is None or match[1].lower() not in KNOWN | {silence}:
        return None
    return Command(match[1].lower(), {}, match[2])


def _unescape(text: str) -> str:
    return text.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")


def read_outputs(text: str) -> dict[str, str]:
    """The values in a file of outputs."""
    found: dict[str, str] = {}
    lines = text.split("\n")
    position = 0
    while position < len(lines):
        line = lines[position]
        position += 1
        if not line:
            continue
        name, mark, end = line.partition("<<")
        if not mark or "=" in name:
            name, _, found[name] = line.partition("=")
            continue
        stop = lines.index(end, position)
        found[name] = "\n".join(lines[position:stop])
        position = stop + 1
    return found
