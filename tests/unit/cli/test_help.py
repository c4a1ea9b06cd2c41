"""What ``--help`` says, and what it costs."""

from __future__ import annotations

import json
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from shipgraph.cli.main import COMMANDS, main

HEAVY = (
    "rich",
    "urllib3",
    "starlette",
    "uvicorn",
    "cyclonedx",
    "isal",
    "msgspec",
    "anyio",
    "asyncio",
    "ssl",
    "http.client",
)


def _command(name: str) -> click.Command:
    found = main.get_command(click.Context(main), name)
    assert found is not None
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_lines_of_the_group_are_the_commands_own(name: str) -> None:
    command = _command(name)
    assert command.name == name
    assert command.get_short_help_str(limit=200) == COMMANDS[name][1].rstrip(".") or (
        COMMANDS[name][1] == (command.help or "").split("\n\n")[0].replace("\n", " ")
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    done = CliRunner().invoke(main, [name, "--help"])
    assert done.exit_code == 0
    assert COMMANDS[name][1].split()[0] in done.output
    for parameter in _command(name).params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts[0]} has no help"
            assert parameter.help.endswith((".", ")")), f"{name} {parameter.opts[0]}: a sentence ends with a full stop"
    names = {option for parameter in _command(name).params for option in parameter.opts}
    if name not in {"serve", "copy"}:  # they have no project
        assert {"--project", "--json", "--debug"} <= names


def test_the_list_names_every_command() -> None:
    output = CliRunner().invoke(main, ["--help"]).output
    assert [name for name in COMMANDS if f"\n  {name} " not in output] == []


def test_version() -> None:
    from shipgraph import __version__

    assert CliRunner().invoke(main, ["--version"]).output == f"shipgraph, version {__version__}\n"


def _loaded(code: str) -> list[str]:
    """The heavy modules that a program has loaded at its end."""
    end = f"import json; print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    program = f"import sys\n{code}\nsys.stdout.flush()\n{end}"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("arguments", [["--help"], ["plan", "--help"], ["release", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = f"from shipgraph.cli.main import main\nmain({arguments!r}, standalone_mode=False)"
    assert _loaded(code) == []


def test_plan_does_not_load_what_it_does_not_need() -> None:
    code = (
        "from shipgraph.cli.commands import plan\n"
        "import shipgraph.engine.opening, shipgraph.engine.planning, shipgraph.cli.output"
    )
    assert set(_loaded(code)) & {"rich", "starlette", "uvicorn", "cyclonedx", "isal", "urllib3"} == set()
