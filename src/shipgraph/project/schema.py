"""The JSON Schema of ``shipgraph.toml``, out of the same types that read it, for editors.

``docs/reference/shipgraph.schema.json`` is its output: ``python -m shipgraph.project.schema`` prints it. What a schema
can't say (cycles, paths, names that would meet) only the loader checks.
"""

from __future__ import annotations

import json
import sys
from typing import Any, Final

import msgspec

from shipgraph.project.config import RULE_PATTERN, ProjectFile
from shipgraph.project.deriving import OWN_ARGUMENTS

# The number changes when a file that was valid no longer is.
SCHEMA_ID: Final = "urn:shipgraph:schema:project:1"


def build_schema() -> dict[str, Any]:
    """The schema as a JSON value."""
    raw = msgspec.json.schema(ProjectFile)
    definitions = {name: _tidy(definition) for name, definition in raw["$defs"].items()}
    root = definitions.pop("ProjectFile")
    images = definitions["ImageTable"]
    images["oneOf"] = [{"required": ["base"]}, {"required": ["parent"]}]
    images["properties"]["args"]["propertyNames"]["not"] = {"enum": sorted(OWN_ARGUMENTS)}
    for choice in definitions["ChannelTable"]["properties"]["on"]["anyOf"]:
        if choice["type"] == "string":
            choice["pattern"] = RULE_PATTERN
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "shipgraph.toml",
        **root,
        "$defs": definitions,
    }


def schema_text() -> str:
    """The schema as the file that is published."""
    return json.dumps(build_schema(), indent=2, ensure_ascii=False) + "\n"


def _tidy(node: Any) -> Any:
    """TOML has no null; defaults of whole tables say nothing to an editor; Python's names say nothing to a user."""
    if isinstance(node, list):
        return [_tidy(element) for element in node]
    if not isinstance(node, dict):
        return node
    choices = [choice for choice in node.get("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) == 1:
        rest = {name: value for name, value in node.items() if name not in ("anyOf", "default")}
        return _tidy({**choices[0], **rest})
    tidy = {name: _tidy(value) for name, value in node.items() if not (name == "title" and isinstance(value, str))}
    if isinstance(tidy.get("default"), dict) or tidy.get("default", 0) is None:
        del tidy["default"]
    if tidy.get("type") == "array":
        tidy["uniqueItems"] = True
    return tidy


if __name__ == "__main__":
    sys.stdout.write(schema_text())
