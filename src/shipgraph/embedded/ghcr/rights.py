"""Who may do what to a package: pure rules. What is refused says why in GHCR's own words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shipgraph.embedded.ghcr.accounts import READ, WRITE, Workflow

if TYPE_CHECKING:
    from shipgraph.embedded.ghcr.accounts import Accounts, Identity
    from shipgraph.embedded.ghcr.rows import Package

NOT_GRANTED: Final = "permission_denied: write_package"
NOT_CREATABLE: Final = "permission_denied: create_package"
WRONG_SCOPES: Final = "permission_denied: The token provided does not match expected scopes."
NOT_INSTALLED: Final = "installation not allowed to Create organization package"
NOBODY: Final = "unauthenticated: User cannot be authenticated with the token provided."


def may_read(identity: Identity | None, package: Package) -> bool:
    """Whether somebody (None: anybody) may see a package."""
    if package.visibility == "public":
        return True
    if identity is None:
        return False
    if isinstance(identity, Workflow):
        return identity.packages != "none" and _granted(identity, package)
    return bool({READ, WRITE} & identity.scopes) and identity.rules(package.owner)


def why_not_write(identity: Identity | None, name: str, package: Package | None, accounts: Accounts) -> str:
    """Why somebody may not push to a package, or create it where it is None; empty if they may."""
    if identity is None:
        return NOBODY
    owner = name.partition("/")[0]
    if isinstance(identity, Workflow):
        if identity.packages != "write":
            return WRONG_SCOPES
        if package is not None:
            return "" if _granted(identity, package) else NOT_GRANTED
        if identity.repository.partition("/")[0].lower() != owner:
            return NOT_CREATABLE
        return NOT_INSTALLED if owner in accounts.closed else ""
    if WRITE not in identity.scopes:
        return WRONG_SCOPES
    if not identity.rules(owner):
        return NOT_CREATABLE if package is None else NOT_GRANTED
    return ""


def may_administer(identity: Identity, package: Package) -> bool:
    """Whether somebody has the admin role of a package, which deleting and restoring need."""
    if isinstance(identity, Workflow):
        return identity.packages == "write" and _granted(identity, package)
    return identity.rules(package.owner)


def missing_scope(identity: Identity, *needed: str) -> str:
    """The scope that a personal access token lacks; workflow tokens have no scopes."""
    if isinstance(identity, Workflow):
        return ""
    scopes = identity.scopes | ({READ} if WRITE in identity.scopes else set())
    return next((scope for scope in needed if scope not in scopes), "")


def _granted(identity: Workflow, package: Package) -> bool:
    repository = identity.repository.lower()
    return (package.repository or "").lower() == repository or repository in package.grants
