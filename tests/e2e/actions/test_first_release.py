"""The first push to main, with nothing in the namespace: everything is built, and published as dev."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING

import pytest

from .project import MOVED

if TYPE_CHECKING:
    from .conftest import First, World

pytestmark = pytest.mark.real

RELEASE = {
    "set", "build-base-linux-amd64", "build-base-linux-arm64", "build-app-linux-amd64", "build-app-linux-arm64",
    "build-side-linux-amd64", "assemble", "test-linux-amd64", "test-linux-arm64", "payload", "attest", "finalize",
    "visibility", "retention",
}  # fmt: skip
SIGNING = {job for job in RELEASE if job.startswith(("build-", "test-"))} | {"payload", "attest", "finalize"}


def test_every_job_of_a_release_runs_and_no_other(first: First) -> None:
    assert first.run.check().results == dict.fromkeys(RELEASE, "success")


def test_it_is_published_as_dev_and_anybody_can_verify_and_pull_it(world: World, first: First) -> None:
    tags, immutable = world.hub.tags(), f"sha-{first.commit}"
    for package in ("demo-base", "demo-app", "demo-side"):
        assert tags[f"{package}:dev"] == tags[f"{package}:{immutable}"]
    assert tags["demo-payload:dev"] == tags[f"demo-payload:{immutable}-dev"]
    assert tags["demo-metadata:dev"] == tags["demo-metadata:channels"] == tags["demo-metadata:dev-1"]
    assert {name for name in tags if name.partition(":")[2] in MOVED} == {
        f"{package}:dev" for package in ("demo-base", "demo-app", "demo-side", "demo-payload", "demo-metadata")
    } | {"demo-metadata:channels"}
    assert set(world.hub.packages().values()) == {"public"}
    document = json.loads(world.shipgraph("verify", "dev", "--json"))
    assert document["ok"] is True, document
    images = json.loads(world.shipgraph("resolve", "dev", "--json"))["metadata"]["images"]
    assert {one["image"]: one["digest"] for one in images} == {
        key: tags[f"demo-{key}:dev"] for key in ("base", "app", "side")
    }


def test_retention_counts_the_release_as_complete(first: First) -> None:
    log = first.run.jobs["retention"].log
    assert "versions in 5 packages" in log
    assert "doesn't count" not in log


def test_each_job_that_signs_has_one_ceremony(first: First) -> None:
    assert first.ceremonies == len(SIGNING)


def test_bundles_arrive_in_the_attestation_store(world: World) -> None:
    tags = world.hub.tags()
    for package in ("demo-base", "demo-app", "demo-side", "demo-payload", "demo-metadata"):
        digest = tags[f"{package}:dev"]
        url = f"http://{world.hub.registry}/api/v3/repos/Acme/demo/attestations/{digest}"
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url) as answer:
            assert json.load(answer)["attestations"], package
