"""The OCI distribution conformance suite as a function: a registry's address in, the outcome of each test out."""

from __future__ import annotations

import os
import subprocess
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

from tests.real.tools import pinned

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SWITCHES = {
    "OCI_VERSION": "1.1",
    "OCI_API_BLOBS_DIGEST_HEADER": "true",
    "OCI_API_BLOBS_UPLOAD_CANCEL": "true",
    "OCI_API_MANIFESTS_DIGEST_HEADER": "true",
    "OCI_API_MANIFESTS_TAG_PARAM": "true",
}
"""The switches that 1.1 leaves off; all others are on by themselves. Not here: OCI_DATA_SPARSE, see the test."""


def run_suite(address: str, directory: Path, switches: Mapping[str, str] = SWITCHES) -> dict[str, str]:
    """``passed``, ``failed`` or ``skipped`` by test; the suite's report stays in ``directory``.

    Tests that have one name are numbered.
    """
    directory.mkdir(parents=True, exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OCI_")}
    environment |= {"OCI_REGISTRY": address, "OCI_TLS": "disabled", "OCI_RESULTS_DIR": str(directory), **switches}
    done = subprocess.run(
        [pinned("conformance")], cwd=directory, env=environment, capture_output=True, text=True, timeout=300
    )
    report = directory / "junit.xml"
    assert report.exists(), done.stdout + done.stderr
    outcomes: dict[str, str] = {}
    for case in ET.parse(report).getroot().iter("testcase"):
        name, number = case.get("name", ""), 1
        while f"{name}#{number}" in outcomes:
            number += 1
        status = case.get("status", "").lower()
        outcomes[f"{name}#{number}"] = status if status in {"passed", "skipped"} else "failed"
    return outcomes
