"""The OCI conformance suite against ``serve --ghcr``: what fails is what GHCR itself lacks, and all of it is listed.

Two switches are off beside ``sparse`` (see ``test_oci_suite``). GHCR's blobs come from a storage by redirection, which
has never heard of ``Docker-Content-Digest``; and GHCR knows no PUT of several tags.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from shipgraph.embedded.ghcr.accounts import Accounts, Pat
from shipgraph.embedded.ghcr.habits import Habits
from shipgraph.embedded.ghcr.state import Ghcr
from shipgraph.embedded.serving import serve
from shipgraph.store.disk import DiskStore

from .suite import SWITCHES, run_suite
from .test_oci_suite import SKIPPED

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.real

OFF = {"OCI_API_BLOBS_DIGEST_HEADER": "false", "OCI_API_MANIFESTS_TAG_PARAM": "false"}

LACKS = {
    "referrers": "there is no referrers API: 404",
    "push/manifest-by-digest": "no OCI-Subject in the answer to a manifest with a subject",
    "push/manifest-by-tag": "no OCI-Subject in the answer to a manifest with a subject",
    "tag-list": "tags come in the order in which they were made, not in that of their names",
}
WITH_SUBJECT = {"artifacts-with-subject", "index-with-subject", "missing-subject"}
UNSUPPORTED = {"blob-delete", "manifest-delete", "tag-delete"}
"""Answered by 405, which the suite takes for a feature that is not there."""


async def test_what_fails_is_what_ghcr_lacks(tmp_path: Path) -> None:
    import anyio.to_thread

    accounts = Accounts({"ghp_test": Pat("alice", administers=frozenset({"acme"}))}, owners={"acme": "organization"})
    ghcr = Ghcr(tmp_path / ".shipgraph", accounts, habits=Habits(write_rate=0))
    login = {
        "OCI_USERNAME": "anything",
        "OCI_PASSWORD": "ghp_test",
        "OCI_REPO1": "acme/conformance",
        "OCI_REPO2": "acme/conformance-two",
    }
    async with serve(DiskStore(tmp_path), ghcr=ghcr) as address:
        outcomes = await anyio.to_thread.run_sync(
            run_suite, address, tmp_path / "results", {**SWITCHES, **OFF, **login}
        )
    failed = [
        name.partition("#")[0].removeprefix("OCI Conformance Test/")
        for name, found in outcomes.items()
        if found == "failed"
    ]
    for name in failed:
        group, _, what = name.partition("/")
        assert what in LACKS, name
        assert not what.startswith("push/") or group in WITH_SUBJECT, name
    assert {name.partition("/")[2] for name in failed} == set(LACKS)
    skipped = {name.partition("#")[0] for name, found in outcomes.items() if found == "skipped"}
    expected = tuple(SKIPPED | UNSUPPORTED)
    assert [name for name in sorted(skipped) if not name.endswith(expected)] == []
    assert list(outcomes.values()).count("passed") > 480, "the suite has run"
