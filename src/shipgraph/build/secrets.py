"""Build secrets that a machine can offer by itself; an image gets only those whose ids it declares."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CA: Final = "ca"
NPMRC: Final = "npmrc"
FOLDER_VARIABLE: Final = "SHIPGRAPH_SECRETS"
_BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)
_SMALL: Final = 64 << 10
_SHORTEST: Final = 8


def default_secrets(environment: Mapping[str, str] | None = None, home: Path | None = None) -> dict[str, Path]:
    """What this machine offers: ``ca``, its bundle of certificate authorities, and ``npmrc``, npm's configuration.

    A build downloads through the machine's own network, so it may need the machine's authorities (a company's proxy).
    They are mounted while a command of the Dockerfile runs, and never become part of the image. Beside these, every
    file of the folder that ``SHIPGRAPH_SECRETS`` names, by its name, unless it is empty.
    """
    found = os.environ if environment is None else environment
    offered: dict[str, Path] = {}
    bundles = [found[name] for name in ("SSL_CERT_FILE", "CURL_CA_BUNDLE") if found.get(name)]
    for path in (*bundles, *_BUNDLES):
        if _readable(Path(path)):
            offered[CA] = Path(path)
            break
    named = found.get("NPM_CONFIG_USERCONFIG") or found.get("npm_config_userconfig")
    npmrc = Path(named) if named else (Path.home() if home is None else home) / ".npmrc"
    if _readable(npmrc):
        offered[NPMRC] = npmrc
    if given := found.get(FOLDER_VARIABLE):
        folder = Path(given)
        files = sorted(folder.iterdir()) if folder.is_dir() else []
        # a secret that the machine hasn't got comes as an empty file from a workflow
        offered |= {path.name: path for path in files if _readable(path) and path.stat().st_size}
    return offered


def declared_secrets(ids: Iterable[str], offered: Mapping[str, Path]) -> dict[str, Path]:
    """The offered secrets that an image declares; one that nobody offers is left out, for the build to do without."""
    return {name: offered[name] for name in ids if name in offered}


def redactions(secrets: Mapping[str, Path]) -> tuple[str, ...]:
    """Values that a build's log must not show: the lines of small secrets, and what stands behind their ``=``.

    Certificate authorities are public, so they are left alone.
    """
    values: set[str] = set()
    for name, path in secrets.items():
        if name == CA:
            continue
        try:
            text = path.read_bytes()[:_SMALL].decode("utf-8", errors="replace")
        except OSError:
            continue
        for line in text.splitlines():
            values.add(line.strip())
            values.add(line.partition("=")[2].strip().strip("\"'"))
    return tuple(sorted((value for value in values if len(value) >= _SHORTEST), key=len, reverse=True))


def _readable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.R_OK)
