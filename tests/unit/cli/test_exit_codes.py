"""The table of exit codes is complete, and is what the documentation says."""

from __future__ import annotations

import inspect

import pytest

from shipgraph import errors
from shipgraph.cli import exit_codes
from shipgraph.cli.main import main

CLASSES = [
    found for _, found in inspect.getmembers(errors, inspect.isclass) if issubclass(found, errors.ShipgraphError)
]

WANTED = {
    1: {
        "ShipgraphError", "RegistryError", "NotFound", "Denied", "Rejected", "ContentError", "DigestMismatch",
        "MalformedDocument", "BuildFailed", "BaseGone", "DiskFull", "ProcessFailed", "TransactionRefused",
        "NotPublic", "ContentUnknown",
    },
    2: {
        "ConfigurationError", "InvalidReference", "GraphError", "DirtyWorkTree", "ToolMissing", "UnpinnedBase",
        "GitError",
    },
    3: {"Refused", "EvidenceMissing"},
    4: {
        "Conflict", "ImmutableTagConflict", "TagMoved", "ChannelAhead", "ChannelBusy", "ChannelHeld", "ForeignJournal",
    },
    5: {"RegistryUnavailable", "TransactionUnfinished"},
    130: {"Stopped"},
}  # fmt: skip


def _bare(kind: type[errors.ShipgraphError]) -> errors.ShipgraphError:
    error = kind.__new__(kind)
    Exception.__init__(error, "what")
    return error


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_has_the_documented_code(kind: type[errors.ShipgraphError]) -> None:
    code = exit_codes.exit_code(_bare(kind))
    families = {name: code for code, names in WANTED.items() for name in names}
    nearest = next(name for base in kind.__mro__ if (name := base.__name__) in families)
    assert code == families[nearest]
    if kind.__name__ not in families:
        # a new class counts as its family; say so here if it is more than that
        assert kind.__mro__[1].__name__ in families


def test_all_wanted_classes_exist() -> None:
    assert set().union(*WANTED.values()) <= {kind.__name__ for kind in CLASSES}


def test_the_tree_in_the_module_names_every_class() -> None:
    documented = errors.__doc__ or ""
    assert [kind.__name__ for kind in CLASSES if kind.__name__ not in documented] == []


def test_help_and_table_say_the_same() -> None:
    text = " ".join((main.help or "").split())
    for code, meaning in exit_codes.MEANING.items():
        if code != exit_codes.INTERRUPTED:
            assert f"{code} {meaning.split(':')[0].split(';')[0]}" in text


def test_an_unknown_error_is_a_failure() -> None:
    assert exit_codes.exit_code(ValueError()) == exit_codes.FAILED
