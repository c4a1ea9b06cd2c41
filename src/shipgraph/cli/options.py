"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from shipgraph.engine.opening import Asked
    from shipgraph.oci.platform import Platform

F = TypeVar("F", bound="Callable[..., Any]")


class PlatformType(click.ParamType[Any]):
    """``os/arch[/variant]``."""

    name = "platform"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Platform:
        """Parse a platform."""
        from shipgraph.errors import InvalidReference
        from shipgraph.oci.platform import Platform

        if isinstance(value, Platform):
            return value
        try:
            return Platform.parse(value)
        except InvalidReference as error:
            self.fail(str(error), param, ctx)


def common(function: F) -> F:
    """``--project``, ``--json`` and ``--debug``."""
    for option in (
        click.option("--debug", is_flag=True, help="Show tracebacks."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout."),
        click.option(
            "--project",
            "folder",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            default=Path(),
            help="The folder of shipgraph.toml (default: here).",
        ),
    ):
        function = option(function)
    return function


def _not_empty(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """An empty value is a variable that was not set: nothing goes to the configured registry because of that."""
    if value is not None and not value.strip():
        raise click.BadParameter("it is empty; leave the option out for the configured registry", ctx, param)
    return value


def target(function: F) -> F:
    """``--registry`` and ``--root``."""
    for option in (
        click.option(
            "--root",
            type=click.Path(file_okay=False, path_type=Path),
            help="Use the registry of this folder (a rehearsal's, say), served while the command runs.",
        ),
        click.option(
            "--registry", metavar="HOST[/NAMESPACE]", callback=_not_empty, help="Overrides the configured registry."
        ),
    ):
        function = option(function)
    return function


def trigger(function: F) -> F:
    """``--channel``, ``--version`` and ``--event``."""
    for option in (
        click.option(
            "--event",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="A GitHub event file that says what is released.",
        ),
        click.option("--version", metavar="V", help="The release's version, for a channel that takes versions."),
        click.option("--channel", metavar="NAME", help="The channel (default: the one that follows this branch)."),
    ):
        function = option(function)
    return function


def platforms(function: F) -> F:
    """``--platform``."""
    return click.option(
        "--platform",
        "platforms",
        multiple=True,
        type=PlatformType(),
        help="Only this platform (repeatable); a rehearsal may narrow them.",
    )(function)


def transaction(function: F) -> F:
    """``--wait``, ``--diverged`` and ``--move-release-tag``."""
    for option in (
        click.option("--move-release-tag", is_flag=True, help="Let a release tag that is set already move."),
        click.option("--diverged", is_flag=True, help="Publish although the channel is on another line of history."),
        click.option("--wait", is_flag=True, help="Wait while another transaction is open."),
    ):
        function = option(function)
    return function


def asked(folder: Path, **more: Any) -> Asked:
    """The shared options as one value."""
    from shipgraph.engine.opening import Asked

    return Asked(folder=folder, **more)
