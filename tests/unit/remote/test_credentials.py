"""Docker's configuration, its helpers, and the environment."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest

from shipgraph.errors import ConfigurationError
from shipgraph.remote import Credentials, docker_credentials, find_credentials

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "s3cr3t-passw0rd"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("GHCR_PAT", "GITHUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))


def write(directory: Path, **config: object) -> None:
    (directory / "config.json").write_text(json.dumps(config))


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


async def test_no_file_means_anonymous() -> None:
    assert await find_credentials("ghcr.io") is None


async def test_auths(tmp_path: Path) -> None:
    write(
        tmp_path,
        auths={
            "r.example:5000": {"auth": encoded(f"user:{SECRET}:x")},
            "https://s.example/v2/": {"username": "u", "password": SECRET},
            "t.example": {"identitytoken": SECRET},
            "https://index.docker.io/v1/": {"auth": encoded(f"hub:{SECRET}")},
            "empty.example": {},
        },
    )
    origin = str(tmp_path / "config.json")
    assert await find_credentials("r.example:5000") == Credentials("user", f"{SECRET}:x", origin=origin)
    assert await find_credentials("s.example") == Credentials("u", SECRET, origin=origin)
    assert await find_credentials("t.example") == Credentials(refresh=SECRET, origin=origin)
    assert await find_credentials("docker.io") == Credentials("hub", SECRET, origin=origin)
    assert await find_credentials("empty.example") is None
    assert await find_credentials("r.example") is None
    assert await find_credentials("example:5000") is None


async def test_github_tokens_are_for_ghcr_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "ghs")
    assert await find_credentials("ghcr.io") == Credentials("token", "ghs", origin="GITHUB_TOKEN")
    assert await find_credentials("ghcr.io.evil.example") is None
    assert await find_credentials("127.0.0.1:5000") is None
    write(tmp_path, auths={"ghcr.io": {"auth": encoded("user:docker")}})
    assert (await find_credentials("ghcr.io") or Credentials()).password == "docker"
    monkeypatch.setenv("GHCR_PAT", "ghp")
    assert (await find_credentials("ghcr.io") or Credentials()).password == "ghp"


@pytest.mark.parametrize(
    "content", ["{", "[1]", '{"auths": {"r.example": {"auth": "%%"}}}', '{"auths": {"r.example": {"auth": "QQ=="}}}']
)
async def test_a_broken_file_is_named_without_its_content(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    if content == "[1]":
        assert await docker_credentials("r.example") is None
        return
    with pytest.raises(ConfigurationError, match=r"config\.json"):
        await docker_credentials("r.example")


def helper(directory: Path, name: str, script: str) -> None:
    path = directory / f"docker-credential-{name}"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


async def test_helpers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    helper(
        tmp_path,
        "good",
        'read -r server; [ "$1" = get ] || exit 9\n'
        f'echo "{{\\"ServerURL\\":\\"$server\\",\\"Username\\":\\"user\\",\\"Secret\\":\\"{SECRET}@$server\\"}}"',
    )
    helper(tmp_path, "token", f'echo \'{{"Username":"<token>","Secret":"{SECRET}"}}\'')
    helper(tmp_path, "none", "echo credentials not found in native keychain; exit 1")
    helper(tmp_path, "bad", f"echo {SECRET}; echo {SECRET} >&2; exit 2")
    helper(tmp_path, "odd", f"echo {SECRET}")
    write(
        tmp_path,
        credsStore="none",
        credHelpers={"g.example": "good", "t.example": "token", "b.example": "bad", "o.example": "odd"}
        | {"m.example": "missing", "e.example": "../evil"},
        auths={"f.example": {"auth": encoded("file:pw")}},
    )
    program = "docker-credential-good"
    assert await docker_credentials("g.example") == Credentials("user", f"{SECRET}@g.example", origin=program)
    assert await docker_credentials("t.example") == Credentials(refresh=SECRET, origin="docker-credential-token")
    assert await docker_credentials("other.example") is None
    assert (await docker_credentials("f.example") or Credentials()).username == "file"
    for host in ("b.example", "o.example", "m.example", "e.example"):
        with pytest.raises(ConfigurationError) as caught:
            await docker_credentials(host)
        assert SECRET not in str(caught.value)
