"""The program's entry: a group whose commands are imported when they are called."""

from __future__ import annotations

import importlib
from typing import Final

import click

from shipgraph import __version__
from shipgraph.cli.usage import UsageGroup

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "init": ("init", "Draft shipgraph.toml from the Dockerfiles of a folder, or from a bake file."),
    "plan": ("plan", "Show the graph, and what a release would build, reuse and move. Changes nothing."),
    "release": ("release", "Build, push, and publish all of it: every moving tag changes together, or none."),
    "rehearse": ("rehearse", "The whole release into a registry on this disk, without an account."),
    "serve": ("serve", "Serve the registry of a folder over HTTP."),
    "build": ("build", "Build images, gate them, and push them under their immutable tag. No moving tag changes."),
    "assemble": ("assemble", "Make images of what was built for each platform, under their immutable tag."),
    "test": (
        "test",
        "Run the tests of images by their digest, on each platform that can run here, and sign the verdicts.",
    ),
    "payload": ("payload", "Pack the payload, gate it, and push it under its immutable tags."),
    "gate": ("gate", "Scan images and payload for secrets, by digest, straight from the registry."),
    "attest": ("attest", "Sign the provenance of images and payload, where it is missing, and attach it to them."),
    "finalize": ("finalize", "Move all tags to a release that is in the registry."),
    "promote": ("promote", "Move an existing release to another channel or version. Builds nothing."),
    "rollback": ("rollback", "Move a channel back to the release before its current one."),
    "resume": ("resume", "End a transaction whose owner has died."),
    "repair": ("repair", "Put moving tags back to what the channels' metadata says, and say what they were."),
    "refresh": (
        "refresh",
        "Publish a channel's metadata anew, with a new expiry. The release stays, and no image's tag moves.",
    ),
    "prune": ("prune", "Delete what no release, channel or other root needs any more; or show what that would be."),
    "status": ("status", "Show the channels: digests, history, drift, unfinished transactions."),
    "visibility": ("visibility", "Pull a release as somebody without an account, and name what is not public."),
    "verify": ("verify", "Check a published channel: everything that is broken, not the first."),
    "report": ("report", "Write a page about a channel's release: one HTML file, without scripts, that loads nothing."),
    "copy": ("copy", "Copy an image, index or artifact with all that refers to it; its digest stays the same."),
    "resolve": ("resolve", "Print the digests of a channel's release, once its metadata has been verified."),
    "pull": ("pull", "Install a channel's payload: verified, unpacked, and switched to in one step."),
    "workflow": (
        "workflow",
        "Write the GitHub Actions workflow that releases the project: each image and platform a job.",
    ),
    "doctor": (
        "doctor",
        "Look for what would stand in a release's way: builder, login, rights, packages, clock, disk, kernel, signing.",
    ),
    "pin": ("pin", "Fill in the digests of external bases."),
}  # fmt: skip
"""Each command's module in ``commands`` and its line in the help; a test holds the lines against the commands' own."""


class LazyGroup(UsageGroup):
    """Knows its commands by name and imports one only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        """The commands in the order of a release."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"shipgraph.cli.commands.{COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The list of commands, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (_, help_line) in COMMANDS.items()])


@click.group(
    "shipgraph", cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, prog_name="shipgraph")
def main() -> None:
    """Ship a graph of container images, a payload and channel metadata to an OCI registry as one release.

    Exit codes: 0 done; 1 failed; 2 usage or configuration; 3 refused by a gate or test; 4 conflict (immutable tag,
    channel ahead, another transaction); 5 the registry or network failed and trying again is safe.
    """
