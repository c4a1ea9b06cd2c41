"""Where credentials come from: docker's configuration and its helpers, and for GHCR the environment.

A secret is in no repr, and a credential is looked up for one host and belongs to it alone.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

import anyio
import msgspec

from shipgraph import process
from shipgraph.errors import ConfigurationError, ProcessFailed, ToolMissing

GHCR: Final = "ghcr.io"
DOCKER_HUB: Final = "docker.io"
_HUB_KEY: Final = "https://index.docker.io/v1/"
_HELPER: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)
_TOKEN_USER: Final = "<token>"  # noqa: S105 (the name under which helpers hand out an identity token)
_HELPER_SECONDS: Final = 30.0
_SMALL: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and password, or an identity token (OAuth2 refresh token) in ``refresh``; ``origin`` says from where."""

    username: str = ""
    password: str = field(default="", repr=False)
    refresh: str = field(default="", repr=False)
    origin: str = "given"

    @property
    def basic(self) -> str:
        """The value of a Basic ``Authorization`` header."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


CredentialSource: TypeAlias = Callable[[str], Awaitable[Credentials | None]]
"""Finds the credentials of a registry host, or None for anonymous."""


_lent: dict[str, Credentials] = {}


@contextmanager
def lent(host: str, credentials: Credentials | None) -> Iterator[None]:
    """Credentials of a registry that this process itself serves, found by ``find_credentials`` while the block runs."""
    if credentials is not None:
        _lent[host] = credentials
    try:
        yield
    finally:
        _lent.pop(host, None)


async def find_credentials(host: str) -> Credentials | None:
    """What a user expects: GHCR_PAT (GHCR only), docker's configuration, GITHUB_TOKEN (GHCR only), else anonymous.

    Raises:
        ConfigurationError: docker's configuration can't be read, or its helper failed.
    """
    if host in _lent:
        return _lent[host]
    if host == GHCR and (token := os.environ.get("GHCR_PAT", "").strip()):
        return Credentials("token", token, origin="GHCR_PAT")
    if (found := await docker_credentials(host)) is not None:
        return found
    if host == GHCR and (token := os.environ.get("GITHUB_TOKEN", "").strip()):
        return Credentials("token", token, origin="GITHUB_TOKEN")
    return None


async def anonymous(host: str) -> Credentials | None:  # noqa: ARG001 (a CredentialSource)
    """No credentials, whatever the environment holds."""
    return None


async def docker_credentials(host: str, *, directory: Path | None = None) -> Credentials | None:
    """The entry for a host in docker's ``config.json``: ``credHelpers``, ``credsStore``, then ``auths``.

    Args:
        directory: where ``config.json`` is; ``$DOCKER_CONFIG`` or ``~/.docker`` where None.

    Raises:
        ConfigurationError: the file is not what docker writes, or a helper failed.
    """
    if directory is None:
        directory = _docker_directory()
    path = directory / "config.json"
    config = await anyio.to_thread.run_sync(_load, path)
    keys = [_HUB_KEY, "index.docker.io", DOCKER_HUB] if host == DOCKER_HUB else [host, f"https://{host}"]
    helpers = config.get("credHelpers")
    for key in keys:
        if isinstance(helpers, dict) and isinstance(helpers.get(key), str):
            return await _ask_helper(helpers[key], key, path)
    auths = config.get("auths")
    entries = auths if isinstance(auths, dict) else {}
    store = config.get("credsStore")
    if isinstance(store, str) and store:
        found = await _ask_helper(store, next((key for key in keys if key in entries), keys[0]), path)
        if found is not None:
            return found
    for key in entries:
        if key in keys or key.removeprefix("https://").removeprefix("http://").split("/")[0] == host:
            found = _entry(entries[key], path)
            if found is not None:
                return found
    return None


def _docker_directory() -> Path:
    return Path(os.environ.get("DOCKER_CONFIG") or Path("~/.docker").expanduser())


def _load(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            raw = file.read(_SMALL)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ConfigurationError(f"can't be read: {error.strerror}", file=str(path)) from error
    try:
        config = msgspec.json.decode(raw) if raw.strip() else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ConfigurationError("is not JSON", file=str(path), hint="run `docker login` again") from None
    return config if isinstance(config, dict) else {}


def _entry(entry: Any, path: Path) -> Credentials | None:
    if not isinstance(entry, dict):
        return None
    origin = str(path)
    if isinstance(token := entry.get("identitytoken"), str) and token:
        return Credentials(refresh=token, origin=origin)
    if isinstance(auth := entry.get("auth"), str) and auth:
        try:
            user, colon, password = base64.b64decode(auth, validate=True).decode().partition(":")
        except ValueError:  # binascii.Error and UnicodeDecodeError are ValueErrors
            user, colon, password = "", "", ""
        if not colon:
            raise ConfigurationError(
                "holds an `auth` that is not base64 of USER:PASSWORD", file=origin, hint="run `docker login` again"
            )
        return Credentials(user, password.rstrip("\0"), origin=origin)
    name, secret = entry.get("username"), entry.get("password")
    if isinstance(name, str) and isinstance(secret, str) and name:
        return Credentials(name, secret, origin=origin)
    return None


async def _ask_helper(name: str, key: str, path: Path) -> Credentials | None:
    """Run ``docker-credential-NAME get``; the server's name goes in on stdin, JSON comes out."""
    if not _HELPER.fullmatch(name):
        raise ConfigurationError("names a credential helper that can't be one", file=str(path), key="credsStore")
    program = f"docker-credential-{name}"
    try:
        # redaction by value is impossible here: the secret is the answer; so nothing of the output is ever shown
        done = await process.run([program, "get"], stdin=key.encode(), timeout=_HELPER_SECONDS, check=False)
    except (ToolMissing, ProcessFailed) as error:
        raise ConfigurationError(f"asks {program}, which failed: {error}", file=str(path)) from None
    if done.status != 0:
        if "not found" in done.stdout.lower():  # the protocol's way to say that it has none
            return None
        raise ConfigurationError(f"asks {program}, which ended with status {done.status}", file=str(path))
    try:
        answer = msgspec.json.decode(done.stdout)
    except (msgspec.DecodeError, RecursionError):
        answer = None
    if not isinstance(answer, dict) or not isinstance(answer.get("Secret"), str):
        raise ConfigurationError(f"asks {program}, whose answer is not what it should be", file=str(path))
    user, secret = str(answer.get("Username", "")), answer["Secret"]
    if not secret:
        return None
    if user == _TOKEN_USER:
        return Credentials(refresh=secret, origin=program)
    return Credentials(user, secret, origin=program)
