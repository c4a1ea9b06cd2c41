"""The command reference, made from the program's own help: ``python -m shipgraph.cli.reference`` prints it.

``docs/reference/commands.md`` is its output; a test fails where it isn't.
"""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING

import click

from shipgraph.cli.exit_codes import MEANING
from shipgraph.cli.main import COMMANDS, main

if TYPE_CHECKING:
    from collections.abc import Iterator

INTRODUCTION = """\
# Commands

<!-- Made by `python -m shipgraph.cli.reference > docs/reference/commands.md`; a test fails when it is stale. -->

Results go to stdout, progress and messages to stderr. With `--json` stdout has exactly one JSON document
([json.md](json.md)), also where the command fails. Ctrl-C stops a command; while tags move, the transaction ends first.
"""


def reference() -> str:
    """The whole reference as Markdown."""
    parts = [INTRODUCTION, "## Exit codes\n\n" + "\n".join(_exit_codes()) + "\n"]
    group = click.Context(main, info_name=main.name, **main.context_settings)
    for name in COMMANDS:
        command = main.get_command(group, name)
        assert command is not None  # noqa: S101 (it is in the table)
        parts.append("\n".join(_command(command, click.Context(command, info_name=name, parent=group))) + "\n")
    return "\n".join(parts)


def _exit_codes() -> Iterator[str]:
    yield "| code | meaning |"
    yield "| ---: | --- |"
    for code, meaning in MEANING.items():
        yield f"| {code} | {meaning} |"


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    yield f"## `shipgraph {context.info_name}`"
    yield ""
    yield "```"
    yield f"{context.command_path} {' '.join(command.collect_usage_pieces(context))}".strip()
    yield "```"
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        yield ""
        yield paragraph
    yield ""
    yield "| option | |"
    yield "| --- | --- |"
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            names, text = record
            yield f"| `{_cell(names)}` | {_cell(text)} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(reference())
