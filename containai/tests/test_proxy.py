"""The proxy's entrypoint, with its folders moved and a Squid that only takes notes."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Image:
    root: Path
    script: Path

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        variables = {"PATH": f"{self.root / 'bin'}:{os.environ['PATH']}", **environment}
        return subprocess.run(
            ["sh", str(self.script), *command], env=variables, capture_output=True, text=True, check=False, timeout=30
        )

    def tool(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        path.chmod(0o755)

    @property
    def configuration(self) -> str:
        return (self.root / "run/squid.conf").read_text(encoding="utf-8")

    @property
    def domains(self) -> list[str]:
        return (self.root / "run/allowed-domains").read_text(encoding="utf-8").split()

    def authority(self) -> None:
        (self.root / "mitm").mkdir()
        for name in ("ca.crt", "ca.key"):
            (self.root / "mitm" / name).touch()


@pytest.fixture
def image(containai: Path, tmp_path: Path) -> Image:
    text = (containai / "docker/proxy/entrypoint.sh").read_text(encoding="utf-8")
    for before, after in (
        ("run=/run/squid", f"run={tmp_path}/run"),
        ("mitm=/etc/squid/mitm", f"mitm={tmp_path}/mitm"),
        ("certgen=/usr/lib/squid/", f"certgen={tmp_path}/bin/"),
    ):
        assert before in text
        text = text.replace(before, after)
    script = tmp_path / "entrypoint.sh"
    script.write_text(text, encoding="utf-8")
    image = Image(tmp_path, script)
    image.tool(tmp_path / "bin/squid", 'echo "squid $*"')
    image.tool(tmp_path / "bin/security_file_certgen", 'mkdir "$3"')
    return image


def test_any_command_passes_through_without_settings(image: Image) -> None:
    result = image.run("squid", "-v")
    assert (result.returncode, result.stdout, result.stderr) == (0, "squid -v\n", "")
    result = image.run("sh", "-c", 'echo "$1"; exit 3', "x", "a b")
    assert (result.returncode, result.stdout) == (3, "a b\n")
    assert not (image.root / "run").exists()


def test_without_domains_it_does_not_start(image: Image) -> None:
    image.authority()
    result = image.run("proxy")
    assert (result.returncode, result.stdout) == (1, "")
    assert "SQUID_ALLOWED_DOMAINS is not set" in result.stderr


@pytest.mark.parametrize("command", [(), ("proxy",)])
def test_without_an_authority_it_does_not_start(image: Image, command: tuple[str, ...]) -> None:
    result = image.run(*command, SQUID_ALLOWED_DOMAINS="example.com")
    assert (result.returncode, result.stdout) == (1, "")
    assert "ca.crt can't be read" in result.stderr


def test_tunnel_must_be_asked_for(image: Image) -> None:
    result = image.run("check", SQUID_ALLOWED_DOMAINS="example.com", SQUID_MODE="tunnel")
    assert result.returncode == 0, result.stderr
    assert image.configuration.startswith("http_port 3128\n")
    assert "ssl_bump" not in image.configuration
    result = image.run("check", SQUID_ALLOWED_DOMAINS="example.com", SQUID_MODE="off")
    assert result.returncode == 1
    assert "SQUID_MODE is 'off'" in result.stderr


def test_with_an_authority_it_intercepts(image: Image) -> None:
    image.authority()
    for _ in range(2):  # a restarted container has an old database
        result = image.run("proxy", SQUID_ALLOWED_DOMAINS="example.com")
        assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == f"squid -N -d 1 -f {image.root}/run/squid.conf"
    for line in ("ssl-bump", "ssl_bump bump all", "sslcrtd_program", "include /etc/squid/rules.conf"):
        assert line in image.configuration


def test_domains(image: Image) -> None:
    wanted = "api.example.com, .Example.com *.github.com\texample.com\ngithub.com  x.y.github.com npmjs.org. localhost"
    assert image.run("check", SQUID_ALLOWED_DOMAINS=wanted, SQUID_MODE="tunnel").returncode == 0
    assert image.domains == [".example.com", ".github.com", "localhost", "npmjs.org"]
    assert "dstdomain -n" in image.configuration


def test_every_domain_must_be_asked_for(image: Image) -> None:
    assert image.run("check", SQUID_ALLOWED_DOMAINS="*", SQUID_MODE="tunnel").returncode == 0
    assert "acl allowed_domains all-of all" in image.configuration


@pytest.mark.parametrize("bad", ["a/b", "a b$(id)", "http://x", "a..b", "-a.com", "*.*", "ä.de"])
def test_what_is_no_domain(image: Image, bad: str) -> None:
    result = image.run("check", SQUID_ALLOWED_DOMAINS=f"good.com,{bad}", SQUID_MODE="tunnel")
    assert result.returncode == 1
    assert "is not a domain" in result.stderr


@pytest.mark.parametrize("remark", ["ERROR: x", "WARNING: y"])
def test_remarks_of_the_parser_keep_it_from_starting(image: Image, remark: str) -> None:
    image.tool(image.root / "bin/squid", f'echo "{remark}" >&2')
    result = image.run("proxy", SQUID_ALLOWED_DOMAINS="example.com", SQUID_MODE="tunnel")
    assert result.returncode == 1
    assert remark in result.stderr


def test_a_configuration_that_does_not_parse(image: Image) -> None:
    image.tool(image.root / "bin/squid", 'echo "FATAL: no" >&2; exit 1')
    result = image.run("proxy", SQUID_ALLOWED_DOMAINS="example.com", SQUID_MODE="tunnel")
    assert result.returncode == 1
    assert "FATAL: no" in result.stderr


def test_rules_deny_what_is_private(containai: Path) -> None:
    rules = (containai / "docker/proxy/rules.conf").read_text(encoding="utf-8")
    for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8"):
        assert network in rules
    for network in ("::1/128", "fc00::/7", "fe80::/10"):
        assert network in rules
    access = [line for line in rules.splitlines() if line.startswith("http_access")]
    assert access[-1] == "http_access deny all"
    assert access.index("http_access deny private_destinations") < access.index("http_access allow allowed_domains")
