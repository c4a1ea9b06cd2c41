"""Which jobs an event starts, and whether approvals agree with what shipgraph makes of the event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shipgraph.errors import ConfigurationError
from shipgraph.github.event import parse_event
from shipgraph.project.channels import decide
from shipgraph.workflow.conditions import leads_to

from .expressions import evaluate
from .projects import SHAPES, make, read

if TYPE_CHECKING:
    from pathlib import Path

COMMIT = "a" * 40
RELEASE = {
    "set", "build-demo-linux-amd64", "build-demo-linux-arm64", "assemble", "test-linux-amd64", "test-linux-arm64",
    "payload", "attest", "finalize", "visibility", "retention",
}  # fmt: skip
REHEARSAL = {"rehearse-linux-amd64", "rehearse-linux-arm64"}
MAIN = "refs/heads/main"


def event(
    name: str, ref: str = MAIN, *, inputs: dict[str, str] | None = None, fork: bool = False, **more: Any
) -> dict[str, Any]:
    """What GitHub knows of a run."""
    given = {"operation": "auto", "channel": "", "version": ""} | (inputs or {}) if name == "workflow_dispatch" else {}
    payload = {"repository": {"fork": fork, "full_name": "acme/demo"}, "ref": ref, **more}
    if given:
        payload["inputs"] = given
    return {
        "github": {"event_name": name, "ref": ref, "sha": COMMIT, "event": payload, "repository": "acme/demo"},
        "inputs": given,
    }


def starts(document: dict[str, Any], context: dict[str, Any], results: dict[str, str] | None = None) -> set[str]:
    """The jobs that run; ``results`` of some that don't succeed. A job that is never reached is skipped."""
    done: dict[str, str] = {}
    for name, job in document["jobs"].items():
        needs = {one: {"result": done[one]} for one in job.get("needs", [])}
        outcomes = {one["result"] for one in needs.values()}
        status = (
            "cancelled" if "cancelled" in outcomes else "failure" if outcomes & {"failure", "skipped"} else "success"
        )
        runs = evaluate(
            job.get("if", "${{ always() }}" if status == "success" else "''"),
            {**context, "needs": needs},
            status=status,
        )
        done[name] = (results or {}).get(name, "success") if runs else "skipped"
    return {name for name, result in done.items() if result != "skipped"}


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    return read(make(tmp_path, SHAPES["payload"]))


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        (event("push"), RELEASE),
        (event("push", "refs/tags/v1.2.3"), RELEASE),
        (event("push", "refs/tags/v1.2.3", deleted=True), set()),
        (event("schedule", schedule="0 6 * * *"), RELEASE | {"refresh-expiring"}),
        (event("pull_request", "refs/pull/7/merge", number=7), REHEARSAL),
        (event("pull_request", "refs/pull/7/merge", number=7, fork=True), REHEARSAL),
        (event("workflow_dispatch"), RELEASE),
        (event("workflow_dispatch", inputs={"channel": "nightly"}), RELEASE),
        (event("workflow_dispatch", inputs={"channel": "prod", "version": "v1.2.3"}), {"promote"}),
        (event("workflow_dispatch", inputs={"version": "v1.2.3"}), {"promote"}),
        (event("workflow_dispatch", inputs={"operation": "rollback", "channel": "dev"}), {"rollback"}),
        (event("workflow_dispatch", inputs={"operation": "rollback", "version": "v1.2.3"}), {"rollback"}),
        (event("workflow_dispatch", inputs={"operation": "refresh"}), {"refresh"}),
        (event("workflow_dispatch", inputs={"operation": "resume"}), {"resume-open"}),
        (event("workflow_dispatch", inputs={"operation": "repair"}), {"repair"}),
        (event("workflow_dispatch", inputs={"operation": "prune"}), {"prune"}),
        (event("workflow_dispatch", inputs={"operation": "bootstrap"}), {"bootstrap"}),
        (event("push", fork=True), REHEARSAL),
        (event("push", "refs/tags/v1.2.3", fork=True), REHEARSAL),
        (event("push", fork=True, deleted=True), set()),
        (event("schedule", schedule="0 6 * * *", fork=True), REHEARSAL),
        (event("workflow_dispatch", fork=True), REHEARSAL),
        (event("workflow_dispatch", inputs={"version": "v1.2.3"}, fork=True), set()),
        (event("workflow_dispatch", inputs={"operation": "prune"}, fork=True), set()),
    ],
)
def test_what_an_event_starts(document: dict[str, Any], context: dict[str, Any], expected: set[str]) -> None:
    assert starts(document, context) == expected


@pytest.mark.parametrize("result", ["failure", "cancelled"])
def test_finalize_that_ends_badly_is_followed_by_resume_and_by_nothing_that_deletes(
    document: dict[str, Any], result: str
) -> None:
    ran = starts(document, event("push"), {"finalize": result})
    assert ran == (RELEASE - {"visibility", "retention"}) | {"resume"}


def test_nothing_is_resumed_where_nothing_was_begun(document: dict[str, Any]) -> None:
    ran = starts(document, event("push"), {"build-demo-linux-arm64": "failure"})
    assert ran == {"set", "build-demo-linux-amd64", "build-demo-linux-arm64"}


def test_a_nightly_release_that_fails_keeps_no_other_channel_from_its_refresh(document: dict[str, Any]) -> None:
    for job in ("build-demo-linux-amd64", "test-linux-arm64", "finalize"):
        assert "refresh-expiring" in starts(document, event("schedule", schedule="0 6 * * *"), {job: "failure"})


def test_a_platform_that_is_missing_moves_nothing(document: dict[str, Any]) -> None:
    assert "finalize" not in starts(document, event("push"), {"test-linux-arm64": "failure"})
    assert "assemble" not in starts(document, event("push"), {"build-demo-linux-arm64": "failure"})


def test_a_schedule_of_its_own_refreshes_and_releases_nothing(tmp_path: Path) -> None:
    document = read(make(tmp_path, SHAPES["no schedule"]))
    (cron,) = (one["cron"] for one in document["on"]["schedule"])
    assert starts(document, event("schedule", schedule=cron)) == {"refresh-expiring"}


class TestApproval:
    """Of the project whose channels have environments."""

    @pytest.fixture
    def document(self, tmp_path: Path) -> dict[str, Any]:
        return read(make(tmp_path, SHAPES["channels"]))

    def test_only_the_channel_that_is_released_to_is_asked_for(self, document: dict[str, Any]) -> None:
        ran = starts(document, event("push"))
        assert {"approve-staging", "finalize"} <= ran
        assert "approve-production" not in ran
        ran = starts(document, event("push", "refs/tags/v1.2.3"))
        assert {"approve-production", "finalize", "retention", "visibility"} <= ran
        assert "approve-staging" not in ran

    @pytest.mark.parametrize("result", ["failure", "cancelled"])
    def test_what_is_not_approved_moves_nothing(self, document: dict[str, Any], result: str) -> None:
        ran = starts(document, event("push", "refs/tags/v1.2.3"), {"approve-production": result})
        assert not ran & {"finalize", "resume", "visibility", "retention"}

    def test_going_back_and_promoting_are_asked_for_too(self, document: dict[str, Any]) -> None:
        for inputs in ({"operation": "rollback", "channel": "stable"}, {"version": "v1.2.3"}):
            context = event("workflow_dispatch", inputs=inputs)
            assert "approve-production-asked" in starts(document, context)
            ran = starts(document, context, {"approve-production-asked": "failure"})
            assert ran == {"approve-production-asked"}

    @given(
        ref=st.sampled_from(
            [MAIN, "refs/heads/next/x+y", "refs/heads/other", "refs/tags/v1.2.3", "refs/tags/rel-2.0.0"]
        ),
        name=st.sampled_from(["push", "workflow_dispatch", "schedule"]),
        channel=st.sampled_from(["", "edge", "weekly", "stable"]),
        version=st.sampled_from(["", "v2.0.0", "rel-1.0.0"]),
        cron=st.sampled_from(["0 3 * * 1", "0 3 * * 4"]),
    )
    @settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_the_channel_that_shipgraph_decides_on_is_always_asked_for(
        self, tmp_path: Path, ref: str, name: str, channel: str, version: str, cron: str
    ) -> None:
        """The workflow's guess may ask for too much, never for too little."""
        channels = make(tmp_path, SHAPES["channels"]).channels
        more: dict[str, Any] = {"schedule": cron} if name == "schedule" else {}
        context = event(name, ref, inputs={"channel": channel, "version": version}, **more)
        environment = {"GITHUB_EVENT_NAME": name, "GITHUB_REF": ref, "GITHUB_SHA": COMMIT}
        try:
            goal = decide(channels, parse_event(context["github"]["event"], environment))
        except ConfigurationError:
            return
        assert goal.channel is not None
        assert evaluate(leads_to(goal.channel, channels), context)


def test_every_channel_runs_the_same_jobs(document: dict[str, Any]) -> None:
    """What only some channels do is tried only by them."""
    released = [
        event("push"),
        event("push", "refs/tags/v1.2.3"),
        event("schedule", schedule="0 6 * * *"),
        event("workflow_dispatch", inputs={"channel": "nightly"}),
    ]
    assert all(starts(document, one) - {"refresh-expiring"} == RELEASE for one in released)
