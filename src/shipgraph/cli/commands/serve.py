"""`shipgraph serve`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from shipgraph.cli import exit_codes
from shipgraph.cli.output import Output
from shipgraph.cli.running import set_up_logs


@click.command("serve")
@click.option(
    "--root",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder that holds the repositories, an OCI image layout each.",
)
@click.option("--listen", metavar="HOST:PORT", default="127.0.0.1:5000", show_default=True, help="Where to listen.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def command(root: Path, listen: str, debug: bool) -> None:
    """Serve the registry of a folder over HTTP.

    It has no users and no TLS: let it listen on loopback. Ctrl-C stops it once open requests have been answered.
    """
    from shipgraph.embedded.serving import run
    from shipgraph.errors import ShipgraphError
    from shipgraph.store.disk import DiskStore

    output = Output(debug=debug)
    set_up_logs(debug=debug, errors=True)
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal():
        raise click.BadParameter("expected HOST:PORT", param_hint="--listen")
    try:
        run(
            DiskStore(root),
            host=host.strip("[]"),
            port=int(port),
            on_ready=lambda address: output.say(f"serving {root} on http://{address}"),
        )
    except ShipgraphError as error:
        output.error(error)
        sys.exit(exit_codes.exit_code(error))
    except KeyboardInterrupt:
        sys.exit(exit_codes.DONE)
