"""The table of exit codes: one place, one code for each error class (the nearest ancestor in the table counts)."""

from __future__ import annotations

from typing import Final

from shipgraph import errors

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
REFUSED: Final = 3
CONFLICT: Final = 4
TRY_AGAIN: Final = 5
INTERRUPTED: Final = 130

TABLE: Final[dict[type[BaseException], int]] = {
    errors.ShipgraphError: FAILED,
    errors.ConfigurationError: USAGE,
    errors.GitError: USAGE,
    errors.Refused: REFUSED,
    errors.Conflict: CONFLICT,
    errors.RegistryError: FAILED,
    errors.RegistryUnavailable: TRY_AGAIN,
    errors.Stopped: INTERRUPTED,
    errors.TransactionUnfinished: TRY_AGAIN,
    errors.TransactionRefused: FAILED,
}

MEANING: Final[dict[int, str]] = {
    DONE: "done",
    FAILED: "failed",
    USAGE: "usage or configuration",
    REFUSED: "refused by a gate or test",
    CONFLICT: "conflict: immutable tag, channel ahead, another transaction",
    TRY_AGAIN: "the registry or network failed; trying again is safe",
    INTERRUPTED: "interrupted",
}


def exit_code(error: BaseException) -> int:
    """The exit code of an error."""
    for kind in type(error).__mro__:
        if kind in TABLE:
            return TABLE[kind]
    return FAILED
