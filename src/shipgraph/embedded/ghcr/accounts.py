"""Who exists: owners, repositories of source code, and the tokens that were issued; from a file or given as values."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec

from shipgraph.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

Permission: TypeAlias = Literal["none", "read", "write"]
Visibility: TypeAlias = Literal["public", "private"]
OwnerType: TypeAlias = Literal["organization", "user"]

READ: Final = "read:packages"
WRITE: Final = "write:packages"
DELETE: Final = "delete:packages"
BOT: Final = "github-actions[bot]"

_LOGIN: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})", re.ASCII)
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})/[A-Za-z0-9._-]{1,100}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow's ``GITHUB_TOKEN``: it belongs to a repository and has its job's permissions."""

    repository: str
    packages: Permission = "write"
    attestations: Permission = "write"
    actions: Permission = "read"

    @property
    def login(self) -> str:
        """Who acts with it."""
        return BOT


@dataclass(frozen=True, slots=True)
class Pat:
    """A classic personal access token. ``administers``: owners, beside the user, whose packages it may change."""

    user: str
    scopes: frozenset[str] = frozenset({READ, WRITE, DELETE})
    administers: frozenset[str] = frozenset()

    @property
    def login(self) -> str:
        """Who acts with it."""
        return self.user

    def rules(self, owner: str) -> bool:
        """Whether packages of this owner are its user's business."""
        return owner.lower() in {self.user.lower(), *(login.lower() for login in self.administers)}


Identity: TypeAlias = Workflow | Pat


@dataclass(frozen=True, slots=True)
class Accounts:
    """Everything that GitHub would know. A token that is not in ``tokens`` is a bad one."""

    tokens: Mapping[str, Identity] = field(default_factory=dict, repr=False)
    repositories: Mapping[str, Visibility] = field(default_factory=dict)
    """Visibility by ``OWNER/NAME``; those not named are private."""
    owners: Mapping[str, OwnerType] = field(default_factory=dict)
    """Types by login; owners of repositories that are not named here are organizations, holders of tokens users."""
    closed: frozenset[str] = frozenset()
    """Owners in which workflows may not create packages."""

    def identity(self, token: str) -> Identity | None:
        """Whose token it is; None for a bad one."""
        return self.tokens.get(token)

    def is_public(self, repository: str) -> bool:
        """Whether anybody may see a repository."""
        return any(name.lower() == repository.lower() and seen == "public" for name, seen in self.repositories.items())

    def knows(self, repository: str) -> bool:
        """Whether there is a repository of that name."""
        names = [*self.repositories, *(one.repository for one in self.tokens.values() if isinstance(one, Workflow))]
        return any(name.lower() == repository.lower() for name in names)

    def owner_type(self, login: str) -> OwnerType | None:
        """What kind of owner a login is; None if there is nobody of that name."""
        wanted = login.lower()
        for name, kind in self.owners.items():
            if name.lower() == wanted:
                return kind
        for identity in self.tokens.values():
            if isinstance(identity, Pat) and identity.user.lower() == wanted:
                return "user"
        names = [*self.repositories, *(one.repository for one in self.tokens.values() if isinstance(one, Workflow))]
        names += [f"{login}/" for one in self.tokens.values() if isinstance(one, Pat) for login in one.administers]
        return "organization" if any(name.partition("/")[0].lower() == wanted for name in names) else None


class _Token(msgspec.Struct, forbid_unknown_fields=True):
    token: str
    kind: Literal["workflow", "classic", "bad"]
    repository: str = ""
    packages: Permission = "write"
    attestations: Permission = "write"
    actions: Permission = "read"
    user: str = ""
    scopes: list[str] = []
    administers: list[str] = []


class _Owner(msgspec.Struct, forbid_unknown_fields=True):
    type: OwnerType = "organization"
    workflows_create: bool = msgspec.field(default=True, name="workflows-create")


class _File(msgspec.Struct, forbid_unknown_fields=True):
    owners: dict[str, _Owner] = {}
    repositories: dict[str, Visibility] = {}
    tokens: list[_Token] = []


def parse_accounts(text: bytes, *, file: str) -> Accounts:
    """Read a tokens file (TOML; its format is in ``docs/reference/serve.md``).

    Raises:
        ConfigurationError: it isn't one. The message holds no token.
    """
    try:
        document = msgspec.toml.decode(text, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"is not a tokens file: {error}", file=file) from None
    for name in document.repositories:
        _check(_REPOSITORY, name, "repositories", "OWNER/NAME", file)
    for login in document.owners:
        _check(_LOGIN, login, "owners", "a login", file)
    tokens: dict[str, Identity] = {}
    for position, entry in enumerate(document.tokens):
        where = f"tokens[{position}]"
        if not entry.token or not entry.token.isascii() or not entry.token.isprintable():
            raise ConfigurationError("a token must be printable ASCII", file=file, key=f"{where}.token")
        if entry.kind == "workflow":
            _check(_REPOSITORY, entry.repository, f"{where}.repository", "OWNER/NAME", file)
            tokens[entry.token] = Workflow(entry.repository, entry.packages, entry.attestations, entry.actions)
        elif entry.kind == "classic":
            for login in (entry.user, *entry.administers):
                _check(_LOGIN, login, f"{where}.user", "a login", file)
            tokens[entry.token] = Pat(entry.user, frozenset(entry.scopes), frozenset(entry.administers))
    return Accounts(
        tokens,
        document.repositories,
        {login: owner.type for login, owner in document.owners.items()},
        frozenset(login.lower() for login, owner in document.owners.items() if not owner.workflows_create),
    )


class AccountsFile:
    """A tokens file that is read again whenever it has changed: jobs get tokens while the server runs."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._accounts = Accounts()
        self()

    def __call__(self) -> Accounts:
        """What the file says now; what it said last if it can't be read at the moment.

        Raises:
            ConfigurationError: it was never readable.
        """
        try:
            status = self._path.stat()
            identity = (status.st_mtime_ns, status.st_size, status.st_ino)
            if identity != self._seen:
                self._accounts = parse_accounts(self._path.read_bytes(), file=str(self._path))
                self._seen = identity
        except OSError as error:
            if self._seen is None:
                raise ConfigurationError(f"can't be read: {error.strerror}", file=str(self._path)) from error
        except ConfigurationError:
            if self._seen is None:
                raise
        return self._accounts


def parse_token(text: str) -> tuple[str, Identity, str | None]:
    """Read ``workflow:OWNER/REPO=TOKEN``, ``private-workflow:OWNER/REPO=TOKEN`` or ``pat:USER=TOKEN``.

    Returns the token, whose it is, and the repository that is public by it.

    Raises:
        ConfigurationError: it is none of these.
    """
    what, equals, token = text.partition("=")
    kind, _, who = what.partition(":")
    if equals and token and kind in {"workflow", "private-workflow"} and _REPOSITORY.fullmatch(who):
        return token, Workflow(who), who if kind == "workflow" else None
    if equals and token and kind == "pat" and _LOGIN.fullmatch(who):
        return token, Pat(who), None
    raise ConfigurationError(
        f"a token is given as KIND:WHO=TOKEN, not as {what[:60]!r}",
        allowed="workflow:OWNER/REPO=…, private-workflow:OWNER/REPO=…, pat:USER=…",
    )


def with_tokens(accounts: Accounts, given: Iterable[str]) -> Accounts:
    """Accounts with tokens from the command line added. The user of a ``pat`` administers every owner that is known.

    Raises:
        ConfigurationError: see ``parse_token``.
    """
    tokens, repositories = dict(accounts.tokens), dict(accounts.repositories)
    added = [parse_token(text) for text in given]
    for token, identity, public in added:
        tokens[token] = identity
        if public is not None:
            repositories[public] = "public"
    owners = {name.partition("/")[0] for name in repositories} | set(accounts.owners)
    owners |= {one.repository.partition("/")[0] for one in tokens.values() if isinstance(one, Workflow)}
    for token, identity, _ in added:
        if isinstance(identity, Pat):
            tokens[token] = Pat(identity.user, identity.scopes, frozenset(owners))
    return Accounts(tokens, repositories, accounts.owners, accounts.closed)


def _check(pattern: re.Pattern[str], value: str, key: str, allowed: str, file: str) -> None:
    if not pattern.fullmatch(value):
        raise ConfigurationError(f"{value[:100]!r} can't be that", file=file, key=key, allowed=allowed)
