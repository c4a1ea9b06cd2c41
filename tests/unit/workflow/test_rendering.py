"""The workflow's text, for projects of every shape."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from shipgraph.cli.main import main
from shipgraph.errors import ConfigurationError
from shipgraph.project.loader import load_project
from shipgraph.workflow.jobs import Right
from shipgraph.workflow.place import Place, find_place
from shipgraph.workflow.rendering import plan_jobs, render_workflow

from .projects import ELSEWHERE, OURS, SHAPES, commands, make, read, scripts

if TYPE_CHECKING:
    from shipgraph.project.spec import Project

CONTAINAI = Path(__file__).parents[3] / "containai"
WRITERS = ("finalize", "resume", "promote", "rollback", "refresh", "repair", "prune")


@pytest.fixture(params=[*SHAPES, "containai"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    return load_project(CONTAINAI) if request.param == "containai" else make(tmp_path, SHAPES[request.param])


def test_the_same_project_gives_the_same_bytes_wherever_it_is(tmp_path: Path) -> None:
    text = SHAPES["channels"]
    one, other = make(tmp_path / "a", text), make(tmp_path / "b" / "c", text)
    assert render_workflow(one, OURS) == render_workflow(other, OURS)


def test_a_token_has_no_right_unless_its_job_names_it(project: Project) -> None:
    document = read(project)
    assert document["permissions"] == {}
    known = {tuple(right.split(": ")) for right in Right}
    for job in document["jobs"].values():
        assert set(job["permissions"].items()) <= known


def test_a_pull_request_has_a_token_that_only_reads_and_sees_no_secret(project: Project) -> None:
    jobs = read(project)["jobs"]
    rehearsals = {name: job for name, job in jobs.items() if "pull_request" in job.get("if", "")}
    assert set(rehearsals) == {f"rehearse-{platform.slug}" for platform in project.platforms}
    for job in rehearsals.values():
        assert job["permissions"] == {"contents": "read"}
        assert "secrets." not in str(job)
        assert "github.token" not in str(job)
        assert "environment" not in job


def test_only_jobs_that_sign_can_prove_who_they_are(project: Project) -> None:
    document = read(project)["jobs"]
    signing = {name for name, job in document.items() if "id-token" in job["permissions"]}
    with_keyless = {
        name for name, job in document.items() if any(step.get("with", {}).get("keyless") for step in job["steps"])
    }
    assert signing == with_keyless
    assert signing == {name for name, job in document.items() if "attestations" in job["permissions"]}
    if project.signing.by == "key":
        assert not signing
    else:
        assert {"set", "assemble", "resume", "visibility", "retention", "prune", "bootstrap"}.isdisjoint(signing)


def test_a_key_goes_to_the_jobs_that_sign_and_to_no_other(tmp_path: Path) -> None:
    keyless, by_key = read(make(tmp_path, SHAPES["one image"]))["jobs"], read(make(tmp_path, SHAPES["key"]))["jobs"]
    signing = {name for name, job in keyless.items() if "id-token" in job["permissions"]}
    assert {name for name, job in by_key.items() if "SHIPGRAPH_SIGNING_KEY" in str(job)} == signing
    assert "SHIPGRAPH_SIGNING_KEY" not in str(keyless)


def test_scripts_are_the_same_text_for_every_event(project: Project) -> None:
    for job in read(project)["jobs"].values():
        for script in scripts(job):
            assert "${{" not in script


def test_what_was_typed_in_reaches_a_script_as_a_variable_in_quotes(project: Project) -> None:
    seen = 0
    for job in read(project)["jobs"].values():
        for step in job["steps"]:
            for name, value in step.get("env", {}).items():
                if "inputs." in value or "outputs." in value:
                    assert f'"${name}"' in step["run"]
                    assert f"${name}" not in step["run"].replace(f'"${name}"', "")
                    seen += 1
    assert seen == 6  # channel and version of two operations, the channel of a refresh, the one that was published


def test_every_command_of_every_job_is_one_that_the_program_takes(project: Project) -> None:
    """A flag that does not exist is found here, not on the day of a release."""
    called: set[str] = set()
    for name, job in read(project)["jobs"].items():
        for line in commands(job):
            called.add(line.split()[1])
            _parse(line, name)
    assert called >= {"build", "assemble", "test", "attest", "finalize", "visibility", "prune", "resume", "rehearse"}


def _parse(line: str, job: str) -> None:
    words = {
        "promote": "--version=v1.2.3 --channel=prod",
        "rollback": "--wait --to=v1.0.0",
        "refresh": "--expiring",
    }
    given = {'"$GITHUB_EVENT_PATH"': str(Path(__file__)), '"$CHANNEL"': "dev", '"$@"': words.get(job, "")}
    for name, value in given.items():
        line = line.replace(name, value)
    _, command_name, *arguments = shlex.split(line)
    command = main.get_command(click.Context(main), command_name)
    assert command is not None, f"{job}: there is no `shipgraph {command_name}`"
    arguments = [str(CONTAINAI) if word == "containai" else word for word in arguments]
    try:
        command.make_context(command_name, arguments)
    except click.UsageError as error:
        pytest.fail(f"{job}: {line}: {error.format_message()}")


def test_every_job_checks_out_and_sets_up_before_it_calls_anything(project: Project) -> None:
    """No job rests on a file that another one made, or on a script of the repository with its mode bits."""
    for name, job in read(project)["jobs"].items():
        if name.startswith("approve-"):
            continue
        first, second, *rest = job["steps"]
        assert first["uses"].startswith("actions/checkout@")
        assert first["with"]["persist-credentials"] is False
        assert second["uses"] == "./"
        assert all("run" in step for step in rest)
        assert rest


def test_only_shipgraph_is_called(project: Project) -> None:
    """No oras, no trivy, no cosign, no gh: a client whose flags change is a release that breaks."""
    allowed = ("exec shipgraph ", "set -- ", "if [ -n ", "true", "umask 077", "mkdir -p ", "printf %s ")
    for job in read(project)["jobs"].values():
        for script in scripts(job):
            assert all(line.startswith(allowed) for line in script.splitlines())


def test_shipgraph_takes_the_place_of_the_shell_that_the_runner_interrupts(project: Project) -> None:
    """Each script calls it once, at its end; a shell would keep the signal of a cancelled run to itself."""
    for job in read(project)["jobs"].values():
        for script in scripts(job):
            if "shipgraph " in script:
                assert script.count("shipgraph ") == 1
                assert script.splitlines()[-1].startswith("exec shipgraph ")


def test_names_of_images_are_written_out(project: Project) -> None:
    """No expression puts a name together: one that is empty would name another repository."""
    text = render_workflow(project, OURS)
    assert "matrix." not in text
    assert "${{ env." not in text
    assert "needs.set.outputs" not in text


def test_foreign_actions_stand_at_commits_with_their_release_beside_them(project: Project) -> None:
    text = render_workflow(project, ELSEWHERE)
    uses = re.findall(r"uses: (\S+)(?: +# (\S+))?", text)
    assert uses
    for action, version in uses:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action)
        assert re.fullmatch(r"v\d+\.\d+\.\d+", version)


def test_each_platform_has_its_own_machine_and_nothing_emulates_one(project: Project) -> None:
    document = read(project)
    labels = {str(platform): project.workflow.runners[str(platform)] for platform in project.platforms}
    assert len(set(labels.values())) == len(labels)
    for name, job in document["jobs"].items():
        on = [platform for platform in project.platforms if name.endswith(f"-{platform.slug}")]
        assert job["runs-on"] == (labels[str(on[0])] if on else project.workflow.runner)
    assert "qemu" not in str(document)
    assert "binfmt" not in str(document)


def test_history_is_there_where_order_is_judged_and_only_there(project: Project) -> None:
    deep = {
        name for name, job in read(project)["jobs"].items() if job["steps"][0].get("with", {}).get("fetch-depth") == 0
    }
    assert deep == {"finalize", "resume", "promote", "resume-open", "repair"}


def test_one_job_at_a_time_moves_tags_or_deletes_and_none_is_dropped_or_stopped(project: Project) -> None:
    groups = {}
    for name, job in read(project)["jobs"].items():
        verbs = {line.split()[1] for line in commands(job)}
        assert ("concurrency" in job) == bool(verbs & set(WRITERS)), name
        if "concurrency" in job:
            groups[name] = job["concurrency"]
    assert all(
        one == {"group": f"{project.name}-channels", "cancel-in-progress": False, "queue": "max"}
        for one in groups.values()
    )
    assert "concurrency" not in read(project)


def test_an_open_transaction_is_ended_whatever_became_of_finalize(project: Project) -> None:
    resume = read(project)["jobs"]["resume"]
    assert resume["needs"] == ["finalize"]
    assert resume["if"] == (
        "${{ always() && (needs.finalize.result == 'failure' || needs.finalize.result == 'cancelled') }}"
    )
    assert commands(resume)[0].startswith("shipgraph resume")


def test_every_job_has_a_time_limit(project: Project) -> None:
    assert all(1 <= job["timeout-minutes"] <= 7200 for job in read(project)["jobs"].values())


def test_own_settings_arrive(tmp_path: Path) -> None:
    document = read(make(tmp_path, SHAPES["own runners"]), ELSEWHERE)
    jobs = document["jobs"]
    assert document["name"] == "release"
    assert jobs["build-demo-linux-riscv64"]["runs-on"] == "board-7"
    assert jobs["build-demo-linux-riscv64"]["timeout-minutes"] == 302  # its own five hours, and the rest of the job
    assert jobs["assemble"]["timeout-minutes"] == 2
    assert jobs["set"]["runs-on"] == "small"
    assert "github.repository == 'acme/demo'" in jobs["set"]["if"]
    assert "github.repository != 'acme/demo'" in jobs["rehearse-linux-amd64"]["if"]


def test_build_secrets_are_files_that_only_images_that_declare_them_get(tmp_path: Path) -> None:
    jobs = read(make(tmp_path, SHAPES["own runners"]))["jobs"]
    slugs = ("linux-amd64", "linux-riscv64")
    having = {
        secret: {name for name, job in jobs.items() if f"secrets.{secret} " in str(job)}
        for secret in ("NPMRC", "TOKEN")
    }
    assert having["NPMRC"] == {f"build-{key}-{slug}" for key in ("demo", "other") for slug in slugs}
    assert having["TOKEN"] == {f"build-demo-{slug}" for slug in slugs}
    assert not any("SHIPGRAPH_SECRETS" in str(jobs[f"build-plain-{slug}"]) for slug in slugs)
    writing, building = jobs["build-demo-linux-amd64"]["steps"][2:]
    assert writing["run"] == (
        'umask 077\nmkdir -p "$SHIPGRAPH_SECRETS"\n'
        'printf %s "$SECRET_0" > "$SHIPGRAPH_SECRETS/npmrc"\n'
        'printf %s "$SECRET_1" > "$SHIPGRAPH_SECRETS/token.x"\n'
    )
    assert building["env"]["SHIPGRAPH_SECRETS"] == writing["env"]["SHIPGRAPH_SECRETS"]


def test_an_approval_comes_before_tags_move_and_holds_nobody_else_up(tmp_path: Path) -> None:
    jobs = read(make(tmp_path, SHAPES["channels"]))["jobs"]
    approvals = {name: job for name, job in jobs.items() if "environment" in job}
    assert {job["environment"] for job in approvals.values()} == {"production", "staging"}
    for job in approvals.values():
        assert job["permissions"] == {}
        assert "concurrency" not in job
    assert {"approve-production", "approve-staging"} < set(jobs["finalize"]["needs"])
    for name in ("promote", "rollback"):
        assert set(jobs[name]["needs"]) == {"approve-production-asked", "approve-staging-asked"}


def test_a_platform_without_a_machine_is_an_error(tmp_path: Path) -> None:
    text = SHAPES["one image"].replace('"linux/arm64"', '"linux/s390x"')
    with pytest.raises(ConfigurationError, match="no runner is known for linux/s390x") as caught:
        plan_jobs(make(tmp_path, text), OURS)
    assert "workflow.runners" in str(caught.value)


@pytest.mark.parametrize("folder", ["a b", "a;b", "$x", "a\nb", "-x", "`x`", "ä"])
def test_a_folder_that_a_script_would_read_as_something_else_is_refused(folder: str) -> None:
    with pytest.raises(ConfigurationError, match="can't stand in a workflow's script"):
        Place(folder)


def test_a_project_of_its_own_says_where_the_action_is() -> None:
    with pytest.raises(ConfigurationError, match="needs to know where shipgraph's action is"):
        find_place("", None, "", is_shipgraph=False)
    assert find_place("", "./tools/ship/", "", is_shipgraph=False).uses == "./tools/ship"
    assert ELSEWHERE.uses == "acme/shipgraph@" + "1" * 40


@pytest.mark.parametrize(
    ("table", "what"),
    [
        ('action = "acme/shipgraph@v1"', "no action at a commit"),
        ('action = "acme/shipgraph@0123"', "no action at a commit"),
        ('action = "./../x"', "no action at a commit"),
        ('action-version = "v1 # x"', "no version"),
        ('environments = { nope = "x" }', "no channel 'nope'"),
        ('runners = { "linux/s390x" = "x" }', "not built for linux/s390x"),
        ('runners = { "linux/amd64" = "a b" }', "letters, digits"),
        ('secrets = { nope = "X" }', "no image declares a secret 'nope'"),
        ('timeouts = { nope = "1h" }', "no kind of job 'nope'"),
        ('timeouts = { build = "9w" }', "longer than any job"),
        ('refresh = "daily"', "not a cron expression"),
        ('file = "../x.yml"', "a name that ends with .yml"),
        ('repository = "acme"', "OWNER/NAME"),
    ],
)
def test_mistakes_in_the_table_are_told(tmp_path: Path, table: str, what: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(what)) as caught:
        make(tmp_path, SHAPES["one image"] + f"[workflow]\n{table}\n")
    assert "shipgraph.toml" in str(caught.value)


def test_jobs_of_one_name_are_an_error(tmp_path: Path) -> None:
    text = """\
[project]
name = "demo"
platforms = ["linux/arm/v7", "arm/v7"]
[images.a]
context = "c"
base = "scratch"
platforms = ["linux/arm/v7"]
[images.a-linux]
context = "c"
base = "scratch"
platforms = ["arm/v7"]
[workflow]
runners = { "linux/arm/v7" = "a", "arm/v7" = "b" }
"""
    with pytest.raises(ConfigurationError, match="two jobs"):
        plan_jobs(make(tmp_path, text), OURS)
