"""A group whose usage errors look like all others: what, the next step, and a document where JSON was asked for."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

from shipgraph.cli.exit_codes import DONE, INTERRUPTED, USAGE

if TYPE_CHECKING:
    from collections.abc import Sequence


class UsageGroup(click.Group):
    """See the module."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """click's own entry, but for the end."""
        words = list(sys.argv[1:] if args is None else args)
        if not standalone_mode:
            return super().main(words, prog_name, complete_var, standalone_mode=False, **extra)
        try:
            code = super().main(words, prog_name, complete_var, standalone_mode=False, **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(USAGE)
        except click.UsageError as error:
            _report(error, as_json="--json" in words)
        except click.Abort:
            sys.exit(INTERRUPTED)
        sys.exit(code if isinstance(code, int) else DONE)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command, or an error that names the nearest."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            from difflib import get_close_matches

            near = get_close_matches(name, self.list_commands(ctx), n=1)
            ctx.fail(f"there is no command {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        return super().resolve_command(ctx, args)


def _report(error: click.UsageError, *, as_json: bool) -> NoReturn:
    from shipgraph.cli.output import Output, error_document

    output = Output(as_json=as_json)
    text = error.format_message().rstrip(".")
    hint = _hint(error)
    output.show_error(text, hint)
    if as_json:
        output.result(error_document("UsageError", text, hint, USAGE), "")
    sys.exit(USAGE)


def _hint(error: click.UsageError) -> str:
    if error.ctx is None:
        return ""
    hint = f"{error.ctx.command_path} --help"
    command = error.ctx.command
    if not isinstance(command, click.Group):
        return hint
    if isinstance(error, click.NoSuchOption):
        return f"options stand after the command: {error.ctx.command_path} COMMAND --help"
    return hint
