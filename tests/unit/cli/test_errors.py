"""How an error reaches the user: as text, as JSON, as an annotation; never as a traceback unless asked for."""

from __future__ import annotations

import errno
import json
import logging
import os
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from shipgraph import errors
from shipgraph.cli.main import main
from shipgraph.cli.output import Output
from shipgraph.cli.running import Interrupt, run, set_up_logs
from shipgraph.events import Failed, Finished, LogLine, Note, Progressed, Started

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def _end(error: BaseException, *, as_json: bool = False, debug: bool = False) -> int:
    async def command(interrupt: Interrupt) -> None:
        raise error

    return _run(command, as_json=as_json, debug=debug)


def _run(command: Callable[[Interrupt], Awaitable[int | None]], *, as_json: bool = False, debug: bool = False) -> int:
    with pytest.raises(SystemExit) as ended:
        run(Output(as_json=as_json, debug=debug), command)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_what_why_and_next(capsys: pytest.CaptureFixture[str]) -> None:
    assert _end(errors.Conflict("the channel is ahead", hint="do this")) == 4
    assert capsys.readouterr() == ("", "error: the channel is ahead\n  next: do this\n")


def test_no_hint_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert _end(errors.GitError("git says no")) == 2
    assert capsys.readouterr().err == "error: git says no\n"


def test_json_document_of_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert _end(errors.RegistryUnavailable("no answer", method="GET", url="http://a/v2/"), as_json=True) == 5
    out, err = capsys.readouterr()
    assert json.loads(out) == {
        "error": {
            "kind": "RegistryUnavailable",
            "message": "no answer: GET http://a/v2/",
            "hint": errors.RegistryUnavailable.hint,
            "exitCode": 5,
        }
    }
    assert err.startswith("error: no answer")


def test_the_first_error_of_a_group_counts(capsys: pytest.CaptureFixture[str]) -> None:
    group = BaseExceptionGroup("", [BaseExceptionGroup("", [errors.Refused("first")]), ValueError("second")])
    assert _end(group) == 3
    assert capsys.readouterr().err == "error: first\n"


def test_traceback_only_with_debug(capsys: pytest.CaptureFixture[str]) -> None:
    assert _end(errors.BuildFailed("it failed")) == 1
    assert "Traceback" not in capsys.readouterr().err
    assert _end(errors.BuildFailed("it failed"), debug=True) == 1
    text = capsys.readouterr().err
    assert "Traceback (most recent call last)" in text
    assert text.endswith("error: it failed\n")


def test_internal_error_is_one_line_and_says_how_to_report_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert _end(KeyError("oops")) == 1
    text = capsys.readouterr().err
    assert text.startswith("internal error: KeyError: 'oops'")
    assert "--debug" in text
    assert "Traceback" not in text


def test_internal_error_has_a_json_document_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert _end(KeyError("oops"), as_json=True) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["error"]["kind"] == "KeyError"
    assert document["error"]["exitCode"] == 1


def test_internal_error_with_debug_shows_everything() -> None:
    async def command(interrupt: Interrupt) -> None:
        raise KeyError("oops")

    with pytest.raises(BaseException, match=r"oops|unhandled"):
        run(Output(debug=True), command)


@pytest.mark.parametrize(
    ("number", "said", "next_step"),
    [
        (errno.ENOSPC, "No space left on device", "free some room"),
        (errno.EROFS, "Read-only file system", "mount it writable"),
        (errno.EACCES, "Permission denied", "give this user the right"),
    ],
)
def test_files_that_can_not_be_used_are_no_internal_errors(
    number: int, said: str, next_step: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _end(OSError(number, os.strerror(number), "/some/file")) == 1
    text = capsys.readouterr().err
    assert text.startswith(f"error: /some/file: {said}\n  next: {next_step}")


def test_a_code_of_the_commands_own(capsys: pytest.CaptureFixture[str]) -> None:
    async def command(interrupt: Interrupt) -> int:
        return 5

    assert _run(command) == 5
    assert capsys.readouterr() == ("", "")


def test_annotation_is_escaped(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    _end(errors.BuildFailed("50 % done\nthen\r::error::forged"))
    lines = capsys.readouterr().err.splitlines()
    assert "::error title=shipgraph::50 %25 done%0Athen%0D::error::forged" in lines


def test_text_of_others_can_not_forge_a_command_of_actions(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Registry answers and build logs are shown on stderr, where Actions looks for commands at a line's start."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    _end(errors.BuildFailed("last lines:\n  ::add-mask::x\n::stop-commands::y", hint="see\n::set-env name=A::b"))
    output = Output()
    with output.progress() as emit:
        emit(Note("a note\n::add-path::/evil", warning=True))
        emit(Failed("t", "title", "reason\n::add-path::/evil"))
    for line in capsys.readouterr().err.splitlines():
        assert not line.lstrip().startswith("::") or line.startswith(("::error title=", "::warning title=")), line


def test_plain_progress(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    output = Output()
    assert not output.drawn
    with output.progress() as emit:
        emit(Started("a", "base linux/amd64"))
        emit(Progressed("a", 1, 2))
        emit(LogLine("a", "secret details"))
        emit(Failed("a", "base linux/amd64", "it broke\nbadly", "/log"))
        emit(Finished("b", "payload", "published", 1.25))
        emit(Note("mind this", warning=True))
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.partition("] ")[2] for line in err.splitlines()] == [
        "base linux/amd64: started",
        "base linux/amd64: FAILED: it broke (log: /log)",
        "payload: published in 1.2 s",
        "warning: mind this",
    ]


def test_drawn_progress_does_not_take_titles_for_markup(capsys: pytest.CaptureFixture[str]) -> None:
    from shipgraph.cli.terminal import drawn_progress

    with drawn_progress() as emit:
        emit(Started("a", "[bold]title[/]", 10))
        emit(Progressed("a", 5, 10))
        emit(LogLine("a", "[red]line"))
        emit(Finished("a", "[bold]title[/]", "[x]"))
        emit(Failed("b", "b", "[/]broke", "/log[1]"))
        emit(Note("[/note]"))
    text = capsys.readouterr().err
    for piece in ("[bold]title[/]: [x]", "b: [/]broke", "/log[1]", "[/note]"):
        assert piece in text


def test_usage_errors_are_documents_too() -> None:
    done = CliRunner().invoke(main, ["plan", "--json", "--nonsense"])
    assert done.exit_code == 2
    assert json.loads(done.stdout)["error"] == {
        "kind": "UsageError", "message": "No such option '--nonsense'", "hint": "shipgraph plan --help", "exitCode": 2,
    }  # fmt: skip
    assert "--nonsense" in done.stderr
    plain = CliRunner().invoke(main, ["plan", "--nonsense"])
    assert plain.exit_code == 2
    assert plain.stdout == ""
    assert plain.stderr.startswith("error: No such option '--nonsense'\n")
    assert "  next: shipgraph plan --help\n" in plain.stderr


def test_a_mistyped_command_is_told_the_nearest_and_options_their_place() -> None:
    typo = CliRunner().invoke(main, ["stauts"])
    assert typo.exit_code == 2
    assert typo.stderr == "error: there is no command 'stauts'; did you mean 'status'?\n  next: shipgraph --help\n"
    assert "did you mean" not in CliRunner().invoke(main, ["qqqq"]).stderr
    before = CliRunner().invoke(main, ["--project", ".", "plan"])
    assert before.exit_code == 2
    assert "options stand after the command" in before.stderr


def test_an_empty_registry_is_not_taken_for_the_configured_one() -> None:
    for command in ("status", "release", "plan"):
        done = CliRunner().invoke(main, [command, "--registry", ""])
        assert done.exit_code == 2
        assert "'--registry': it is empty" in done.stderr


def test_the_embedded_registrys_log_shows_no_traceback_unless_asked(capsys: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("shipgraph.embedded")

    def logged(*, debug: bool = False, errors: bool = False) -> str:
        set_up_logs(debug=debug, errors=errors)
        try:
            raise ValueError("why")
        except ValueError as error:
            log.error("PUT failed: %s", error, exc_info=error)
        return capsys.readouterr().err

    try:
        assert logged() == ""
        assert logged(errors=True) == "PUT failed: why\n"
        assert "Traceback" in logged(debug=True)
    finally:
        logging.getLogger("shipgraph").handlers = []


def test_signals_while_tags_move(capsys: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    interrupt = Interrupt()
    with interrupt.protected():
        interrupt.signal(said.append)
    assert interrupt
    assert "the transaction ends first" in said[0]


def test_commands_do_not_print_on_stdout_before_the_result() -> None:
    done = CliRunner().invoke(main, ["plan", "--project", ".", "--registry", "https://x", "--json"])
    assert done.exit_code == 2
    json.loads(done.stdout)
