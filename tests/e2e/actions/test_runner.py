"""The harness itself: what a job has, what it has not, and what it may do."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pytest

from .act import Event, Run, run
from .project import Demo, bare_project
from .workflow import Settled, Unlisted, dump

if TYPE_CHECKING:
    from pathlib import Path

    from .github import GitHub

pytestmark = pytest.mark.real

CHECKOUT = "actions/checkout@1111111111111111111111111111111111111111"
HEAD = """\
on: push
permissions: {}
jobs:
"""


@pytest.fixture
def demo(hub: GitHub, tmp_path: Path) -> Demo:
    made = bare_project(hub, tmp_path / "demo")
    made.write("one", "1\n")
    made.commit("first")
    made.write("one", "2\n")
    made.commit("second")
    return made


def start(hub: GitHub, demo: Demo, jobs: str, folder: Path, **more: object) -> Run:
    demo.write(".github/workflows/w.yml", HEAD + textwrap.indent(textwrap.dedent(jobs), "  "))
    commit = demo.commit("the workflow")
    demo.push()
    event = Event("push", {"ref": "refs/heads/main"}, "refs/heads/main", commit)
    return run(hub, event, folder / "run", file="w.yml", **more)  # type: ignore[arg-type]


def test_jobs_start_empty_and_those_of_a_level_run_at_the_same_time(hub: GitHub, demo: Demo, tmp_path: Path) -> None:
    meet = tmp_path / "meet"
    meet.mkdir()
    wait = f"for i in $(seq 100); do [ -e {meet}/%s ] && exit 0; sleep 0.1; done; exit 1"
    job = """\
    {me}:
      runs-on: {runner}
      steps:
        - run: test -z "$(ls -A .; ls -A "$HOME")"
        - run: touch left-over "$HOME/left-over" "$RUNNER_TEMP/left-over" {meet}/{me}; {wait}
    """
    jobs = "".join(
        textwrap.dedent(job).format(me=me, runner=runner, meet=meet, wait=wait % other)
        for me, other, runner in (("one", "two", "ubuntu-24.04"), ("two", "one", "ubuntu-24.04-arm"))
    )
    jobs += textwrap.dedent(
        """\
        three:
          needs: [one, two]
          runs-on: ubuntu-24.04
          steps:
            - run: test -z "$(ls -A .; ls -A "$HOME")"
        """
    )
    assert start(hub, demo, jobs, tmp_path).check().results == dict.fromkeys(("one", "two", "three"), "success")


def test_checkout_has_the_history_that_was_asked_for(hub: GitHub, demo: Demo, tmp_path: Path) -> None:
    demo.git("tag", "v1", "HEAD~1")
    demo.push("main", "v1", "main:refs/pull/7/merge")
    job = """\
    {name}:
      runs-on: ubuntu-24.04
      permissions: {{contents: read}}
      steps:
        - uses: {checkout}
          with: {{fetch-depth: {depth}, persist-credentials: false{more}}}
        - run: |
            test "$(git rev-list --count HEAD)" = {count}
            test "$(git remote get-url origin)" = https://github.com/Acme/demo
            test -z "$(git tag)" || test {depth} = 0 || test {name} = tag
            ! grep -i extraheader .git/config
    """
    jobs = "".join(
        textwrap.dedent(job).format(name=name, checkout=CHECKOUT, depth=depth, count=count, more=more)
        for name, depth, count, more in (
            ("shallow", 1, 1, ""),
            ("deeper", 2, 2, ""),
            ("whole", 0, 3, ""),
            ("tag", 0, 1, ", ref: v1"),
            ("pull", 1, 1, ", ref: refs/pull/7/merge"),
            ("lazy", 0, 3, ", filter: 'blob:none'"),
        )
    )
    start(hub, demo, jobs, tmp_path).check()


def test_an_action_that_is_not_listed_is_refused_before_anything_runs(hub: GitHub, demo: Demo, tmp_path: Path) -> None:
    jobs = """\
    one:
      runs-on: ubuntu-24.04
      steps:
        - uses: some/action@1111111111111111111111111111111111111111
    """
    with pytest.raises(Unlisted, match="some/action"):
        start(hub, demo, jobs, tmp_path)


def test_a_token_does_what_its_job_declares_and_nothing_else(hub: GitHub, demo: Demo, tmp_path: Path) -> None:
    asks = {
        "contents": f'git -c http.extraheader="Authorization: basic $login" ls-remote {hub.address}/Acme/demo.git',
        "packages": f"""code=$(curl -s -o /dev/null -w '%{{http_code}}' -X POST \
            -H "Authorization: Bearer $(printf %s "$TOKEN" | base64 -w0)" http://{hub.registry}/v2/acme/x/blobs/uploads/)
            test $code = 202""",
        "id-token": 'curl -sf -H "Authorization: bearer $ACTIONS_ID_TOKEN_REQUEST_TOKEN" '
        '"$ACTIONS_ID_TOKEN_REQUEST_URL&audience=sigstore" | grep -q value',
        "attestations": f"""code=$(curl -s -o /dev/null -w '%{{http_code}}' -X POST -d '{{"bundle": {{}}}}' \
            -H "Authorization: Bearer $TOKEN" http://{hub.registry}/api/v3/repos/Acme/demo/attestations)
            test $code = 422""",
    }  # fmt: skip
    jobs = {}
    for asked, script in asks.items():
        for granted in (*asks, ""):
            level = "read" if granted == "contents" else "write"
            login = 'login=$(printf "x:%s" "$TOKEN" | base64 -w0)\n'
            jobs[f"{asked}-by-{granted or 'none'}"] = {
                "runs-on": "ubuntu-24.04",
                "permissions": {granted: level} if granted else {},
                "steps": [{"run": login + script, "env": {"TOKEN": "${{ github.token }}"}}],
            }
    done = start(hub, demo, dump(jobs), tmp_path)
    wanted = {name: "success" if name.partition("-by-")[0] == name.partition("-by-")[2] else "failure" for name in jobs}
    assert done.results == wanted, done.text[-3000:]


def test_a_later_attempt_runs_what_is_left_with_the_results_of_what_is_done(
    hub: GitHub, demo: Demo, tmp_path: Path
) -> None:
    jobs = """\
    one:
      runs-on: ubuntu-24.04
      steps:
        - run: exit 1
    two:
      needs: one
      runs-on: ubuntu-24.04
      steps:
        - run: test "${{ needs.one.outputs.x }}" = 5
    three:
      needs: one
      if: ${{ always() && needs.one.result != 'success' }}
      runs-on: ubuntu-24.04
      steps:
        - run: test "${{ needs.one.result }}" = cancelled
    four:
      needs: [one]
      if: ${{ failure() }}
      runs-on: ubuntu-24.04
      steps:
        - run: exit 1
    """
    done = start(hub, demo, jobs, tmp_path, settled={"one": Settled("success", {"x": "5"})}, attempt=2)
    assert done.results == {"two": "success"}
    demo.write("more", "")
    done = start(hub, demo, jobs, tmp_path / "again", settled={"one": Settled("cancelled")})
    assert done.results == {"three": "success"}
