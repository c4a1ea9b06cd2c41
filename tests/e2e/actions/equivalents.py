"""The table of foreign actions and what runs in their place on this machine. What is not in it is refused.

| action | equivalent |
| --- | --- |
| actions/checkout | ``equivalents/checkout``: git, with the job's token, at the depth asked for |
| actions/github-script | ``equivalents/github-script``: nothing; it passes on the address of a cache that is not here |
| shipgraph's own | ``equivalents/shipgraph``: the tests' installation; without ``keyless`` there is no ``sigstore`` |

The credentials of ghcr.io come from a step's environment. The registry here has another name, so docker's
configuration leads to ``equivalents/bin/docker-credential-job``, which looks in the same place: a step that was given
no token has none.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .workflow import Unlisted, load, uses

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = Path(__file__).with_name("equivalents")
OWN = "acme/shipgraph"
TABLE = {
    "actions/checkout": FOLDER / "checkout",
    "actions/github-script": FOLDER / "github-script",
    OWN: FOLDER / "shipgraph",
}


def resolve(workflow: Mapping[str, Any], tree: Path, table: Mapping[str, Path]) -> dict[str, Path]:
    """The folder of each ``OWNER/NAME@REF`` that a workflow uses, also through actions of its own tree.

    Raises:
        Unlisted: one has no equivalent.
    """
    found: dict[str, Path] = {}
    for step in uses(workflow):
        used: str = step["uses"]
        if used.startswith("./"):
            found |= resolve(_action(tree / used), tree, table)
            continue
        name, _, ref = used.partition("@")
        if name not in table or not ref:
            raise Unlisted(f"{used}: no local equivalent is listed")
        found[used] = table[name]
    return found


def token_inputs(found: Mapping[str, Path]) -> dict[str, list[str]]:
    """For each action, the inputs whose default is the job's token."""
    return {
        used: [
            name
            for name, one in _action(folder).get("inputs", {}).items()
            if "github.token" in str((one or {}).get("default", ""))
        ]
        for used, folder in found.items()
    }


def _action(folder: Path) -> dict[str, Any]:
    return load((folder / "action.yml").read_text())
