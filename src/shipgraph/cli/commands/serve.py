"""`shipgraph serve`."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from shipgraph.cli import exit_codes
from shipgraph.cli.numbers import Number
from shipgraph.cli.output import Output, size
from shipgraph.cli.running import set_up_logs

if TYPE_CHECKING:
    from shipgraph.embedded.ghcr.state import Ghcr
    from shipgraph.store.disk import DiskStore

_SECONDS: Final = Number(min=0.0)


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
    type=Number(min=1.0),
    default=24.0,
    show_default=True,
    help="With --collect: how long a blob is spared after it was stored or last asked for.",
)
@click.option("--ghcr", is_flag=True, help="Behave as ghcr.io does, with GitHub's Packages API beside the registry.")
@click.option(
    "--tokens",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="With --ghcr: who exists (TOML). It is read again when it changes.",
)
@click.option(
    "--token",
    "given",
    metavar="KIND:WHO=TOKEN",
    multiple=True,
    help="With --ghcr: one more token: workflow:OWNER/REPO=… of a public repository, private-workflow:OWNER/REPO=…, "
    "or pat:USER=… of somebody who may do everything (repeatable).",
)
@click.option(
    "--lag", metavar="SECONDS", type=_SECONDS, help="With --ghcr: how long tags read as they were (default: 0)."
)
@click.option(
    "--blob-lag",
    metavar="SECONDS",
    type=_SECONDS,
    help="With --ghcr: how long manifests with new blobs are refused (default: 0).",
)
@click.option(
    "--listing-lag",
    metavar="SECONDS",
    type=_SECONDS,
    help="With --ghcr: how long the API lists what is deleted (default: 0).",
)
@click.option(
    "--write-rate",
    metavar="N",
    type=click.IntRange(min=0),
    help="With --ghcr: writes a minute before 429; 0: no limit (default: 2000).",
)
@click.option(
    "--faults",
    metavar="P",
    type=Number(min=0.0, max=1.0),
    help="With --ghcr: how likely a request ends in an HTML page of status 502 (default: 0).",
)
@click.option("--seed", metavar="N", type=int, help="With --ghcr: of what is random (default: 0).")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def command(
    root: Path,
    listen: str,
    collect: bool,
    grace: float,
    ghcr: bool,
    tokens: Path | None,
    given: tuple[str, ...],
    debug: bool,
    **habits: Any,
) -> None:
    """Serve the registry of a folder over HTTP.

    It has no users and no TLS: let it listen on loopback. Ctrl-C stops it once open requests have been answered.

    Garbage can be collected while others write; what a deleted tag or manifest leaves behind is garbage.

    With --ghcr it asks for tokens, and has GHCR's habits: docs/reference/serve.md lists them. GitHub's API is at
    http://HOST:PORT/api/v3.
    """
    from shipgraph.embedded.serving import run
    from shipgraph.errors import ShipgraphError
    from shipgraph.store.disk import DiskStore

    output = Output(debug=debug)
    set_up_logs(debug=debug, errors=True)
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal():
        raise click.BadParameter("expected HOST:PORT", param_hint="--listen")
    chosen = {name: value for name, value in habits.items() if value is not None}
    if not ghcr and (tokens or given or chosen):
        raise click.UsageError(
            "these options belong to --ghcr: --tokens, --token, --lag, --blob-lag, --listing-lag, "
            "--write-rate, --faults, --seed"
        )
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
            ghcr=_mode(root, tokens, given, chosen) if ghcr else None,
        )
    except ShipgraphError as error:
        output.error(error)
        sys.exit(exit_codes.exit_code(error))
    except KeyboardInterrupt:
        sys.exit(exit_codes.DONE)
    finally:
        stopped.set()


def _mode(root: Path, tokens: Path | None, given: tuple[str, ...], habits: dict[str, Any]) -> Ghcr:
    """GHCR's habits as they were asked for.

    Raises:
        ConfigurationError: nobody could log in, or a token can't be one.
    """
    from shipgraph.embedded.ghcr.accounts import Accounts, AccountsFile, with_tokens
    from shipgraph.embedded.ghcr.habits import Habits
    from shipgraph.embedded.ghcr.state import Ghcr
    from shipgraph.errors import ConfigurationError
    from shipgraph.store.disk.repository import STATE

    if tokens is None and not given:
        raise ConfigurationError(
            "--ghcr needs tokens: nobody could log in",
            hint="for example --token workflow:acme/app=ghs_rehearsal, or --tokens FILE",
        )
    known = Accounts if tokens is None else AccountsFile(tokens)
    with_tokens(known(), given)  # so that a mistake is told now, and not at the first request
    return Ghcr(root / STATE, lambda: with_tokens(known(), given), habits=Habits(**habits))


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
