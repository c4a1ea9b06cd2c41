"""In GitHub Actions: groups, annotations at lines, outputs, the summary, and nothing that others could forge."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.cli.runner import listen, read_outputs

from shipgraph import errors
from shipgraph.cli.actions import ActionsProgress, step_outputs, write_outputs
from shipgraph.cli.main import main
from shipgraph.cli.output import Output
from shipgraph.cli.redaction import Redactor
from shipgraph.events import Event, Failed, Finished, LogLine, Note, Started

if TYPE_CHECKING:
    from collections.abc import Callable

    from shipgraph.report.summary import Task

TOKEN = "ghs_0123456789abcdefghij"
HOSTILE = "::add-mask::x\n  ::set-env name=PATH::/evil\r::stop-commands::y\nx ##[add-path]/evil\n::endgroup::"
RELEASE = {
    "channel": "dev",
    "version": "dev",
    "immutableTag": "sha-" + "0" * 40,
    "serial": 7,
    "moved": True,
    "movingTags": ["dev"],
    "unchanged": False,
    "images": [
        {
            "key": "base",
            "parent": None,
            "repository": "ghcr.io/acme/base",
            "digest": "sha256:" + "a" * 64,
            "platforms": {"linux/amd64": "sha256:" + "b" * 64},
            "outcome": "built",
        },
        {
            "key": "app",
            "parent": "base",
            "repository": "ghcr.io/acme/app",
            "digest": "sha256:" + "c" * 64,
            "platforms": {},
            "outcome": "unchanged",
        },
    ],
    "payload": {"repository": "ghcr.io/acme/payload", "digest": "sha256:" + "d" * 64, "layer": "sha256:" + "e" * 64},
    "metadata": {"repository": "ghcr.io/acme/metadata", "digest": "sha256:" + "f" * 64},
    "evidence": {"gate": "ok", "test": "MISSING (1)", "provenance": "ok"},
}


class Step:
    """A step of a job: its files, and the commands that it has given."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        self._files = {"GITHUB_OUTPUT": folder / "output", "GITHUB_STEP_SUMMARY": folder / "summary"}
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
        monkeypatch.setenv("GITHUB_WORKSPACE", str(folder))
        for name, path in self._files.items():
            path.touch()
            monkeypatch.setenv(name, str(path))

    def outputs(self) -> dict[str, str]:
        return read_outputs(self._files["GITHUB_OUTPUT"].read_text())

    def summary(self) -> str:
        return self._files["GITHUB_STEP_SUMMARY"].read_text()

    def said(self) -> tuple[str, str]:
        out, err = self._capsys.readouterr()
        return out, err


@pytest.fixture
def step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Step:
    return Step(tmp_path, monkeypatch, capsys)


def shown(*events: Event, redactor: Redactor | None = None) -> str:
    stream = io.StringIO()
    tasks: list[Task] = []
    progress = ActionsProgress(stream, redactor or Redactor(()), tasks)
    for event in events:
        progress(event)
    return stream.getvalue()


def test_what_a_task_wrote_is_a_group_once_it_has_ended() -> None:
    text = shown(
        Started("a", "base linux/amd64"),
        Started("b", "proxy linux/amd64"),
        LogLine("a", "step 1"),
        LogLine("b", "other"),
        LogLine("a", "step 2"),
        Finished("a", "base linux/amd64", "built", 2.0),
    )
    group, end = listen(text)
    assert (group.name, end.name) == ("group", "endgroup")
    assert group.data.endswith("base linux/amd64: built in 2.0 s")
    inside = text.partition("::group::")[2]
    assert "step 1\nstep 2\n" in inside
    assert "other" not in text


def test_a_task_that_wrote_nothing_is_a_line() -> None:
    assert listen(shown(Started("a", "payload"), Finished("a", "payload", "pushed", 1.0))) == []


@settings(deadline=None)
@given(
    st.lists(st.text(st.sampled_from(":#[]%\r\n \x85\xa0agdmsktop-=,"), max_size=30), min_size=1, max_size=5), st.data()
)
def test_nothing_that_others_write_is_a_command(pieces: list[str], data: st.DataObject) -> None:
    known = ["::error::", "::add-mask::", "##[add-path]", "::stop-commands::", "::endgroup::", "::group::"]
    text = "".join(data.draw(st.sampled_from(known)) + piece for piece in pieces)
    said = shown(
        Started("a", text),
        LogLine("a", text),
        Note(text),
        Note(text, warning=True),
        Finished("a", text, text),
        Started("b", text),
        Failed("b", text, text),
    )
    assert [command.name for command in listen(said)] == ["warning", "group", "endgroup"]


def test_a_log_of_endless_lines_is_cut() -> None:
    said = shown(*(LogLine("a", "x" * 10_000) for _ in range(5000)), Finished("a", "a", "built"))
    assert len(said) < 2000 * 4100


def test_a_token_at_the_cut_is_not_shown_in_part() -> None:
    said = shown(LogLine("a", "x" * 3990 + TOKEN), Finished("a", "a", "built"), redactor=Redactor([TOKEN]))
    assert TOKEN[:8] not in said


def test_every_mistake_of_the_file_is_marked_at_its_line(step: Step) -> None:
    project = step.folder / "inner"
    project.mkdir()
    (project / "shipgraph.toml").write_text(
        '[project]\nname = "demo"\n\n[images.app]\nparent = "nobody"\ncontxt = "x"\n'
    )
    done = CliRunner().invoke(main, ["plan", "--project", str(project)])
    assert done.exit_code == 2
    marks = [command for command in listen(done.stderr) if command.name == "error"]
    assert len(marks) >= 2
    assert {mark.properties["file"] for mark in marks} == {"inner/shipgraph.toml"}
    assert {int(mark.properties["line"]) for mark in marks} >= {6}
    assert "contxt" in " ".join(mark.data for mark in marks)
    assert "[!CAUTION]" in step.summary()


def test_a_file_outside_of_the_workspace_is_not_marked(step: Step) -> None:
    Output().error(errors.ConfigurationError("bad", file="/etc/shipgraph.toml", line=3))
    (mark,) = listen(step.said()[1])
    assert mark.properties == {"title": "shipgraph"}
    assert mark.data == "/etc/shipgraph.toml:3: bad"


def test_a_path_can_not_add_properties(step: Step) -> None:
    odd = step.folder / "a,line=9:b%"
    odd.mkdir()
    Output().error(errors.ConfigurationError("bad", file=str(odd / "f"), line=3))
    (mark,) = listen(step.said()[1])
    assert mark.properties == {"title": "shipgraph", "file": "a,line=9:b%/f", "line": "3"}


def test_outputs_of_a_release(step: Step) -> None:
    Output().result(RELEASE, "text")
    assert step.outputs() == {
        "channel": "dev",
        "version": "dev",
        "immutable_tag": "sha-" + "0" * 40,
        "serial": "7",
        "moved": "true",
        "unchanged": "false",
        "digests": '{"base":"sha256:' + "a" * 64 + '","app":"sha256:' + "c" * 64 + '"}',
        "payload_digest": "sha256:" + "d" * 64,
        "metadata_digest": "sha256:" + "f" * 64,
    }


@given(value=st.text(max_size=60))
def test_no_value_ends_early_or_sets_another(value: str) -> None:
    hostile = f"{value}\nEOF\nother=evil\nnext<<EOF\nx"
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        file = Path(folder, "output")
        patch.setenv("GITHUB_OUTPUT", str(file))
        write_outputs({"version": hostile, "channel": "dev"})
        found = read_outputs(file.read_bytes().decode())
    assert found == {"version": hostile, "channel": "dev"}


def test_an_error_has_no_outputs(step: Step) -> None:
    Output(as_json=True).result({"error": {"kind": "X", "message": "m", "hint": "", "exitCode": 1}}, "")
    assert step.outputs() == {}


def test_what_is_no_digest_of_an_image_is_no_output() -> None:
    assert "digests" not in step_outputs({"images": [{"key": "a", "digest": None, "repository": "r"}, {"key": "b"}, 5]})
    assert step_outputs({"metadata": "sha256:00"}) == {"metadata_digest": "sha256:00"}


def test_the_summary_comes_once_and_names_the_command(step: Step) -> None:
    @click.command("release")
    def command() -> None:
        output = Output()
        with output.progress() as emit:
            emit(Started("a", "base linux/amd64"))
            emit(Finished("a", "base linux/amd64", "built", 61.0))
        output.result(RELEASE, "")
        output.error(errors.Conflict("and then"))

    CliRunner().invoke(command, prog_name="shipgraph release")
    text = step.summary()
    assert text.count("### ") == 1
    assert text.startswith("### shipgraph release: dev")
    assert "61.0 s" in text


def test_outside_of_actions_nothing_is_written(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS")
    output = Output()
    output.result(RELEASE, "text")
    output.error(errors.Conflict("no"))
    assert step.summary() == ""
    assert step.outputs() == {}
    assert step.said() == ("text\n", "error: no\n")


def test_files_that_the_runner_did_not_hand_out_are_not_missed(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_OUTPUT")
    monkeypatch.delenv("GITHUB_STEP_SUMMARY")
    Output().result(RELEASE, "text")
    assert step.said()[0] == "text\n"


def test_text_of_others_on_stdout_is_no_command(step: Step) -> None:
    Output().result({}, HOSTILE)
    assert listen(step.said()[0]) == []


def test_a_traceback_is_harmless_too(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    from shipgraph.cli.running import Interrupt, run

    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)

    async def command(interrupt: Interrupt) -> None:
        raise errors.BuildFailed(f"{TOKEN}\n{HOSTILE}")

    with pytest.raises(SystemExit):
        run(Output(debug=True), command)
    _, err = step.said()
    assert "Traceback" in err
    assert TOKEN not in err
    assert [command.name for command in listen(err)] == ["error"]


SAYS: list[Callable[[Output, str], Any]] = [
    lambda output, text: output.say(text),
    lambda output, text: output.result({"channel": text}, text),
    lambda output, text: output.error(errors.ConfigurationError(text, hint=text, file=text)),
    lambda output, text: output.show_error(text, text),
]


@pytest.mark.parametrize("actions", [True, False])
@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("say", SAYS)
def test_no_token_is_printed(
    step: Step, monkeypatch: pytest.MonkeyPatch, say: Callable[[Output, str], Any], as_json: bool, actions: bool
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    if not actions:
        monkeypatch.delenv("GITHUB_ACTIONS")
    basic = base64.b64encode(f"x:{TOKEN}".encode()).decode()
    output = Output(as_json=as_json)
    say(output, f"Bearer {TOKEN} Basic {basic}")
    with output.progress() as emit:
        emit(Started("a", TOKEN))
        emit(LogLine("a", f"curl -H {TOKEN}"))
        emit(Failed("a", TOKEN, basic))
        emit(Note(TOKEN, warning=True))
    everything = "".join(step.said()) + step.summary()
    assert TOKEN not in everything
    assert basic not in everything
    assert "***" in everything


@given(
    before=st.binary(max_size=7), after=st.binary(max_size=7), secret=st.text(st.characters(codec="ascii"), min_size=16)
)
def test_a_secret_is_found_within_base64_too(before: bytes, after: bytes, secret: str) -> None:
    content = before + secret.encode() + after
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        text = encode(content).decode()
        assert Redactor([secret])(text) != text


def test_a_key_in_pem_is_taken_out_line_by_line_and_its_frame_is_not() -> None:
    pem = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49\nZZZZZZZZZZZZ\n-----END PRIVATE KEY-----\n"
    clean = Redactor.of({"SHIPGRAPH_SIGNING_KEY": pem})
    assert clean(pem) == "-----BEGIN PRIVATE KEY-----\n***\n***\n-----END PRIVATE KEY-----\n"


def test_a_terminal_shows_no_token_either(capsys: pytest.CaptureFixture[str]) -> None:
    from shipgraph.cli.terminal import drawn_progress

    with drawn_progress(Redactor([TOKEN])) as emit:
        emit(Started("a", TOKEN))
        emit(LogLine("a", "x" * 60 + TOKEN))
        emit(Note(TOKEN))
        emit(Failed("a", TOKEN, TOKEN, TOKEN))
    shown_there = capsys.readouterr().err
    assert TOKEN[:8] not in shown_there
    assert "***" in shown_there


def test_words_are_no_secrets() -> None:
    assert Redactor.of({"GITHUB_TOKEN": "", "GHCR_PAT": "x"})("an x-ray") == "an x-ray"
