"""The doctor's checks: each kind of trouble is seen, and nothing is changed by looking."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.ghcr.conftest import (
    ADMIN,
    BAD,
    LOOKER,
    OTHER,
    PUBLIC,
    PUSHER,
    READER,
    Rehearsal,
    Ticking,
    push,
    start,
)

from shipgraph.errors import RegistryUnavailable
from shipgraph.github.api import GitHubApi
from shipgraph.github.packages import Packages, find_owner
from shipgraph.oci.platform import Platform
from shipgraph.remote import Credentials, RetryPolicy
from shipgraph.remote.transport import Headers
from shipgraph.setup import doctor_machine as machine
from shipgraph.setup.doctor import Finding, State, examine
from shipgraph.setup.doctor_registry import Belonging, check_clock, check_login, check_packages
from shipgraph.setup.doctor_token import check_token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from shipgraph.remote.transport import Request

OURS = Belonging("acme/app", public=True)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Rehearsal]:
    async with start(tmp_path, Ticking()) as started:
        yield started


def api(server: Rehearsal, token: str | None) -> GitHubApi:
    return GitHubApi(token, base=f"http://{server.address}/api/v3", retries=RetryPolicy(attempts=1))


async def packages(server: Rehearsal, token: str) -> Packages:
    return Packages(api(server, token), await find_owner(api(server, token), "acme"))


def blobs(root: Path) -> list[Path]:
    """Every file of the image layouts."""
    return [path for path in root.rglob("*") if path.is_file() and ".shipgraph" not in path.parts]


async def package(server: Rehearsal, token: str, name: str = "acme/app", belonging: Belonging = OURS) -> Finding:
    store = await server.store(token)
    (found,) = await check_packages(store, [name], await packages(server, token), belonging)
    return found


# --- packages


async def test_a_package_that_is_ours_public_and_writable_is_well(server: Rehearsal) -> None:
    await push(await server.store(PUBLIC), "acme/app", "hello", "v1")
    found = await package(server, PUBLIC)
    assert found.state is State.OK
    assert "public, of acme/app" in found.detail


async def test_a_private_package_is_named_with_its_page(server: Rehearsal) -> None:
    await push(await server.store(ADMIN), "acme/app", "hello", "v1")
    found = await package(server, ADMIN)
    assert found.state is State.FAILED
    assert "https://github.com/orgs/acme/packages/container/app/settings" in found.next
    assert (await package(server, ADMIN, belonging=Belonging("", public=False))).state is State.OK


async def test_a_package_of_another_repository_or_of_none_is_told(server: Rehearsal) -> None:
    await push(await server.store(OTHER), "acme/app", "hello", "v1")
    found = await package(server, ADMIN)
    assert found.state is State.WARNING
    assert "connect it to acme/app" in found.next


@pytest.mark.parametrize("token", [READER, OTHER, LOOKER])
async def test_a_package_that_may_not_be_written_is_told_before_a_release_finds_out(
    server: Rehearsal, token: str
) -> None:
    await push(await server.store(PUBLIC), "acme/app", "hello", "v1")
    found = await package(server, token)
    assert found.state is State.FAILED
    assert "Manage Actions access" in found.next
    assert token not in f"{found.detail} {found.next}"


async def test_looking_makes_no_package_and_stores_nothing(server: Rehearsal, tmp_path: Path) -> None:
    found = await package(server, PUBLIC)
    assert found.state is State.WARNING
    assert "not there yet" in found.detail
    assert "--bootstrap" in found.next
    assert await server.ghcr.ledger.package("acme/app") is None
    assert blobs(tmp_path) == []


async def test_another_namespace_is_not_ours_to_write(server: Rehearsal) -> None:
    assert (await package(server, PUBLIC, "bob/app")).state is State.FAILED


# --- login, clock


async def test_login_says_where_credentials_are_from_and_never_what_they_are() -> None:
    found = await check_login("ghcr.io", "ghcr.io", Credentials("x", "ghp_secret", origin="GHCR_PAT"))
    assert found == Finding("login", State.OK, "credentials for ghcr.io from GHCR_PAT")
    nobody = await check_login("ghcr.io", "ghcr.io", None)
    assert nobody.state is State.FAILED
    assert "docker login ghcr.io" in nobody.next
    assert (await check_login("127.0.0.1:5000", None, None)).state is State.NOT_APPLICABLE


class Clock:
    """A registry's clock."""

    def __init__(self, ahead: float) -> None:
        self._ahead = ahead

    async def now(self) -> float:
        """Whole seconds, as a Date header has them."""
        return float(int(1000.9 + self._ahead))


@pytest.mark.parametrize(
    ("ahead", "state"),
    [(0, State.OK), (29, State.OK), (-29, State.OK), (60, State.WARNING), (-60, State.WARNING), (900, State.FAILED)],
)
async def test_a_clock_that_is_off_is_told(ahead: float, state: State) -> None:
    assert (await check_clock(Clock(ahead), clock=lambda: 1000.9)).state is state


# --- the token


async def token(server: Rehearsal, value: str | None, origin: str = "GHCR_PAT") -> Finding:
    found = await check_token(api(server, value), value, origin=origin)
    assert isinstance(found, Finding)
    assert value is None or value not in f"{found.detail} {found.next}"
    return found


async def test_scopes_of_a_classic_token(server: Rehearsal) -> None:
    assert (await token(server, ADMIN)).state is State.WARNING
    assert "without repo" in (await token(server, ADMIN)).next
    pusher = await token(server, PUSHER)
    assert pusher.state is State.WARNING
    assert "without delete:packages" in pusher.next
    looker = await token(server, LOOKER)
    assert looker.state is State.FAILED
    assert "nothing can be pushed" in looker.next


async def test_a_workflows_token_has_permissions_instead(server: Rehearsal) -> None:
    found = await token(server, PUBLIC, "GITHUB_TOKEN")
    assert found.state is State.OK
    assert "GITHUB_TOKEN is a workflow's" in found.detail


async def test_a_token_that_github_does_not_know_is_told(server: Rehearsal) -> None:
    found = await token(server, BAD)
    assert found.state is State.FAILED
    assert "expired" in found.next


async def test_a_fine_grained_token_is_refused_without_asking() -> None:
    found = await check_token(GitHubApi("x", base="http://127.0.0.1:9"), "github_pat_11A", origin="GHCR_PAT")
    assert isinstance(found, Finding)
    assert found.state is State.FAILED
    assert "classic" in found.next


async def test_no_token_is_no_trouble_of_its_own(server: Rehearsal) -> None:
    assert (await token(server, None)).state is State.NOT_APPLICABLE


class Dated:
    """GitHub, about a token that ends."""

    status = 200

    def __init__(self, expires: str) -> None:
        self.headers = Headers(
            [("X-OAuth-Scopes", "write:packages, delete:packages, repo"),
             ("github-authentication-token-expiration", expires)]
        )  # fmt: skip
        self._body = b"{}"

    def exchange(self, request: Request) -> Any:
        return self

    def read(self, limit: int) -> bytes:
        piece, self._body = self._body[:limit], self._body[limit:]
        return piece

    def close(self) -> None:
        """Nothing to close."""


@pytest.mark.parametrize("form", ["%Y-%m-%d %H:%M:%S UTC", "%Y-%m-%d %H:%M:%S +0000"])
async def test_a_token_that_ends_soon_is_told(form: str) -> None:
    now = datetime(2026, 11, 25, tzinfo=UTC)
    states = []
    for days in (3, 30):
        asked = GitHubApi("ghp_x", transport=Dated((now + timedelta(days=days)).strftime(form)))
        found = await check_token(asked, "ghp_x", origin="GHCR_PAT", now=now)
        assert isinstance(found, Finding)
        states.append(found.state)
    assert states == [State.WARNING, State.OK]


# --- the machine


def test_docker_configuration_for_everybodys_eyes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    missing = machine.check_docker_config()
    assert missing.state is State.WARNING
    assert "docker login" in missing.next
    file = tmp_path / "config.json"
    file.write_text("{}")
    file.chmod(0o644)
    assert machine.check_docker_config().state is State.WARNING
    file.chmod(0o600)
    assert machine.check_docker_config().state is State.OK


@pytest.mark.parametrize(("free", "state"), [(1 << 30, State.FAILED), (5 << 30, State.WARNING), (50 << 30, State.OK)])
def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, state: State) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: _Usage(1 << 40, free))
    assert machine.check_disk(tmp_path / "not" / "there" / "yet").state is state


class _Usage:
    def __init__(self, total: int, free: int) -> None:
        self.total, self.free = total, free


def test_platforms_that_do_not_run_here_are_named() -> None:
    ours, foreign = Platform.parse("linux/amd64"), Platform.parse("linux/s390x")
    found = machine.check_platforms([ours, foreign], lambda platform: platform == ours)
    assert found.state is State.WARNING
    assert "linux/s390x" in found.detail
    assert "linux/amd64" not in found.detail


def test_a_project_without_image_tests_asks_nothing_of_the_kernel() -> None:
    (found,) = machine.check_kernel(tested=False, apparmor=False)
    assert found.state is State.NOT_APPLICABLE


def test_an_apparmor_profile_that_nobody_enforces_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    off = tmp_path / "enabled"
    off.write_text("N\n")
    monkeypatch.setattr(machine, "_APPARMOR", off)
    monkeypatch.setattr(shutil, "which", lambda name: f"/sbin/{name}")
    found = {one.name: one for one in machine.check_kernel(tested=True, apparmor=True)}["AppArmor"]
    assert found.state is State.WARNING
    assert "syntax-only" in found.detail
    monkeypatch.setattr(shutil, "which", lambda name: None)
    found = {one.name: one for one in machine.check_kernel(tested=True, apparmor=True)}["AppArmor"]
    assert found.state is State.FAILED


# --- all of them


async def test_a_check_that_fails_is_a_row_and_stops_no_other() -> None:
    async def broken() -> Finding:
        raise RegistryUnavailable("no answer")

    async def well() -> list[Finding]:
        return [Finding("b", State.OK), Finding("c", State.OK)]

    found = await examine([("a", broken), ("bc", well)])
    assert [(one.name, one.state) for one in found] == [("a", State.FAILED), ("b", State.OK), ("c", State.OK)]
    assert found[0].next
