"""`shipgraph serve`."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from shipgraph.cli import exit_codes
from shipgraph.cli.output import Output, size
from shipgraph.cli.running import set_up_logs

if TYPE_CHECKING:
    from shipgraph.store.disk import DiskStore


@click.command("serve")
@click.option(
    "--root",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder that holds the repositories, an OCI image layout each.",
)
@click.option("--listen", metavar="HOST:PORT", default="127.0.0.1:5000", show_default=True, help="Where to listen.")
@click.option(
    "--collect",
    is_flag=True,
    help="Remove blobs that no manifest refers to, now and once an hour, while serving.",
)
@click.option(
    "--grace",
    metavar="HOURS",
    type=click.FloatRange(min=1.0),
    default=24.0,
    show_default=True,
    help="With --collect: how long a blob is spared after it was stored or last asked for.",
)
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def command(root: Path, listen: str, collect: bool, grace: float, debug: bool) -> None:
    """Serve the registry of a folder over HTTP.

    It has no users and no TLS: let it listen on loopback. Ctrl-C stops it once open requests have been answered.

    Garbage can be collected while others write; what a deleted tag or manifest leaves behind is garbage.
    """
    from shipgraph.embedded.serving import run
    from shipgraph.errors import ShipgraphError
    from shipgraph.store.disk import DiskStore

    output = Output(debug=debug)
    set_up_logs(debug=debug, errors=True)
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal():
        raise click.BadParameter("expected HOST:PORT", param_hint="--listen")
    store = DiskStore(root)
    stopped = threading.Event()
    if collect:
        threading.Thread(target=_collect, args=(store, grace * 3600, output, stopped), daemon=True).start()
    try:
        run(
            store,
            host=host.strip("[]"),
            port=int(port),
            on_ready=lambda address: output.say(f"serving {root} on http://{address}"),
        )
    except ShipgraphError as error:
        output.error(error)
        sys.exit(exit_codes.exit_code(error))
    except KeyboardInterrupt:
        sys.exit(exit_codes.DONE)
    finally:
        stopped.set()


def _collect(store: DiskStore, grace: float, output: Output, stopped: threading.Event) -> None:
    from shipgraph.errors import ShipgraphError

    while not stopped.is_set():
        try:
            found = store.collect_now(grace=grace)
        except ShipgraphError as error:  # the server goes on, and the next hour may be better
            output.error(error)
        else:
            output.say(f"collected {found.blobs} blobs, {size(found.bytes)}")
        stopped.wait(3600)
