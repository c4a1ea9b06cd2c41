"""One run of a workflow by act, in host mode, and what came of it.

act does the running: expressions, levels of jobs, steps, outputs, composite actions, conditions. What it leaves out is
in ``workflow``. It has no way to go on after a cancelled job: on a signal it skips all that is left, ``always()`` too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import equivalents
from .github import REPOSITORY, GitHub
from .workflow import Grant, Settled, dump, load, permissions, rewrite, secret, with_lacking

if TYPE_CHECKING:
    from collections.abc import Mapping

ACT = Path(sys.executable).with_name("act")
RUNNERS = ("ubuntu-24.04", "ubuntu-24.04-arm")
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass
class Job:
    """How a job ended."""

    result: str = "skipped"
    log: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    steps: dict[str, str] = field(default_factory=dict)
    """Name to result."""


@dataclass
class Run:
    """How a run ended."""

    jobs: dict[str, Job]
    folder: Path
    text: str
    """All that was printed, tokens in clear."""
    tokens: dict[str, str]

    @property
    def results(self) -> dict[str, str]:
        """Job to result; jobs that were not run are not in it."""
        return {name: job.result for name, job in self.jobs.items() if job.result != "skipped"}

    def check(self, *, failed: tuple[str, ...] = ()) -> Run:
        """Assert that just these jobs failed, and that no token was printed."""
        wrong = {name: job for name, job in self.jobs.items() if (job.result == "failure") != (name in failed)}
        shown = "\n".join(f"--- {name}: {job.result}\n{job.log[-4000:]}" for name, job in wrong.items())
        assert not wrong, f"{self.results}\n{shown}"
        assert self.jobs, self.text
        printed = [name for name, token in self.tokens.items() if token in self.text]
        assert not printed, f"jobs that printed their token: {printed}"
        return self


@dataclass(frozen=True)
class Event:
    """What starts a run."""

    name: str
    document: Mapping[str, Any]
    ref: str
    commit: str


def run(
    hub: GitHub,
    event: Event,
    folder: Path,
    *,
    file: str,
    environment: Mapping[str, str] | None = None,
    table: Mapping[str, Path] = equivalents.TABLE,
    lacking: tuple[str, ...] = (),
    powerless: bool = False,
    settled: Mapping[str, Settled] | None = None,
    only: tuple[str, ...] | None = None,
    number: int = 1001,
    attempt: int = 1,
    secrets: Mapping[str, str] | None = None,
) -> Run:
    """Run a workflow file of the event's commit.

    Args:
        folder: new; the run's own.
        environment: what every step of every job finds, beside a PATH.
        lacking: jobs that are run as well, before themselves, once without each of their permissions: as
            ``JOB--without-PERMISSION``.
        powerless: tokens may do nothing at all, so that each job that starts ends at its checkout.
        settled: jobs of an earlier attempt, which are not run again.
        only: of the others, all but these are left out as skipped.

    Raises:
        Unlisted: it uses an action that has no local equivalent.
    """
    tree = folder / "tree"
    folder.mkdir(parents=True)
    bare = hub.git / f"{REPOSITORY}.git"
    _git("clone", "--quiet", "--no-checkout", bare, tree)
    _git("-C", tree, "fetch", "--quiet", "origin", "+refs/*:refs/*", "--update-head-ok")
    _git("-C", tree, "checkout", "--quiet", "--detach", event.commit)
    _git("-C", tree, "remote", "set-url", "origin", f"https://github.com/{REPOSITORY}")
    workflow = load((tree / ".github" / "workflows" / file).read_text())
    found = equivalents.resolve(workflow, tree, table)
    settled = dict(settled or {})
    if only is not None:
        settled |= {job: Settled("skipped") for job in workflow["jobs"] if job not in only and job not in settled}
    if lacking:
        workflow = with_lacking(workflow, [job for job in lacking if job not in settled])
    grants = {}
    for job in workflow["jobs"]:
        if job in settled:
            continue
        allowed = {} if powerless else permissions(workflow, job)
        claims = {
            "sub": f"https://github.com/{REPOSITORY}/.github/workflows/{file}@{event.ref}",
            "repository": REPOSITORY,
            "ref": event.ref,
            "sha": event.commit,
            "event_name": event.name,
            "job": job,
        }
        home = folder / "homes" / job
        home.mkdir(parents=True)
        token = hub.issue(job, allowed, claims)
        grants[job] = Grant(token, home, hub.identity_environment(token))
    (folder / "workflow.yml").write_text(dump(rewrite(workflow, grants, equivalents.token_inputs(found), settled)))
    (folder / "event.json").write_text(json.dumps(dict(event.document)))
    (folder / "secrets").write_text(
        "".join(f"{secret(job)}={grant.token}\n" for job, grant in grants.items())
        + "".join(f"{name}={json.dumps(value)}\n" for name, value in (secrets or {}).items())
    )
    docker = folder / "docker"
    docker.mkdir()
    (docker / "config.json").write_text(json.dumps({"credHelpers": {hub.registry: "job"}}))
    everywhere = {
        "PATH": f"{equivalents.FOLDER / 'bin'}:{SYSTEM_PATH}",
        "DOCKER_CONFIG": str(docker),
        "SHIPGRAPH_PYTHON": sys.executable,
        "GITHUB_RUN_ID": str(number),
        "GITHUB_RUN_ATTEMPT": str(attempt),
        "GITHUB_RUN_NUMBER": str(number),
        "GITHUB_REF": event.ref,
        "GITHUB_API_URL": f"http://{hub.registry}/api/v3",
        "GIT_SERVER": hub.address,
        "NO_PROXY": "127.0.0.1",
        **(environment or {}),
    }
    command: list[str | Path] = [
        ACT, event.name, "--json", "--insecure-secrets", "--no-cache-server", "--no-skip-checkout", "--rm=false",
        "--concurrent-jobs", "64", "--actor", "octocat", "--defaultbranch", "main",
        "-C", tree, "-W", folder / "workflow.yml", "-e", folder / "event.json",
        "--secret-file", folder / "secrets", "--action-cache-path", folder / "act",
        *(word for runner in RUNNERS for word in ("-P", f"{runner}=-self-hosted")),
        *(word for name, value in everywhere.items() for word in ("--env", f"{name}={value}")),
        *(word for used, place in found.items() for word in ("--local-repository", f"{used}={place}")),
    ]  # fmt: skip
    _status(hub, number, attempt, "in_progress", None)
    # What is not in the environment of act is not in that of a job; a cache that cannot be fetched from is not asked.
    done = subprocess.run(
        command, env={"PATH": SYSTEM_PATH, "HOME": str(folder)}, cwd=folder, capture_output=True, text=True, timeout=600
    )
    _status(hub, number, attempt, "completed", "success" if done.returncode == 0 else "failure")
    for grant in grants.values():
        del hub.tokens[grant.token]
    text = done.stdout + done.stderr
    tokens = {job: grant.token for job, grant in grants.items()}
    (folder / "log").write_text(text)
    return Run(_jobs(done.stdout, workflow["jobs"], set(settled)), folder, text, tokens)


def _jobs(output: str, declared: Mapping[str, Any], settled: set[str]) -> dict[str, Job]:
    jobs = {name: Job() for name in declared if name not in settled}
    for line in output.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        job = jobs.get(entry.get("jobID", ""))
        if job is None:
            continue
        if result := entry.get("jobResult"):
            job.result = "failure" if "failure" in (result, job.result) else result  # of a matrix: the worst
        if (step := entry.get("stepResult")) and entry.get("stage") == "Main":
            job.steps[entry["step"]] = step
        if entry.get("command") == "set-output":
            job.outputs[entry["name"]] = entry["arg"]
        message: str = entry.get("msg", "")
        job.log += message if message.endswith("\n") else f"{message}\n"
    return jobs


def _status(hub: GitHub, number: int, attempt: int, status: str, conclusion: str | None) -> None:
    """What GitHub's API says of the run from now on."""
    hub.portal.call(partial(hub.ghcr.runs.set, REPOSITORY, number, status, attempt=attempt, conclusion=conclusion))


def _git(*arguments: str | Path) -> None:
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(["git", *arguments], check=True, env=environment, capture_output=True)
