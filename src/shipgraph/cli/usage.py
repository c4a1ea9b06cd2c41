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


def _report(error: click.UsageError, *, as_json: bool) -> NoReturn:
    from shipgraph.cli.output import Output, error_document

    output = Output(as_json=as_json)
    text = error.format_message().rstrip(".")
    hint = f"{error.ctx.command_path} --help" if error.ctx is not None else ""
    output.show_error(text, hint)
    if as_json:
        output.result(error_document("UsageError", text, hint, USAGE), "")
    sys.exit(USAGE)
