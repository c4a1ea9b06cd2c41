"""Tokens files, tokens of the command line, and the small parts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from shipgraph.cli.main import main
from shipgraph.embedded.ghcr.accounts import Accounts, AccountsFile, Pat, Workflow, parse_accounts, with_tokens
from shipgraph.embedded.ghcr.credentials import Pass, basic_password, seal, unseal
from shipgraph.embedded.ghcr.throttle import Rate, go_duration
from shipgraph.errors import ConfigurationError
from shipgraph.remote.retry import parse_duration

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "reference" / "serve.md"


def _example() -> bytes:
    found = re.search(r"```toml\n(.*?)```", DOCUMENTATION.read_text(), re.DOTALL)
    assert found is not None
    return found[1].encode()


def test_the_documented_file() -> None:
    accounts = parse_accounts(_example(), file="tokens.toml")
    assert accounts.identity("ghs_app") == Workflow("acme/app", "write")
    alice = accounts.identity("ghp_alice")
    assert isinstance(alice, Pat)
    assert alice.rules("ACME")
    assert alice.rules("alice")
    assert not alice.rules("other")
    assert accounts.identity("github_pat_x") is None
    assert accounts.is_public("Acme/App")
    assert not accounts.is_public("acme/secret")
    assert accounts.owner_type("acme") == "organization"
    assert accounts.owner_type("alice") == "user"
    assert "ghp_alice" not in repr(accounts)


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "unknown = 1",
        '[repositories]\nnoslash = "public"',
        '[repositories]\n"a/b" = "internal"',
        '[owners."a b"]\n',
        '[[tokens]]\ntoken = ""\nkind = "bad"',
        '[[tokens]]\ntoken = "ghs_secret"\nkind = "workflow"\nrepository = "x"',
        '[[tokens]]\ntoken = "ghs_secret"\nkind = "workflow"\nrepository = "a/b"\npackages = "admin"',
        '[[tokens]]\ntoken = "ghs_secret"\nkind = "classic"',
        '[[tokens]]\ntoken = "ghs_secret\\n"\nkind = "bad"',
    ],
)
def test_files_that_are_none(text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse_accounts(text.encode(), file="tokens.toml")
    assert "tokens.toml" in str(refused.value)
    assert "ghs_secret" not in str(refused.value)


def test_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    with pytest.raises(ConfigurationError, match=r"can't be read"):
        AccountsFile(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(ConfigurationError):
        AccountsFile(path)
    path.write_bytes(_example())
    file = AccountsFile(path)
    path.write_bytes(_example().replace(b"ghs_app", b"ghs_other"))
    assert file().identity("ghs_app") is None
    assert file().identity("ghs_other") == Workflow("acme/app")
    path.write_bytes(b"[half")  # being written
    assert file().identity("ghs_other") == Workflow("acme/app")
    path.unlink()
    assert file().identity("ghs_other") == Workflow("acme/app")


def test_tokens_of_the_command_line() -> None:
    given_ = ["workflow:acme/app=a", "private-workflow:other/hidden=b=c", "pat:alice=d"]
    accounts = with_tokens(Accounts(), given_)
    assert accounts.identity("a") == Workflow("acme/app")
    assert accounts.identity("b=c") == Workflow("other/hidden")
    assert accounts.is_public("acme/app")
    assert not accounts.is_public("other/hidden")
    alice = accounts.identity("d")
    assert isinstance(alice, Pat)
    assert alice.administers == {"acme", "other"}


@pytest.mark.parametrize("text", ["", "ghs_secret", "workflow:acme=ghs_secret", "robot:x=ghs_secret", "pat:alice="])
def test_tokens_that_are_none(text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        with_tokens(Accounts(), [text])
    assert "ghs_secret" not in str(refused.value) or text == "ghs_secret"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--lag", "3"], "belong to --ghcr"),
        (["--token", "pat:alice=x"], "belong to --ghcr"),
        (["--ghcr"], "needs tokens"),
        (["--ghcr", "--token", "x"], "KIND:WHO=TOKEN"),
        (["--ghcr", "--token", "pat:alice=x", "--lag", "-1"], "--lag"),
        (["--ghcr", "--tokens", "/nowhere/tokens.toml"], "--tokens"),
    ],
)
def test_the_command_refuses(tmp_path: Path, arguments: list[str], says: str) -> None:
    result = CliRunner().invoke(main, ["serve", "--root", str(tmp_path), "--listen", "127.0.0.1:0", *arguments])
    assert result.exit_code == 2, result.output
    assert says in result.output


def test_a_registry_token_can_not_be_forged() -> None:
    granted = Pass("ghs_x", [("acme/app", ["pull"])], 10.0)
    token = seal(granted, b"one")
    assert unseal(token, b"one") == granted
    assert unseal(token, b"two") is None
    content, _, mark = token.partition(".")
    assert unseal(f"{content[:-2]}.{mark}", b"one") is None
    assert granted.covers("acme/app", "pull")
    assert not granted.covers("acme/app", "push")
    assert not granted.covers("acme/other", "pull")


@given(st.text())
def test_any_text_may_come_as_a_credential(text: str) -> None:
    assert unseal(text, b"key") is None
    basic_password(text)
    basic_password(f"Basic {text}")


@given(st.floats(1e-4, 1e4))
def test_the_hint_is_a_duration_that_clients_read(seconds: float) -> None:
    read = parse_duration(go_duration(seconds))
    assert read is not None
    assert read == pytest.approx(seconds, rel=0.05, abs=6e-5)


def test_a_rate_is_kept_in_the_long_run() -> None:
    now = 0.0
    rate = Rate(600, 1.0, lambda: now)
    granted = 0
    for _ in range(10_000):
        now += 0.01
        granted += not rate.take()
    assert granted == pytest.approx(1000, abs=12)
    assert all(not Rate(0, 1.0, lambda: now).take() for _ in range(100))
